package sync

import (
	"testing"
	"time"
)

// TestForgotten: of an object that is gone nothing is remembered.
func TestForgotten(t *testing.T) {
	b := newBench(t, nil, nil, nil, nil)
	p, l := b.pass.namespace, b.pass.resource
	p.setObjectState(b.pass.key(), objectState{lastOutcome: outcome{key: "x"}, restoredAt: time.Now(), prunedStatus: "y"})
	if _, err := b.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	if left, found := p.objectStates.Load(b.pass.key()); found {
		t.Errorf("%+v is remembered", left)
	}
}
