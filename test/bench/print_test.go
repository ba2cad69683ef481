//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/synctarget/synctarget/test/framework"
)

// table is what a measurement prints at its end, all at once.
type table struct {
	title string
	load  string
	// servers are the processes measured against, by pid.
	servers map[string]int
	body    bytes.Buffer
	rows    *tabwriter.Writer
}

// newTable notes how busy the machine is before the measurement.
func newTable(title string, args ...any) *table {
	t := &table{title: fmt.Sprintf(title, args...), load: load(), servers: servers()}
	t.rows = tabwriter.NewWriter(&t.body, 0, 0, 3, ' ', 0)
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.rows, "\t")
		}
		if d, ok := cell.(time.Duration); ok {
			cell = seconds(d)
		}
		fmt.Fprint(t.rows, cell)
	}
	fmt.Fprintln(t.rows)
}

func (t *table) print() {
	_ = t.rows.Flush() // into memory
	fmt.Printf("\n%s\n%s; load average %s before, %s after\n\n", t.title, machine(), t.load, load())
	for line := range strings.Lines(t.body.String()) {
		fmt.Print("  ", strings.TrimRight(line, " \n"), "\n")
	}
	if !maps.Equal(t.servers, servers()) {
		fmt.Print("\n  kcp, the cluster or the controller was restarted meanwhile: these figures mean nothing, run it again alone\n")
	}
	fmt.Println()
}

func servers() map[string]int {
	out := map[string]int{}
	for _, name := range []string{
		framework.ProcessKCP, framework.ProcessName("cluster-1", framework.APIServer),
		framework.ProcessName("cluster-1", framework.Kubelet), service.Name,
	} {
		out[name] = env.PID(name)
	}
	return out
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func median(in []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(in))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// machine says what all this ran on.
func machine() string {
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64)
	return fmt.Sprintf("%d cores (%s), %.0f GiB of memory", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), kib/(1<<20))
}

// load is the average over the last minute.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(data))[0]
}

// field finds a line "name : value" in a file of /proc.
func field(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func list(in []time.Duration) string {
	var words []string
	for _, d := range in {
		words = append(words, seconds(d))
	}
	return strings.Join(words, ", ")
}
