package sync

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// TestStoppedResourceIsForgotten: what is remembered of the objects of a resource goes when the resource is no longer
// synced, and a pass that is under way leaves nothing behind.
func TestStoppedResourceIsForgotten(t *testing.T) {
	b := newBench(t, nil, nil, sourceOf(), nil)
	p, l := b.pass.namespace, b.pass.resource
	p.resources[l.api.GroupResource], l.stop = l, func() {}
	other := queueKey{namespace: shopNamespace, resource: workloadv1alpha1.GroupResource{Resource: "secrets"}, name: "a"}
	for _, key := range []queueKey{b.pass.key(), other} {
		p.setObjectState(key, objectState{prunedStatus: "x"})
	}
	b.pass.ensureResources(p, nil)
	if state, found := p.objectStates.Load(b.pass.key()); found {
		t.Errorf("of its object %+v is remembered", state)
	}
	if _, found := p.objectStates.Load(other); !found {
		t.Error("what is remembered of another resource is gone")
	}

	// Now the resource is stopped while a pass reads its object.
	p.resources[l.api.GroupResource] = l
	b.pass.namespaces = map[source.Namespace]*namespaceSync{shopNamespace: p}
	if err := l.up.Objects.Store.Add(mustPack(t, sourceOf())); err != nil {
		t.Fatal(err)
	}
	stopped := false
	b.down.PrependReactor("create", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		b.pass.ensureResources(p, nil)
		stopped = true
		// The pass remembers this refusal.
		return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil)
	})
	if _, err := b.pass.process(t.Context(), b.pass.key()); err != nil {
		t.Fatal(err)
	}
	if state, found := p.objectStates.Load(b.pass.key()); !stopped || found {
		t.Errorf("stopped: %t, after the pass %+v is remembered", stopped, state)
	}
}
