package synctarget

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/synctarget/synctarget/pkg/agent"
)

// releasing is a world whose target is being deleted, and whose syncer is silent, so that the controller takes its rights back.
func releasing(t *testing.T) *world {
	t.Helper()
	w := open(t)
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error { return nil }
	w.delete()
	w.pass()
	w.clock.Step(threshold)
	return w
}

// TestRevokedAfterTheCopies: what starts elsewhere when a Namespace has left must not start before its copies are gone.
func TestRevokedAfterTheCopies(t *testing.T) {
	w := releasing(t)
	w.there.slowNamespaces = true
	for range 5 {
		w.pass()
		w.clock.Step(time.Second)
	}
	if got := w.record("shop"); w.granted("shop") || got != "False Revoking: "+cleaningUpMessage {
		t.Errorf("granted = %t, Admitted = %s while the downstream Namespace is being deleted", w.granted("shop"), got)
	}
	w.there.slowNamespaces = false
	w.there.finishNamespaces(t)
	w.finish()
	if got := w.record("shop"); got != "False Revoked: "+revokedMessage {
		t.Errorf("Admitted = %s in the end", got)
	}
}

// TestRevokedWithoutTheCluster: where the copies are not waited for any more, the record says that they may still run.
func TestRevokedWithoutTheCluster(t *testing.T) {
	w := releasing(t)
	w.clusters.err = errInjected
	w.pass()
	w.pass()
	if got := w.record("shop"); got != "False Revoking: "+cleaningUpMessage {
		t.Errorf("Admitted = %s while the cluster does not answer", got)
	}
	w.kcp.slowNamespaces = true // the identity is waited for
	abandon(t, w)
	w.pass()
	w.pass()
	if got := w.record("shop"); !strings.HasPrefix(got, "False Revoked") || !strings.Contains(got, "may still run in the physical cluster: the deletion of the SyncTarget has let them go") {
		t.Errorf("Admitted = %s when it is abandoned", got)
	}
	w.forget()
	w.pass()
	for _, request := range w.kcp.writes {
		if request == w.recordOf("shop") {
			t.Error("the record is written again and again")
		}
	}
}

// TestRevokedInPullMode: nobody but its user removes what a syncer has left that has not said that it has left.
func TestRevokedInPullMode(t *testing.T) {
	for name, leaves := range map[string]bool{"silent": false, "has left": true} {
		t.Run(name, func(t *testing.T) {
			w := usual(t, pull)
			w.settle()
			w.beat(w.clock.Now())
			w.assign("shop")
			w.settle()
			w.applied("shop")
			w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error { return nil }
			w.delete()
			w.pass()
			if leaves {
				w.withdrawn("shop")
			}
			w.clock.Step(threshold)
			w.finish()
			if got := w.record("shop"); !strings.HasPrefix(got, "False Revoked") || strings.Contains(got, "may still run") == leaves {
				t.Errorf("Admitted = %s", got)
			}
		})
	}
}

// TestRevokedWithoutAStatus: that the copies are gone does not depend on a status that kcp does not store.
func TestRevokedWithoutAStatus(t *testing.T) {
	w := releasing(t)
	s, n := &scope{target: w.target()}, &assignedNamespace{Assignment: w.assigned("shop")}
	if w.r.beginCleanup(s, n); n.State != namespaceCleaningUp {
		t.Errorf("before: %s", n.State)
	}
	w.r.deletions.complete(s.target, stepAgent)
	if w.r.beginCleanup(s, n); n.State != namespaceRevoked || n.Message != "" {
		t.Errorf("after: %s %s", n.State, n.Message)
	}
}
