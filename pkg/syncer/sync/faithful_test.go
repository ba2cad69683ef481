package sync

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// deploymentOf makes a Deployment of an object.
func deploymentOf(change ...func(*unstructured.Unstructured)) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		o.SetAPIVersion("apps/v1")
		o.SetKind("Deployment")
		delete(o.Object, "data")
		o.Object["spec"] = map[string]any{"strategy": map[string]any{"type": "Recreate"}}
		for _, c := range change {
			c(o)
		}
	}
}

// TestDefaultsAreAppliedToo: when a Deployment changes, a dry-run create tells the defaults of a fresh copy, which are applied too, so
// that they are removed when they no longer follow from the object. Where that is refused, what was asked for is applied alone.
func TestDefaultsAreAppliedToo(t *testing.T) {
	for name, tc := range map[string]struct {
		refused error
		want    map[string]any
	}{
		"taken":                     {nil, map[string]any{"strategy": map[string]any{"type": "Recreate"}, "revisionHistoryLimit": float64(10)}},
		"no room for a second copy": {apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, "a", nil), map[string]any{"strategy": map[string]any{"type": "Recreate"}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := desiredOf(t, sourceOf(deploymentOf(func(o *unstructured.Unstructured) { o.Object["spec"] = map[string]any{} })))
			before.SetUID("copy-1")
			before.SetResourceVersion("6")
			s := newServer(t, sourceOf(deploymentOf()), before)
			dryRuns := 0
			s.down.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				create := action.(clienttesting.CreateActionImpl)
				fresh := create.GetObject().(*unstructured.Unstructured).DeepCopy()
				if dryRuns++; fresh.GetName() == "a" || len(create.CreateOptions.DryRun) == 0 {
					t.Errorf("%s is created, dry run %q", fresh.GetName(), create.CreateOptions.DryRun)
				}
				spec := fresh.Object["spec"].(map[string]any)
				spec["revisionHistoryLimit"], spec["injected"] = int64(10), "by a webhook"
				fresh.SetManagedFields([]metav1.ManagedFieldsEntry{{
					Manager: workloadv1alpha1.FieldOwnerSyncer, Operation: metav1.ManagedFieldsOperationUpdate,
					FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:strategy":{"f:type":{}},"f:revisionHistoryLimit":{}}}`)},
				}})
				return true, fresh, tc.refused
			})
			if _, err := s.run(t); err != nil {
				t.Fatal(err)
			}
			if len(s.applied) != 1 || dryRuns != 1 {
				t.Fatalf("%d applies and %d dry runs", len(s.applied), dryRuns)
			}
			if diff := cmp.Diff(tc.want, s.applied[0].Object["spec"]); diff != "" {
				t.Errorf("applied: -want +got\n%s", diff)
			}
			if _, err := s.run(t); err != nil || len(s.applied) != 1 || dryRuns != 1 {
				t.Errorf("at rest: run() = %v, %d applies and %d dry runs", err, len(s.applied), dryRuns)
			}
		})
	}
}

// TestOwnershipOfACreate: before the first apply to a copy that the syncer has created, its ownership of the fields becomes that of an
// apply, or the syncer would be in conflict with itself.
func TestOwnershipOfACreate(t *testing.T) {
	created := copied(t)
	created.SetResourceVersion("6")
	created.SetNamespace(namespaceOf(t))
	created.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: workloadv1alpha1.FieldOwnerSyncer, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:a":{}}}`)},
	}})
	s := newServer(t, sourceOf(func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"a": "2"} }), created)
	var patches []string
	s.down.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchActionImpl)
		patches = append(patches, string(patch.PatchType)+" "+string(patch.GetPatch()))
		if !strings.Contains(string(patch.PatchType), "json-patch") {
			return false, nil, nil
		}
		upgraded := created.DeepCopy()
		entries := upgraded.GetManagedFields()
		entries[0].Operation = metav1.ManagedFieldsOperationApply
		upgraded.SetManagedFields(entries)
		return true, upgraded, nil
	})
	if _, err := s.run(t); err != nil {
		t.Fatal(err)
	}
	if len(patches) != 2 || !strings.Contains(patches[0], "managedFields") || !strings.Contains(patches[0], "/metadata/resourceVersion") || !strings.Contains(patches[1], "apply-patch") {
		t.Errorf("patches %q", patches)
	}
	if report := s.report(t); report.Ready != "Current" {
		t.Errorf("report %+v", report)
	}
}

// TestNoTravelBackInTime: a list from a server that lags behind does not roll a copy back, unless the copy only claims to be newer.
func TestNoTravelBackInTime(t *testing.T) {
	generation := func(n int64, data string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			o.SetGeneration(n)
			o.Object["data"] = map[string]any{"a": data}
		}
	}
	for name, tc := range map[string]struct {
		live    *unstructured.Unstructured
		applies int
	}{
		"the cache lags":              {sourceOf(generation(5, "new")), 0},
		"the annotation was tampered": {sourceOf(generation(4, "old")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			dst := desiredOf(t, sourceOf(generation(5, "new")))
			dst.SetUID("copy-1")
			s := newServer(t, tc.live, dst)
			s.cache(t, s.pass.resource.up, sourceOf(generation(4, "old")))
			if _, err := s.pass.syncObject(t.Context(), s.pass.namespace, s.pass.resource, "a"); err != nil {
				t.Fatal(err)
			}
			if len(s.applied) != tc.applies {
				t.Errorf("%d applies", len(s.applied))
			}
		})
	}
}

// TestCascade: a copy is deleted as its object was, also if the finalizer that says so has gone before a pass observes it.
func TestCascade(t *testing.T) {
	orphaned := func(o *unstructured.Unstructured) { o.SetFinalizers(append(o.GetFinalizers(), "orphan")) }
	for name, tc := range map[string]struct {
		src  *unstructured.Unstructured
		want metav1.DeletionPropagation
	}{
		"in the background": {sourceOf(deleted), metav1.DeletePropagationBackground},
		"orphan":            {sourceOf(deleted, orphaned), metav1.DeletePropagationOrphan},
		"by annotation": {sourceOf(deleted, func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{workloadv1alpha1.AnnotationCascade: "Orphan"})
		}), metav1.DeletePropagationOrphan},
		"opted out": {sourceOf(optedOut, orphaned), metav1.DeletePropagationBackground},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tc.src, copied(t), tc.src, copied(t))
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []metav1.DeletionPropagation
			for _, action := range b.down.Actions() {
				if d, ok := action.(clienttesting.DeleteActionImpl); ok {
					got = append(got, *d.DeleteOptions.PropagationPolicy)
				}
			}
			if !slices.Equal(got, []metav1.DeletionPropagation{tc.want}) {
				t.Errorf("deleted with %q, want %q", got, tc.want)
			}
		})
	}
}

// TestAbsentStatus: a status that a copy no longer has, as when it was deleted and created again, goes from its object; one that
// somebody else has written there stays, and is not read again and again.
func TestAbsentStatus(t *testing.T) {
	theirs := func(o *unstructured.Unstructured) { o.SetManagedFields(nil) }
	for name, tc := range map[string]struct {
		src  *unstructured.Unstructured
		left bool
	}{
		"written by the syncer":    {sourceOf(withStatus), false},
		"written by somebody else": {sourceOf(withStatus, theirs), true},
		"of a Job that has ended":  {sourceOf(withStatus, completed), true},
	} {
		t.Run(name, func(t *testing.T) {
			dst := desiredOf(t, tc.src)
			dst.SetUID("copy-1")
			b := newBench(t, tc.src, dst, tc.src, dst)
			b.pass.resource.api.HasStatus = true
			for range 2 {
				if _, err := b.pass.run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, left := b.pass.src.Object["status"]; left != tc.left {
				t.Errorf("the status is %v", b.pass.src.Object["status"])
			}
			reads := 0
			for _, action := range b.up.Actions() {
				if action.GetVerb() == "get" {
					reads++
				}
			}
			if reads > 1 {
				t.Errorf("the object is read %d times", reads)
			}
		})
	}
}

// TestDiffersIsNotCurrent: what a webhook of the physical cluster sets otherwise is reported by field, and the copy is not Current.
func TestDiffersIsNotCurrent(t *testing.T) {
	s := newServer(t, sourceOf(), nil)
	mutate := func(o *unstructured.Unstructured) (bool, runtime.Object, error) {
		s.applied = append(s.applied, o.DeepCopy())
		o.Object["data"] = map[string]any{"a": "mutated"}
		o.SetUID("copy-1")
		o.SetResourceVersion("7")
		return true, o, nil
	}
	s.down.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return mutate(action.(clienttesting.CreateActionImpl).GetObject().(*unstructured.Unstructured).DeepCopy())
	})
	s.down.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(action.(clienttesting.PatchActionImpl).GetPatch(), &o.Object); err != nil {
			t.Error(err)
		}
		return mutate(o)
	})
	for _, when := range []string{"new", "at rest"} {
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
		if len(s.applied) != 2 {
			t.Errorf("%s: %d writes, want a create and one attempt to restore", when, len(s.applied))
		}
		if report := s.report(t); report.Ready != rejection.ReadyDiffers || !slices.Equal(report.Differs, []string{"data.a"}) {
			t.Errorf("%s: report %+v", when, report)
		}
	}
	if !s.pass.isFailing(s.pass.namespace, s.pass.resource, s.live(t)) {
		t.Error("the SyncTarget does not count it")
	}
}

// TestRefusalIsAnEvent: a refusal is a Warning on the object, once for each reason.
func TestRefusalIsAnEvent(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock = clock
	var events []string
	s.up.PrependReactor("*", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		switch action := action.(type) {
		case clienttesting.CreateActionImpl:
			event := action.GetObject().(*unstructured.Unstructured)
			message, _, _ := unstructured.NestedString(event.Object, "message")
			events = append(events, message)
			return true, event, nil
		default:
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "events"}, "a")
		}
	})
	for i, tc := range []struct {
		words string
		want  int
	}{{"too small", 1}, {"too small", 1}, {"too big", 2}} {
		s.err = apierrors.NewBadRequest(tc.words)
		again, err := s.run(t)
		if err != nil || len(events) != tc.want || !strings.Contains(events[len(events)-1], tc.words) {
			t.Errorf("%d: run() = %v, events %q", i, err, events)
		}
		clock.Step(again)
	}
}
