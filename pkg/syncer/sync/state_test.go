package sync

import (
	"testing"
	"time"
)

// TestForgotten: what is gone is remembered no more, but for what has yet to be given back.
func TestForgotten(t *testing.T) {
	b := newBench(t, nil, nil, nil, nil)
	p, l := b.pass.namespace, b.pass.resource
	p.setObjectState(b.pass.key(), objectState{lastOutcome: outcome{of: "x"}, restoredAt: time.Now(), prunedStatus: "y"})
	if _, err := b.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	if left, found := p.objectStates.Load(b.pass.key()); found {
		t.Errorf("%+v is remembered", left)
	}
	p.setObjectState(b.pass.key(), objectState{merged: "theirs", prunedStatus: "y"})
	l.down = nil // nobody can be asked for it now
	if _, err := b.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	if got := p.objectState(l.api.GroupResource, "a"); got != (objectState{merged: "theirs"}) {
		t.Errorf("%+v is remembered", got)
	}
}
