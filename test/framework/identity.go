package framework

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// identity tells a process from a later one that happens to get the same pid: the kernel's start time is in clock
// ticks since boot, and the boot has an id.
type identity struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	BootID    string `json:"bootID"`
}

// identify reads the identity of a running process.
func identify(pid int) (identity, error) {
	st, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, StartTime: st.startTime, BootID: bootID()}, nil
}

// alive says whether this very process still runs. A zombie does not, but the first thread is one already while the
// others are still being ended and hold the process's sockets.
func (i identity) alive() bool {
	if i.PID <= 0 || i.BootID != bootID() {
		return false
	}
	st, err := readStat(i.PID)
	dead := (st.state == 'Z' || st.state == 'X') && st.threads <= 1
	return err == nil && st.startTime == i.StartTime && !dead
}

// signal does nothing to a process that is gone or that merely inherited the pid.
func (i identity) signal(sig syscall.Signal) error {
	if !i.alive() {
		return nil
	}
	if err := syscall.Kill(i.PID, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("sending %q to pid %d: %w", sig, i.PID, err)
	}
	return nil
}

// stat is the part of /proc/<pid>/stat that we need, see proc_pid_stat(5).
type stat struct {
	state     byte
	threads   int
	startTime uint64
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat starts after the last parenthesis, since the command's name, in parentheses, may itself hold any character.
func parseStat(data []byte) (stat, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("no command in %q", data)
	}
	fields := strings.Fields(string(data[end+1:]))
	const state, threads, startTime = 0, 17, 19 // fields 3, 20 and 22 of the manual, counted from the third
	if len(fields) <= startTime {
		return stat{}, fmt.Errorf("too few fields in %q", data)
	}
	n, err := strconv.Atoi(fields[threads])
	if err != nil {
		return stat{}, err
	}
	start, err := strconv.ParseUint(fields[startTime], 10, 64)
	return stat{state: fields[state][0], threads: n, startTime: start}, err
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// processes calls f for every process of the machine with its command line.
func processes(f func(pid int, args []string)) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended meanwhile
		}
		f(pid, strings.Split(strings.TrimRight(string(data), "\x00"), "\x00"))
	}
}
