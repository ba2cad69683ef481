// Package progress reports what a long command does: a line for each step, with the seconds since the start.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// tick is how often a long step says that it is still alive, so that CI does not take it for dead.
const tick = 30 * time.Second

// Reporter writes one line per thing done, each with the seconds since the start.
type Reporter struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// New returns a Reporter that writes to out; nil discards.
func New(out io.Writer) *Reporter {
	if out == nil {
		out = io.Discard
	}
	return &Reporter{out: out, start: time.Now()}
}

// Say writes one line.
func (r *Reporter) Say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%4.0fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// During announces a long step and repeats every half minute that it still runs, until the returned function is called.
func (r *Reporter) During(format string, args ...any) (done func()) {
	what := fmt.Sprintf(format, args...)
	r.Say("%s…", what)
	start, stop := time.Now(), make(chan struct{})
	go func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				r.Say("… still %s, %s so far", what, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() {
		close(stop)
		r.Say("ended %s after %s", what, time.Since(start).Round(time.Second))
	}
}
