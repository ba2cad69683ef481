package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// outage is a time in which a cluster is cut off, and which several stories share: it begins when each of them is ready for it, and
// ends when each has seen enough. A story that fails, or is not run, keeps the others from neither.
type outage struct {
	ready, done sync.WaitGroup
	cut, heal   func() error
}

func newOutage(cluster string) *outage {
	return &outage{
		cut:  sync.OnceValue(func() error { return env.Partition(context.Background(), cluster) }),
		heal: sync.OnceValue(func() error { return env.Heal(context.Background(), cluster) }),
	}
}

// outagePart is the part of one story in an outage.
type outagePart struct {
	outage      *outage
	ready, done func()
}

// part adds a story, before the first of them begins. Its leave must be called when it has ended.
func (o *outage) part() *outagePart {
	o.ready.Add(1)
	o.done.Add(1)
	return &outagePart{outage: o, ready: sync.OnceFunc(o.ready.Done), done: sync.OnceFunc(o.done.Done)}
}

// begin waits until all stories are ready, and cuts the cluster off.
func (p *outagePart) begin(t *testing.T) {
	t.Helper()
	p.ready()
	p.outage.ready.Wait()
	require.NoError(t, p.outage.cut())
}

// end waits until all stories have seen enough, and connects the cluster again.
func (p *outagePart) end(t *testing.T) {
	t.Helper()
	p.done()
	p.outage.done.Wait()
	require.NoError(t, p.outage.heal())
}

// leave tells that the story does not take part any more.
func (p *outagePart) leave() {
	p.ready()
	p.done()
}
