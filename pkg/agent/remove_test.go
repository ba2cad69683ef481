package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

type removeFunc = func(ctx context.Context, c client.Client, name, key string, uid types.UID) (string, bool, error)

// a side is what is installed there and how it is removed.
type side struct {
	objects           func(Config) []client.Object
	remove, leftovers removeFunc
}

func sides() map[string]side {
	return map[string]side{
		"downstream": {Downstream, Remove, RemoveLeftovers},
		"upstream":   {wholeIdentity, RemoveIdentity, RemoveIdentityLeftovers},
	}
}

func call(ctx context.Context, f removeFunc, s *server) (string, bool, error) {
	c := testConfig()
	return f(ctx, s, c.Target.Name, c.key(), c.Target.UID)
}

func mustRemove(t *testing.T, f removeFunc, s *server) (string, bool) {
	t.Helper()
	waiting, done, err := call(t.Context(), f, s)
	if err != nil {
		t.Fatal(err)
	}
	if done != (waiting == "") {
		t.Errorf("done is %t, and waits for %q", done, waiting)
	}
	return waiting, done
}

func TestRemove(t *testing.T) {
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			objects := side.objects(testConfig())
			mustApply(t, s, objects)
			s.forget()

			waiting, _ := mustRemove(t, side.remove, s)
			if want := `Namespace "kcp-syncer-edge-1-djpdevi3jln6x2tg" is still being deleted: held by finalizer kubernetes`; waiting != want {
				t.Errorf("waits for %q, want %q", waiting, want)
			}
			if name == "downstream" && !strings.HasPrefix(s.writes[0], "delete Deployment") {
				t.Errorf("%s comes before the syncer is stopped", s.writes[0])
			}
			if last := s.writes[len(s.writes)-1]; !strings.HasPrefix(last, "delete Namespace") {
				t.Errorf("the last write is %s", last)
			}
			s.forget()
			if mustRemove(t, side.remove, s); len(s.writes) != 0 {
				t.Errorf("while it waits it writes %v", s.writes)
			}

			s.finishNamespaces(t)
			s.forget()
			if waiting, done := mustRemove(t, side.remove, s); !done || len(s.writes) != 0 {
				t.Errorf("waits for %q, wrote %v", waiting, s.writes)
			}
			// In a workspace a Namespace that is not found may only be hidden.
			if want := map[string]int{"downstream": 4, "upstream": 13}[name]; len(s.reads) != want {
				t.Errorf("reads %v when all is gone, want %d", s.reads, want)
			}
			if left := s.names(t); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestRemoveHidden: a user who hides the identity's Namespace from the service does not keep our finalizers on what is
// in it.
func TestRemoveHidden(t *testing.T) {
	s := newServer(t)
	mustApply(t, s, Identity(testConfig()))
	hidden := &hiding{Client: s}
	c := testConfig()
	if _, _, err := RemoveIdentity(t.Context(), hidden, c.Target.Name, c.key(), c.Target.UID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`Namespace "` + c.namespace() + `"`}, s.names(t)); diff != "" {
		t.Errorf("left: -want +got\n%s", diff)
	}
}

// hiding is a virtual workspace that does not show Namespaces.
type hiding struct{ client.Client }

func (h *hiding) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if object.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	}
	return h.Client.Get(ctx, key, object, opts...)
}

// A crash after any line, with or without the write having been made, is repaired by the next passes.
func TestRemoveResumes(t *testing.T) {
	for name, side := range sides() {
		for n := 1; ; n++ {
			completed := false
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, write %d fails, answer lost %t", name, n, lost), func(t *testing.T) {
					s := newServer(t)
					mustApply(t, s, side.objects(testConfig()))
					s.forget()
					s.failWrite, s.lost = n, lost
					for pass := 1; ; pass++ {
						_, done, err := call(t.Context(), side.remove, s)
						if err != nil && !errors.Is(err, errInjected) {
							t.Fatal(err)
						}
						if done {
							break
						}
						if pass == 5 {
							t.Fatalf("not done after %d passes; left: %v", pass, s.names(t))
						}
						s.finishNamespaces(t)
					}
					if left := s.names(t); len(left) != 0 {
						t.Errorf("left: %v", left)
					}
					completed = len(s.writes) < n
				})
			}
			if completed || t.Failed() {
				break // every write has failed once
			}
		}
	}
}

// Only what carries the key and the UID goes, whatever its Namespace is.
func TestRemoveLeavesOthers(t *testing.T) {
	key := testKey()
	labels := map[string]map[string]string{
		"nobody's":        nil,
		"another key":     {workloadv1alpha1.LabelKey: "other", workloadv1alpha1.LabelUID: string(testConfig().Target.UID)},
		"an older UID":    {workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: "older"},
		"no UID":          {workloadv1alpha1.LabelKey: key},
		"another's, same": {workloadv1alpha1.LabelUID: string(testConfig().Target.UID)},
	}
	for name, side := range sides() {
		for whose, labels := range labels {
			t.Run(name+" "+whose, func(t *testing.T) {
				s := newServer(t)
				objects := side.objects(testConfig())
				mustApply(t, s, objects)
				var left []string
				for _, object := range objects {
					if kind := kindOf(object); kind == "Namespace" || kind == "ClusterRole" || kind == "ServiceAccount" {
						s.edit(t, object, func(live *unstructured.Unstructured) { live.SetLabels(labels) })
						left = append(left, describe(object))
					}
				}
				slices.Sort(left)
				if waiting, done := mustRemove(t, side.remove, s); !done {
					t.Errorf("waits for %q", waiting)
				}
				if diff := cmp.Diff(left, s.names(t)); diff != "" {
					t.Errorf("what is left (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRemoveLeftovers(t *testing.T) {
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			older := testConfig()
			older.Target.UID = "older"
			s := newServer(t)
			mustApply(t, s, side.objects(older))
			objects := side.objects(testConfig())

			passes := 0
			for ; ; passes++ {
				_, err := Apply(t.Context(), s, objects, owner)
				if leftover := (*LeftoverError)(nil); !errors.As(err, &leftover) {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				if passes == 5 {
					t.Fatal("the left-over objects do not go")
				}
				mustRemove(t, side.leftovers, s)
				s.finishNamespaces(t)
			}
			if passes == 0 {
				t.Error("no left-over object was seen")
			}
			s.forget()
			if _, done := mustRemove(t, side.leftovers, s); !done || len(s.writes) != 0 {
				t.Errorf("our own is taken for a left-over object: wrote %v", s.writes)
			}
		})
	}
}

func TestRemoveIsRefused(t *testing.T) {
	s := newServer(t)
	mustApply(t, s, Downstream(testConfig()))
	deployment := byKind(t, Downstream(testConfig()), "Deployment")
	stale := s.object(t, deployment)
	stale.SetUID("replaced-since")
	_, err := discard(t.Context(), s, stale, "")
	if !apierrors.IsConflict(err) || !strings.HasPrefix(err.Error(), `deleting Deployment "`) {
		t.Errorf("got %v, want a conflict and the name of what it was about", err)
	}
	s.object(t, deployment)
}

func TestReleaseTouchesOursOnly(t *testing.T) {
	hold := workloadv1alpha1.SyncTargetFinalizer(testKey())
	tests := map[string]struct {
		reason     string
		seen, live []string
		want       []string
		fails      bool
	}{
		"ours":             {"", []string{hold}, []string{hold}, nil, false},
		"ours among other": {"", []string{"a/a", hold, "b/b"}, []string{"a/a", hold, "b/b"}, []string{"a/a", "b/b"}, false},
		"none of ours":     {"Nothing is sent.", []string{"a/a"}, []string{"a/a"}, []string{"a/a"}, false},
		"moved":            {"Somebody changed the list since we read it: the next pass reads it anew.", []string{"a/a", hold}, []string{hold, "b/b"}, []string{hold, "b/b"}, true},
		"added":            {"What somebody added since we read it stays.", []string{hold}, []string{hold, "b/b"}, []string{"b/b"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			role := reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", "x")
			role.SetFinalizers(test.live)
			s := newServer(t, role)
			seen := s.object(t, role)
			seen.SetFinalizers(test.seen)
			if err := removeFinalizer(t.Context(), s, seen, hold); (err != nil) != test.fails {
				t.Errorf("%s\n%v", test.reason, err)
			}
			if diff := cmp.Diff(test.want, s.object(t, role).GetFinalizers()); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", test.reason, diff)
			}
		})
	}
}

func TestBecause(t *testing.T) {
	condition := func(kind, message string) any {
		return map[string]any{"type": kind, "status": "True", "reason": "R", "message": message}
	}
	tests := map[string]struct {
		reason     string
		kind       string
		finalizers []string
		conditions []any
		want       string
	}{
		"nothing": {"It takes its time.", "Namespace", nil, nil, ""},
		"fine": {
			"Conditions that are False say that all is well.", "Namespace", nil,
			[]any{map[string]any{"type": "NamespaceContentRemaining", "status": "False", "message": "All content successfully removed"}}, "",
		},
		"content": {
			"Without how many there are, which changes while it goes on.", "Namespace", nil,
			[]any{
				condition("NamespaceFinalizersRemaining", "Some content in the namespace has finalizers remaining: example.com/backup in 2 resource instances"),
				condition("NamespaceContentRemaining", "Some resources are remaining: configmaps. has 2 resource instances, widgets.example.com has 1 resource instances"),
			},
			": Some content in the namespace has finalizers remaining: example.com/backup; Some resources are remaining: configmaps, widgets.example.com",
		},
		"discovery": {
			"The usual reason why a Namespace hangs: an aggregated API that is down.", "Namespace", nil,
			[]any{condition("NamespaceDeletionDiscoveryFailure", "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1")},
			": Discovery failed for some groups: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1",
		},
		"failure": {
			"", "Namespace", nil,
			[]any{condition("NamespaceDeletionContentFailure", "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: x for gvr: /v1, Resource=pods")},
			": Failed to delete all resource types: unexpected items still remain in namespace: x for gvr: /v1, Resource=pods",
		},
		"finalizers": {"Sorted, so that it is stable.", "ClusterRole", []string{"b.example.com/b", "a.example.com/a"}, nil, ": held by finalizer a.example.com/a, b.example.com/b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := &unstructured.Unstructured{Object: map[string]any{"kind": test.kind}}
			live.SetFinalizers(test.finalizers)
			if test.conditions != nil {
				live.Object["status"] = map[string]any{"conditions": test.conditions}
			}
			if got := because(live); got != test.want {
				t.Errorf("%s\ngot  %q\nwant %q", test.reason, got, test.want)
			}
		})
	}
}

// Only what is being deleted is let go, and only what is this SyncTarget's.
func TestReleaseIdentity(t *testing.T) {
	hold := workloadv1alpha1.SyncTargetFinalizer(testKey())
	tests := map[string]struct {
		reason string
		uid    string
		delete bool
		want   bool
	}{
		"being deleted":     {"Its Namespace waits for that.", string(testConfig().Target.UID), true, false},
		"not being deleted": {"It is in use.", string(testConfig().Target.UID), false, true},
		"of another UID":    {"It is left from an earlier SyncTarget, which is removed elsewhere.", "another", true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			s := newServer(t)
			mustApply(t, s, Identity(c))
			for _, kind := range []string{"Secret", "ServiceAccount"} {
				object := byKind(t, Identity(c), kind)
				s.edit(t, object, func(live *unstructured.Unstructured) {
					live.SetFinalizers([]string{hold}) // an earlier version of this service held the ServiceAccount, too
					labels := live.GetLabels()
					labels[workloadv1alpha1.LabelUID] = test.uid
					live.SetLabels(labels)
				})
				if !test.delete {
					continue
				}
				live := s.object(t, object)
				if err := s.Delete(t.Context(), live, client.Preconditions{UID: ptr.To(live.GetUID())}); err != nil {
					t.Fatal(err)
				}
			}
			if err := ReleaseIdentity(t.Context(), s, c.Target.Name, c.key(), c.Target.UID); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"Secret", "ServiceAccount"} {
				held := false
				for _, live := range s.all(t) {
					held = held || live.GetKind() == kind && slices.Contains(live.GetFinalizers(), hold)
				}
				if held != test.want {
					t.Errorf("%s\n%s is held: %t", test.reason, kind, held)
				}
			}
		})
	}
}
