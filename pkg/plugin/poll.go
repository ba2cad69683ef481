package plugin

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is between two looks at what is waited for.
const pollInterval = time.Second

// observation is what one look at something that is waited for has found.
type observation struct {
	done bool
	// waiting says in a sentence what it waits for, if not done.
	waiting string
}

// poll looks until look is done or fails, and shows what is waited for. An error that may go away by itself is waited out.
// Next is the way out after a timeout.
func (p *plugin) poll(ctx context.Context, what string, timeout time.Duration, next string, look func(context.Context) (observation, error)) error {
	deadline := p.clock.Now().Add(timeout)
	for {
		seen, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !isTransient(err):
			return err
		case err != nil:
			seen.waiting = err.Error()
		case seen.done:
			return nil
		}
		p.progress.wait(fmt.Sprintf("Waiting for %s: %s", what, seen.waiting))
		if !p.clock.Now().Before(deadline) {
			return &failure{code: exitTimeout, message: fmt.Sprintf("timed out after %s waiting for %s: %s", timeout, what, seen.waiting), next: next}
		}
		if err := p.sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
}
