package framework

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// tick is how often a long step says that it is still alive, so that CI does not take it for dead.
const tick = 30 * time.Second

// progress writes one line per thing done, each with the seconds since the start.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out, start: time.Now()}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%4.0fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// during announces a long step and repeats every half minute that it still runs, until the returned function is called.
func (p *progress) during(format string, args ...any) (done func()) {
	what := fmt.Sprintf(format, args...)
	p.say("%s…", what)
	start, stop := time.Now(), make(chan struct{})
	go func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				p.say("… still %s, %s so far", what, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() { close(stop) }
}
