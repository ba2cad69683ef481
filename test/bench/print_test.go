//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table is what a measurement prints at its end, all at once.
type table struct {
	title string
	load  string
	body  bytes.Buffer
	rows  *tabwriter.Writer
}

// newTable notes how busy the machine is before the measurement.
func newTable(title string, args ...any) *table {
	t := &table{title: fmt.Sprintf(title, args...), load: load()}
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
	fmt.Println()
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
	return fmt.Sprintf("%d cores (%s), %s of memory", runtime.NumCPU(),
		field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"))
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
