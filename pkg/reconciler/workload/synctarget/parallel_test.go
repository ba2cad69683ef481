package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// TestBothSidesAreRemovedTogether: Kubernetes and kcp take five seconds at least to end a Namespace, so both are asked at once.
func TestBothSidesAreRemovedTogether(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.slowNamespaces, w.kcp.slowNamespaces = true, true
	w.delete()
	w.pass()
	w.pass()
	for side, c := range map[string]client.Client{"physical cluster": w.there.raw, "workspace": w.kcp.raw} {
		var namespace corev1.Namespace
		if err := c.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, &namespace); err != nil || namespace.DeletionTimestamp == nil {
			t.Errorf("the Namespace in the %s is not being deleted: %v", side, err)
		}
	}
	if w.gone() {
		t.Fatal("nobody waits for the Namespaces")
	}
	w.there.finishNamespaces(t)
	w.pass()
	if w.gone() {
		t.Fatal("nobody waits for the Namespace in the workspace")
	}
	w.kcp.finishNamespaces(t)
	w.finish()
	w.clean("after both Namespaces are gone")
}

// TestIdentityStaysWhileTheAgentDoes: what fails in the physical cluster keeps the identity, which the syncer may need.
func TestIdentityStaysWhileTheAgentDoes(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(request string) error {
		if request == `delete Deployment "`+testNamespace()+`/syncer"` {
			return errInjected
		}
		return nil
	}
	w.delete()
	w.pass()
	w.pass()
	if got := w.identityObjects(); len(got) != 2 {
		t.Errorf("left of the identity: %q", got)
	}
}

// TestNamespaceOfAnIdentity: the event of its end brings the SyncTarget back.
func TestNamespaceOfAnIdentity(t *testing.T) {
	w := usual(t)
	w.ready()
	namespace := namespaceMeta()
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, namespace); err != nil {
		t.Fatal(err)
	}
	q := newQueue(t)
	namespaceEvents(testCluster, w.cache).Delete(t.Context(), event.DeleteEvent{Object: namespace}, q)
	if diff := cmp.Diff([]string{testCluster + "/" + testName}, queued(q)); diff != "" {
		t.Errorf("queued: -want +got\n%s", diff)
	}
}
