package resource

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestDrainedIsToldBeforeTheRightsGo: whatever fails, and whenever, the report is made while the counterpart stands, and
// the counterpart goes in the end.
func TestDrainedIsToldBeforeTheRightsGo(t *testing.T) {
	p := newPlace(testOwner.Key, "shop")
	p.setEnding(&closing{})
	p.deafen = func() {}
	counterpart := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	counterpart.SetName(p.counterpart)
	counterpart.SetLabels(map[string]string{workloadv1alpha1.LabelKey: testOwner.Key})
	down := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), listKinds, counterpart)
	kcp := &reporting{err: errors.New("somebody was faster")}
	kcp.UID = types.UID(testOwner.UID)
	e := &Engine{owner: testOwner, target: kcp, down: down, places: map[string]*place{"shop": p}}
	stands := func() bool {
		_, err := down.Resource(namespaces).Get(t.Context(), p.counterpart, metav1.GetOptions{})
		return err == nil
	}

	if _, err := e.closePlace(t.Context(), p); err == nil || !stands() {
		t.Fatalf("without the report, closePlace() = %v, the counterpart stands: %t", err, stands())
	}
	kcp.err = nil
	refuse := true
	down.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("connection refused")
	})
	if _, err := e.closePlace(t.Context(), p); err == nil || len(kcp.patches) != 1 || !strings.Contains(kcp.patches[0], `["shop"]`) {
		t.Fatalf("closePlace() = %v, reported %q", err, kcp.patches)
	}
	refuse = false
	if _, err := e.closePlace(t.Context(), p); err != nil || stands() || len(kcp.patches) != 1 || len(e.places) != 0 {
		t.Errorf("closePlace() = %v, the counterpart stands: %t, reported %q, places %v", err, stands(), kcp.patches, e.places)
	}
}

// reporting is a SyncTarget in kcp that takes reports.
type reporting struct {
	target
	err     error
	patches []string
}

func (u *reporting) PatchStatus(_ context.Context, patch []byte) error {
	if u.err == nil {
		u.patches = append(u.patches, string(patch))
	}
	return u.err
}

// TestRightsAreHandedBack: where the counterpart stays, our rights in it go, also if that fails at first.
func TestRightsAreHandedBack(t *testing.T) {
	p := newPlace(testOwner.Key, "shop")
	object := func(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
		o.SetNamespace(namespace)
		o.SetName(name)
		o.SetLabels(map[string]string{workloadv1alpha1.LabelKey: testOwner.Key})
		return o
	}
	down := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(),
		object("v1", "Namespace", "", p.counterpart), object("rbac.authorization.k8s.io/v1", "RoleBinding", p.counterpart, bindingName))
	e := &Engine{owner: testOwner, down: down}
	refuse := true
	down.PrependReactor("delete", "rolebindings", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("connection refused")
	})
	if err := e.leave(t.Context(), p, true); err == nil {
		t.Fatal("the rights are kept, and that is no error")
	}
	refuse = false
	if err := e.leave(t.Context(), p, true); err != nil {
		t.Fatal(err)
	}
	if _, err := down.Resource(roleBindings).Namespace(p.counterpart).Get(t.Context(), bindingName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the binding is left: %v", err)
	}
	left, err := down.Resource(namespaces).Get(t.Context(), p.counterpart, metav1.GetOptions{})
	if err != nil || left.GetLabels()[workloadv1alpha1.LabelKey] != "" {
		t.Errorf("the Namespace is gone or carries our mark: %v", err)
	}
}

// TestClosingAsksWhenItSeemsDone: while the caches show something of ours no server is asked, so that a copy that hangs costs
// nothing; and when they do not, the servers have the last word.
func TestClosingAsksWhenItSeemsDone(t *testing.T) {
	tests := map[string]struct {
		reason       string
		cached, live *unstructured.Unstructured
		asked, done  bool
	}{
		"a copy is left":     {"It hangs on a finalizer, perhaps for hours.", copied(t), copied(t), false, false},
		"the cache is late":  {"", nil, copied(t), true, false},
		"nothing is left":    {"", nil, nil, true, true},
		"others' is no bar":  {"", nil, func() *unstructured.Unstructured { c := copied(t); c.SetLabels(nil); return c }(), true, true},
		"cache alone has it": {"Its end has yet to be seen.", copied(t), nil, false, false},
	}
	// Of a group whose server is away there may be something, which nobody sees now.
	unknown := []Resource{{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, Unknown: true}}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, nil, nil, tc.live)
			p, l, kcp := b.pass.place, b.pass.lane, &reporting{}
			kcp.UID = types.UID(testOwner.UID)
			p.lanes[l.resource.GroupResource], p.deafen = l, func() {}
			p.setEnding(&closing{})
			l.stop = func() {}
			if tc.cached != nil {
				if err := l.down.objects.store.Add(mustPack(t, tc.cached)); err != nil {
					t.Fatal(err)
				}
			}
			b.pass.target, b.pass.up, b.pass.down, b.pass.places = kcp, b.up, b.down, map[string]*place{"shop": p}
			if _, err := b.pass.closePlace(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if b.pass.catalog.Store(&unknown); tc.done {
				again := &reporting{}
				again.UID = kcp.UID
				b.pass.target, p.drained = again, false
				if wait, err := b.pass.closePlace(t.Context(), p); wait != drainedRetry || err != nil || len(again.patches) != 0 {
					t.Errorf("with a silent group: closePlace() = %s, %v, reported %q", wait, err, again.patches)
				}
			}
			if asked := len(b.up.Actions()) > 0; asked != tc.asked || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("%s\nasked %t, reported %q", tc.reason, asked, kcp.patches)
			}
		})
	}
}

// TestSomebodysPodKeepsTheCounterpart: what runs there without an owner is nobody's copy, and would go with its Namespace.
func TestSomebodysPodKeepsTheCounterpart(t *testing.T) {
	p := newPlace(testOwner.Key, "shop")
	pod := func(owners ...metav1.OwnerReference) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
		o.SetNamespace(p.counterpart)
		o.SetName("pod")
		o.SetOwnerReferences(owners)
		return o
	}
	for name, tc := range map[string]struct {
		pod  *unstructured.Unstructured
		want bool
	}{
		"its own":           {pod(), true},
		"of a Deployment's": {pod(metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-1"}), false},
	} {
		e := &Engine{owner: testOwner, down: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), listKinds, tc.pod)}
		if others, done, err := e.drained(t.Context(), p); others != tc.want || !done || err != nil {
			t.Errorf("%s: drained() = %t, %t, %v", name, others, done, err)
		}
	}
}

// TestClosingWithAResourceThatIsBarred: what the physical cluster does not let us list holds nothing up, unless an object says
// that it has a copy.
func TestClosingWithAResourceThatIsBarred(t *testing.T) {
	fresh := func(o *unstructured.Unstructured) { o.SetFinalizers(nil) }
	for name, tc := range map[string]struct {
		src  *unstructured.Unstructured
		done bool
	}{
		"not held": {sourceOf(fresh), true},
		"held":     {sourceOf(), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, nil, tc.src, nil)
			p, l, kcp := b.pass.place, b.pass.lane, &reporting{}
			kcp.UID = types.UID(testOwner.UID)
			p.lanes[l.resource.GroupResource], p.deafen, l.stop = l, func() {}, func() {}
			p.setEnding(&closing{})
			l.down.listed = func() bool { return false }
			l.down.barred.Store(true)
			b.down.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no"))
			})
			b.pass.target, b.pass.up, b.pass.down, b.pass.places = kcp, b.up, b.down, map[string]*place{"shop": p}
			if _, err := b.pass.closePlace(t.Context(), p); err != nil || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("closePlace() = %v, reported %q", err, kcp.patches)
			}
		})
	}
}
