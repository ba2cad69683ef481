package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLife(t *testing.T) {
	w := usual(t)
	w.ready()
	t.Log(cmp.Diff(nil, w.there.names(t)), w.kcp.names(t))
	w.delete()
	for range 5 {
		w.pass()
		t.Log(w.kcp.writes, w.there.writes, w.events.events)
	}
}
