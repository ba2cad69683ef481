package resource

import (
	"testing"
	"time"
)

// TestForgotten: what is gone is remembered no more, but for what has yet to be given back.
func TestForgotten(t *testing.T) {
	b := newBench(t, nil, nil, nil, nil)
	p, l := b.pass.place, b.pass.lane
	p.remember(b.pass.id(), memory{settled: settlement{of: "x"}, restored: time.Now(), pruned: "y"})
	if _, err := b.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	if left, found := p.memories.Load(b.pass.id()); found {
		t.Errorf("%+v is remembered", left)
	}
	p.remember(b.pass.id(), memory{merged: "theirs", pruned: "y"})
	l.down = nil // nobody can be asked for it now
	if _, err := b.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	if got := p.remembered(l.resource.GroupResource, "a"); got != (memory{merged: "theirs"}) {
		t.Errorf("%+v is remembered", got)
	}
}
