package framework

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PIDWith finds a process of this machine, in a container or not, that was started with an argument.
func PIDWith(argument string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline") // each argument ends with a NUL, see proc_pid_cmdline(5)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		arguments := bytes.Split(line, []byte{0})
		if slices.ContainsFunc(arguments, func(a []byte) bool { return string(a) == argument }) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("no process runs that was started with the argument %q", argument)
}

// StartOf is when a process was started, by this machine's clock and to a hundredth of a second.
func StartOf(pid int) (time.Time, error) {
	st, err := readStat(pid)
	if err != nil {
		return time.Time{}, err
	}
	text, err := os.ReadFile("/proc/uptime") // see proc_uptime(5)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	uptime, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading /proc/uptime: %w", err)
	}
	const tick = time.Second / 100 // USER_HZ, which is 100 on every Linux of today
	age := time.Duration(uptime*float64(time.Second)) - time.Duration(st.startTime)*tick
	return now.Add(-age), nil
}
