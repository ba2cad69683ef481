//go:build bench

package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockTick is the unit of the times in /proc/<pid>/stat: USER_HZ, which is 100 on every Linux of today.
const clockTick = time.Second / 100

// memory is the controller's resident set, in MiB.
func memory(t *testing.T) float64 {
	t.Helper()
	return memoryOf(t, env.PID(service.Name), "VmRSS")
}

// memoryOf is a process's resident set, VmRSS, or its highest one since resetPeak, VmHWM, in MiB. See proc_pid_status(5).
func memoryOf(t *testing.T, pid int, name string) float64 {
	t.Helper()
	text := field(fmt.Sprintf("/proc/%d/status", pid), name)
	kib, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	require.NoError(t, err, "%s of process %d", name, pid)
	return kib / 1024
}

// resetPeak makes the highest resident set of a process the present one. See proc_pid_clear_refs(5).
func resetPeak(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
}

// cpuTime is what the controller has used since its start, in user and system mode.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", env.PID(service.Name)))
	require.NoError(t, err)
	// proc_pid_stat(5): the name of the program, in parentheses, may hold anything; utime and stime are fields 14 and 15.
	after := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	require.Greater(t, len(after), 12)
	var sum time.Duration
	for _, text := range after[11:13] {
		ticks, err := strconv.Atoi(text)
		require.NoError(t, err)
		sum += time.Duration(ticks) * clockTick
	}
	return sum
}

// counters are the samples of one reading of /metrics, by name and labels as they are written there.
type counters map[string]float64

func readCounters(t *testing.T) counters {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service.MetricsAddress+"/metrics", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	return parseCounters(t, response.Body)
}

// parseCounters reads a page of metrics.
func parseCounters(t *testing.T, page io.Reader) counters {
	t.Helper()
	out := counters{}
	lines := bufio.NewScanner(page)
	for lines.Scan() {
		sample := lines.Text()
		i := strings.LastIndexByte(sample, ' ')
		if i < 0 || strings.HasPrefix(sample, "#") {
			continue
		}
		value, err := strconv.ParseFloat(sample[i+1:], 64)
		require.NoError(t, err, sample)
		out[sample[:i]] = value
	}
	require.NoError(t, lines.Err())
	return out
}

// sum adds up the samples of a metric that have all of these labels, each written name="value".
func (c counters) sum(metric string, labels ...string) float64 {
	sum := 0.0
samples:
	for sample, value := range c {
		name, rest, _ := strings.Cut(sample, "{")
		if name != metric {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue samples
			}
		}
		sum += value
	}
	return sum
}

// heapGoal is the heap at which the next collection begins, in MiB: about twice what lives. The resident set may be larger than
// anything that lives, for what was collected is given back late.
func heapGoal(c counters) float64 { return c.sum("go_memstats_next_gc_bytes") / (1 << 20) }
