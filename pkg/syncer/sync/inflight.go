package sync

import (
	"slices"
	"sync"
)

// inFlightPasses are the passes that run now, in groups by when they began, so that those which began before a moment can be waited for
// without stopping new ones.
type inFlightPasses struct {
	mu     sync.Mutex
	groups []*sync.WaitGroup // a pass that begins joins the last one
}

// begin notes that a pass begins, and end that it has ended.
func (p *inFlightPasses) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		p.groups = []*sync.WaitGroup{{}}
	}
	group := p.groups[len(p.groups)-1]
	group.Add(1)
	return group.Done
}

// await returns when every pass that began before has ended: from then on all passes act on what was set before.
func (p *inFlightPasses) await() {
	p.mu.Lock()
	before := slices.Clone(p.groups)
	p.groups = append(p.groups, &sync.WaitGroup{})
	p.mu.Unlock()
	for _, group := range before {
		group.Wait()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = slices.DeleteFunc(p.groups, func(group *sync.WaitGroup) bool { return slices.Contains(before, group) })
}
