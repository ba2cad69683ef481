package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// server answers creates and applies in the physical cluster; what was written is in applied.
type server struct {
	*bench
	err     error
	applied []*unstructured.Unstructured
	version string
}

// newServer is one object on two servers, of which the lower answers applies with what was applied, or with err.
func newServer(t *testing.T, src, dst *unstructured.Unstructured) *server {
	s := &server{bench: newBench(t, src, dst, src, dst), version: "7"}
	if dst != nil {
		s.cache(t, s.pass.resource.down, dst)
	}
	answer := func(o *unstructured.Unstructured) (bool, runtime.Object, error) {
		s.applied = append(s.applied, o.DeepCopy())
		if s.err != nil {
			return true, nil, s.err
		}
		o.SetUID("copy-1")
		o.SetResourceVersion(s.version)
		return true, o, nil
	}
	s.down.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(action.(clienttesting.PatchActionImpl).GetPatch(), &o.Object); err != nil {
			t.Error(err)
		}
		return answer(o)
	})
	s.down.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return answer(action.(clienttesting.CreateActionImpl).GetObject().(*unstructured.Unstructured).DeepCopy())
	})
	return s
}

// run makes a pass with what the servers and the caches hold by now.
func (s *server) run(t *testing.T) (time.Duration, error) {
	t.Helper()
	s.cache(t, s.pass.resource.up, s.live(t))
	again, err := s.pass.syncObject(t.Context(), s.pass.namespace, s.pass.resource, "a")
	s.pass.src, _ = s.pass.resource.up.Objects.Get("shop/a")
	s.pass.dst, _ = s.pass.resource.down.Objects.Get(s.pass.namespace.downstreamNamespace + "/a")
	return again, err
}

// cache has a watch deliver an object.
func (s *server) cache(t *testing.T, side *cache.ResourceCache, object *unstructured.Unstructured) {
	t.Helper()
	object = object.DeepCopy()
	if side == s.pass.resource.down {
		object.SetNamespace(s.pass.namespace.downstreamNamespace)
	}
	side.Objects.Forget(object.GetNamespace() + "/a")
	if err := side.Objects.Store.Add(mustPack(t, object)); err != nil {
		t.Fatal(err)
	}
}

func (s *server) report(t *testing.T) rejection.Report {
	t.Helper()
	return rejection.ParseReport(s.pass.syncAnnotation(s.live(t)))
}

func (s *server) live(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	live, err := s.up.Resource(configMaps).Namespace("shop").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func fresh(o *unstructured.Unstructured) { o.SetFinalizers(nil) }

// TestFinalizerFirst: an object has the finalizer before its copy exists, always, and the report after it.
func TestFinalizerFirst(t *testing.T) {
	for name, status := range map[string]bool{"with a status": true, "plain data": false} {
		t.Run(name, func(t *testing.T) {
			s := newHeld(t, fresh)
			s.pass.resource.api.HasStatus = status
			want := []string{"down create", "up patch", "up patch"}
			for _, when := range []string{"new", "at rest"} {
				if _, err := s.run(t); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, s.writes(t)); diff != "" {
					t.Errorf("%s: writes: -want +got\n%s", when, diff)
				}
			}
		})
	}
}

// TestLimit: the limit of requests decides how many passes are under way.
func TestLimit(t *testing.T) {
	for qps, want := range map[float32]int{-1: maxWorkers, 1: 2, 5: 10, 40: maxWorkers} {
		metrics, err := NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(Config{Source: newDiscoverable(t), Cluster: &rest.Config{QPS: qps, Burst: 1}, Metrics: metrics})
		if err != nil || e.workers != want {
			t.Errorf("QPS %g: %d workers, %v", qps, e.workers, err)
		}
	}
}

// newHeld is an object without a copy that must have the finalizer whenever one is created.
func newHeld(t *testing.T, change ...func(*unstructured.Unstructured)) *server {
	t.Helper()
	s := newServer(t, sourceOf(change...), nil)
	s.down.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if dry := len(action.(clienttesting.CreateActionImpl).CreateOptions.DryRun) > 0; !dry && !s.pass.Controller.hasFinalizer(s.live(t)) {
			t.Error("the copy is created before its object has the finalizer")
		}
		return false, nil, nil
	})
	return s
}

// TestHeldWhenTheCacheLags: that an object is held is asked of the workspace when a copy is to be made, for the cache may show
// a finalizer that has gone meanwhile.
func TestHeldWhenTheCacheLags(t *testing.T) {
	for name, lags := range map[string]bool{"it lags": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			s := newHeld(t)
			if lags {
				ahead := sourceOf(fresh)
				ahead.SetResourceVersion("6")
				if err := s.up.Tracker().Update(configMaps, ahead, "shop"); err != nil {
					t.Fatal(err)
				}
			}
			s.up.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				var patch unstructured.Unstructured
				if err := json.Unmarshal(action.(clienttesting.PatchActionImpl).GetPatch(), &patch.Object); err != nil {
					t.Error(err)
				}
				live, err := s.up.Tracker().Get(configMaps, "shop", "a")
				if err != nil {
					t.Error(err)
				}
				if version := patch.GetResourceVersion(); version != "" && version != live.(*unstructured.Unstructured).GetResourceVersion() {
					return true, nil, apierrors.NewConflict(configMaps.GroupResource(), "a", errors.New("it has changed"))
				}
				return false, nil, nil
			})
			s.cache(t, s.pass.resource.up, sourceOf())
			_, err := s.pass.syncObject(t.Context(), s.pass.namespace, s.pass.resource, "a")
			if lags != apierrors.IsConflict(err) || lags != (len(s.applied) == 0) {
				t.Errorf("syncObject() = %v after %d applies", err, len(s.applied))
			}
		})
	}
}

// TestSomebodyElseCreatesIt: between the observation and the create somebody else creates an object of the same name. It is not
// touched, by force neither, and the user is told.
func TestSomebodyElseCreatesIt(t *testing.T) {
	takesOver := func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{workloadv1alpha1.AnnotationTakeOver: "true"})
	}
	for name, src := range map[string]*unstructured.Unstructured{"new": sourceOf(fresh), "with a finalizer": sourceOf(), "by force": sourceOf(fresh, takesOver)} {
		t.Run(name, func(t *testing.T) {
			theirs := sourceOf(fresh)
			theirs.SetUID("theirs")
			theirs.SetNamespace(namespaceOf(t))
			b := newBench(t, src, nil, src, theirs)
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"down create", "up create", "up patch", "up patch"}, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
			if !strings.Contains(b.pass.lastReport().Refused, "is not a copy") || b.pass.hasFinalizer() {
				t.Errorf("finalizers %q, report %+v", b.pass.src.GetFinalizers(), b.pass.lastReport())
			}
		})
	}
}

func namespaceOf(t *testing.T) string {
	t.Helper()
	return desiredOf(t, sourceOf()).GetNamespace()
}

// TestCopyBehindTheCacheOfACreate: the watch has yet to show a copy that an earlier process has created; it is applied to.
func TestCopyBehindTheCacheOfACreate(t *testing.T) {
	there := copied(t)
	there.SetNamespace(namespaceOf(t))
	src := sourceOf()
	b := newBench(t, src, nil, src, there)
	if _, err := b.pass.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if report := b.pass.lastReport(); report.Ready != "Current" || !b.pass.hasFinalizer() {
		t.Errorf("report %+v", report)
	}
}

// TestGoneCopyTellsNothing: a status tells of a copy. Where that is gone and is not made again, or something of somebody else's
// stands in its place, nothing says any more that it is available, and the object is not held.
func TestGoneCopyTellsNothing(t *testing.T) {
	src := sourceOf(func(o *unstructured.Unstructured) {
		o.Object["status"] = map[string]any{"availableReplicas": int64(3)}
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: workloadv1alpha1.FieldOwnerSyncer, Subresource: "status"}})
	})
	theirs := copied(t)
	theirs.SetLabels(nil)
	for name, tc := range map[string]struct {
		dst    *unstructured.Unstructured
		change func(*server)
		held   bool
	}{
		"refused":         {nil, func(s *server) { s.err = apierrors.NewInvalid(schema.GroupKind{Kind: "Widget"}, "a", nil) }, false},
		"somebody else's": {theirs, func(*server) {}, false},
		"served no longer": {nil, func(s *server) {
			s.pass.resource.down, s.pass.resource.api.State = nil, workloadv1alpha1.ResourceMissing
			s.pass.resource.api.Versions, s.pass.resource.api.UpstreamVersion = nil, "v1"
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, src, tc.dst)
			s.pass.resource.api.HasStatus = true
			tc.change(s)
			s.cache(t, s.pass.resource.up, src)
			if _, err := s.pass.syncObject(t.Context(), s.pass.namespace, s.pass.resource, "a"); err != nil {
				t.Fatal(err)
			}
			live := s.live(t)
			if status := live.Object["status"]; status != nil || s.pass.Controller.hasFinalizer(live) != tc.held || !s.report(t).Rejected() {
				t.Errorf("status %v, held by %q, told %+v", status, live.GetFinalizers(), s.report(t))
			}
		})
	}
}

// TestUnmarkedIsTold: what the workspace refuses of our marks cannot be told in an annotation. It is told in an Event once it has
// lasted, and no more often than it makes sense; the object counts as one that fails, until it is taken.
func TestUnmarkedIsTold(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock = clock
	var told []string
	refuses := true
	s.up.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuses, nil, apierrors.NewForbidden(configMaps.GroupResource(), "a", errors.New("nobody sets finalizers here"))
	})
	s.up.PrependReactor("create", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		event := action.(clienttesting.CreateActionImpl).GetObject().(*unstructured.Unstructured)
		message, _, _ := unstructured.NestedString(event.Object, "message")
		told = append(told, message)
		return true, event, nil
	})
	places := map[source.Namespace]*namespaceSync{shopNamespace: s.pass.namespace}
	s.pass.namespace.resources[s.pass.resource.api.GroupResource] = s.pass.resource
	attempt := func(when string, events, objects, failing int) {
		t.Helper()
		if _, err := s.run(t); (err != nil) != refuses {
			t.Errorf("%s: run() = %v", when, err)
		}
		s.pass.queue.backoff.When(s.pass.key())
		s.cache(t, s.pass.resource.up, s.live(t))
		o, f := countObjects(places, s.pass.resource.api.GroupResource)
		if len(told) != events || int(o) != objects || int(f) != failing {
			t.Errorf("%s: told %q, counted %d, of which %d fail", when, told, o, f)
		}
	}
	for range rejection.ReportAfter {
		attempt("at first", 0, 0, 0)
	}
	attempt("lasting", 1, 1, 1)
	attempt("a moment later", 1, 1, 1)
	clock.Step(rejection.RetryAfter)
	attempt("after a while", 2, 1, 1)
	if !strings.Contains(told[0], "nobody sets finalizers here") {
		t.Errorf("told %q", told)
	}
	refuses = false
	attempt("taken", 2, 1, 0)
}

// TestCopyBehindTheCache: that the cache shows something of somebody else's is no word on whether there is a copy by now.
func TestCopyBehindTheCache(t *testing.T) {
	theirs := copied(t)
	theirs.SetLabels(nil)
	theirs.SetUID("theirs")
	b := newBench(t, sourceOf(), theirs, sourceOf(), copied(t))
	if _, err := b.pass.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if live := b.pass.lastReport(); !b.pass.hasFinalizer() || live.Rejected() || live.Ready != "Current" {
		t.Errorf("held by %q, told %+v", b.pass.src.GetFinalizers(), live)
	}
}

// TestHeldForNoCopy: what the physical cluster refuses is not held, since there is no copy, nor for another attempt that fails
// like the last.
func TestHeldForNoCopy(t *testing.T) {
	s := newHeld(t, fresh)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock, s.err = clock, apierrors.NewInvalid(schema.GroupKind{Kind: "Widget"}, "a", nil)
	expect := func(when string, held bool, more ...string) {
		t.Helper()
		before := s.writes(t)
		again, err := s.run(t)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(s.writes(t)) - len(before); got != len(more) || s.pass.Controller.hasFinalizer(s.live(t)) != held || s.report(t).Rejected() == held {
			t.Errorf("%s: %d writes, %q in all, held by %q, told %+v", when, got, s.writes(t), s.live(t).GetFinalizers(), s.report(t))
		}
		clock.Step(again)
	}
	expect("refused", false, "finalizer", "create", "report without finalizer", "event")
	expect("refused again", false, "dry run")
	s.err = nil
	expect("taken", true, "dry run", "finalizer", "create", "report")
}

// TestSteps: a copy that is on its way is told of once a second; that it is ready, or fails, or that another generation is
// on its way, at once.
func TestSteps(t *testing.T) {
	deployment := func(generation, ready int64) *unstructured.Unstructured {
		o := copied(t)
		o.SetKind("Deployment")
		o.SetAPIVersion("apps/v1")
		o.SetGeneration(generation)
		o.Object["spec"] = map[string]any{"replicas": int64(3)}
		o.Object["status"] = map[string]any{
			"observedGeneration": generation, "replicas": int64(3), "updatedReplicas": int64(3), "readyReplicas": ready, "availableReplicas": ready,
			"conditions": []any{map[string]any{"type": "Available", "status": map[bool]string{true: "True", false: "False"}[ready == 3]}},
		}
		return o
	}
	tests := map[string]struct {
		reason string
		told   rejection.Report
		dst    *unstructured.Unstructured
		waited time.Duration
		again  time.Duration
	}{
		"a step":             {"The next one may come at any moment.", rejection.Report{Ready: "InProgress"}, deployment(1, 1), 300 * time.Millisecond, stepPace - 300*time.Millisecond},
		"a step, long since": {"", rejection.Report{Ready: "InProgress"}, deployment(1, 1), stepPace, 0},
		"the first step":     {"", rejection.Report{Ready: "Current"}, deployment(1, 1), 0, 0},
		"the last step":      {"", rejection.Report{Ready: "InProgress"}, deployment(1, 3), 0, 0},
		"another generation": {"", rejection.Report{Ready: "InProgress", Generation: 7}, deployment(1, 1), 0, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			src := sourceOf(func(o *unstructured.Unstructured) {
				tc.told.Time = "2026-01-02T03:04:05Z"
				o.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): tc.told.String()})
			})
			b := newBench(t, src, tc.dst, src, tc.dst)
			clock := clocktesting.NewFakeClock(time.Now())
			b.pass.clock, b.pass.resource.api.HasStatus = clock, true
			b.pass.answeredAt = clock.Now().Add(-tc.waited)
			b.pass.cacheOutcome(desiredOf(t, src), outcome{partial: true}, rejection.RetryAfter)
			again, err := b.pass.run(t.Context())
			want := tc.again
			if want == 0 {
				want = rejection.RetryAfter
			}
			if err != nil || again != want {
				t.Errorf("%s\nrun() = %s, %v, want %s", tc.reason, again, err, want)
			}
			if waits := tc.again > 0; waits != (len(b.writes(t)) == 0) || waits != b.pass.resource.down.TakePending("a").Equal(b.pass.answeredAt) {
				t.Errorf("%s\nwrites %q", tc.reason, b.writes(t))
			}
		})
	}
}

// TestStepWithAnApply: that something was applied is told at once, by its time, though the copy has just come a step further.
func TestStepWithAnApply(t *testing.T) {
	s := newServer(t, sourceOf(), nil)
	before := rejection.Report{Ready: "InProgress", Time: "2026-01-02T03:04:05Z"}
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock, s.pass.answeredAt = clock, clock.Now()
	if s.pass.isStep(rejection.Report{Ready: "InProgress", Time: "2026-01-02T03:04:06Z"}, before) || !s.pass.isStep(before, before) {
		t.Error("an apply passes for a step, or a step for none")
	}
}

// TestHoldingFirst: what is handed over is held before it is applied, like what is new; what is somebody's is not.
func TestHoldingFirst(t *testing.T) {
	there := func(annotations map[string]string) *unstructured.Unstructured {
		o := sourceOf(fresh)
		o.SetUID("theirs")
		o.SetAnnotations(annotations)
		return o
	}
	for name, tc := range map[string]struct {
		dst  *unstructured.Unstructured
		held bool
	}{
		"handed over": {there(map[string]string{workloadv1alpha1.AnnotationAdopt: testOwner.Key}), true},
		"somebody's":  {there(nil), false},
		"new":         {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, sourceOf(fresh), tc.dst)
			s.pass.resource.api.HasStatus = true
			s.err = errors.New("connection refused")
			_, _ = s.run(t)
			if held := s.pass.Controller.hasFinalizer(s.live(t)); held != tc.held {
				t.Errorf("held: %t", held)
			}
		})
	}
}

// TestCorrectionIsReported: a refusal that has ended is reported no longer.
func TestCorrectionIsReported(t *testing.T) {
	src := sourceOf(fresh, func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): rejection.Report{Refused: "it is invalid"}.String()})
	})
	s := newServer(t, src, nil)
	if _, err := s.run(t); err != nil || s.report(t).Refused != "" {
		t.Errorf("run() = %v, it is told %+v", err, s.report(t))
	}
}

func desiredOf(t *testing.T, src *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	desired, err := testOwner.Copy(src)
	if err != nil {
		t.Fatal(err)
	}
	return desired
}

// TestRefusedBesideACopy: what is told of a refusal keeps what is told of the copy that runs on: which generation, and how.
func TestRefusedBesideACopy(t *testing.T) {
	generation := func(n int64) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) { o.SetGeneration(n) }
	}
	src := sourceOf(generation(5), func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"a": "2"} })
	dst := desiredOf(t, sourceOf(generation(4)))
	dst.SetUID("copy-1")
	s := newServer(t, src, dst)
	s.err = apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil)
	for range 2 { // the second time nothing is tried
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
		if got := s.report(t); got.Generation != 4 || got.Ready != rejection.ReadyDiffers || got.Refused == "" {
			t.Errorf("told is %+v", got)
		}
	}
	if len(s.applied) != 1 {
		t.Errorf("%d applies", len(s.applied))
	}
}

// TestRestoringIsNoRace: what somebody else changes again and again, against a user who takes it over, is restored every 10 s.
func TestRestoringIsNoRace(t *testing.T) {
	src := sourceOf(func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{workloadv1alpha1.AnnotationTakeOver: "true"})
	})
	changed := desiredOf(t, src)
	changed.SetUID("copy-1")
	changed.SetResourceVersion("6")
	changed.Object["data"] = map[string]any{"a": "another"}
	s := newServer(t, src, changed)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock, s.pass.resource.api.HasStatus = clock, true
	for i, tc := range []struct {
		after   time.Duration
		applies int
	}{{0, 1}, {time.Second, 1}, {restorePace - time.Second, 2}, {0, 2}} {
		clock.Step(tc.after)
		annotations := changed.GetAnnotations()
		annotations["deployment.kubernetes.io/revision"] = fmt.Sprint(i) // as the cluster counts
		changed.SetAnnotations(annotations)
		changed.Object["status"] = map[string]any{"count": int64(i)}
		s.cache(t, s.pass.resource.down, changed)
		again, err := s.run(t)
		if err != nil || len(s.applied) != tc.applies || (again == 0) != (i == 0 || i == 2) {
			t.Errorf("%d: again after %s, %v, with %d applies, want %d", i, again, err, len(s.applied), tc.applies)
		}
		if count, _, _ := unstructured.NestedInt64(s.live(t).Object, "status", "count"); again > 0 && count != int64(i) {
			t.Errorf("%d: the status told is %d", i, count)
		}
	}
}

// TestHeldAfterACrash: a copy whose object was not held yet is held by the next pass, and goes if the object has gone.
func TestHeldAfterACrash(t *testing.T) {
	there := newServer(t, sourceOf(fresh), copied(t))
	if _, err := there.run(t); err != nil {
		t.Fatal(err)
	}
	if live := there.live(t); !there.pass.Controller.hasFinalizer(live) || len(there.applied) != 0 {
		t.Errorf("held by %q after %d applies", live.GetFinalizers(), len(there.applied))
	}
	gone := newBench(t, nil, copied(t), nil, copied(t))
	if _, err := gone.pass.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"down delete"}, gone.writes(t)); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
}

// TestRefusedIsTold: what the physical cluster does not take is told in its words, at once or when it has lasted; it is
// not asked again by the event of what was told, and the object is not held, since there is no copy: but for an answer of the
// server on a fault of its own, after which there may be one.
func TestRefusedIsTold(t *testing.T) {
	gr := schema.GroupResource{Resource: "configmaps"}
	tests := map[string]struct {
		reason   string
		err      error
		failures int
		told     string
		held     bool
		fails    bool
	}{
		"invalid":                {"It will be the same until it changes.", apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil), rejection.ReportAfter, "is invalid", false, false},
		"webhook, first time":    {"It may pass.", apierrors.NewInternalError(errors.New("failed calling webhook")), 0, "", false, true},
		"webhook, again":         {"It has not.", apierrors.NewInternalError(errors.New("failed calling webhook")), rejection.ReportAfter, "failed calling webhook", true, true},
		"quota, again":           {"", apierrors.NewForbidden(gr, "a", errors.New("exceeded quota")), rejection.ReportAfter, "exceeded quota", false, true},
		"outage, for ever":       {"It is the SyncTarget's business.", errors.New("connection refused"), 20, "", false, true},
		"too many, for the time": {"", apierrors.NewTooManyRequests("later", 7), 20, "", false, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, sourceOf(fresh), nil)
			clock := clocktesting.NewFakeClock(time.Now())
			s.pass.clock, s.err = clock, tc.err
			for range tc.failures {
				s.pass.queue.AddRateLimited(s.pass.key())
			}
			again, err := s.run(t)
			if (err != nil) != tc.fails || (again > 0) == tc.fails {
				t.Fatalf("%s\nrun() = %s, %v", tc.reason, again, err)
			}
			if told := s.report(t).Refused; (told != "") != (tc.told != "") || !strings.Contains(told, tc.told) {
				t.Errorf("%s\nit is told %q, want %q", tc.reason, told, tc.told)
			}
			if !tc.fails && s.pass.queue.NumRequeues(s.pass.key()) != 0 {
				t.Error("what failed before an answer that stands is held against the next attempt")
			}
			if tc.told == "" {
				return
			}
			if held := s.pass.Controller.hasFinalizer(s.live(t)); held != tc.held {
				t.Errorf("held is %t after %v", held, tc.err)
			}
			again, err = s.run(t) // the event of what was told
			if err != nil || again <= 0 || len(s.applied) != 1 {
				t.Errorf("run() = %s, %v after %d applies", again, err, len(s.applied))
			}
			clock.Step(again)
			s.err = nil
			want := 3 // one of them is a dry run
			if tc.held {
				want = 2
			}
			if _, err := s.run(t); err != nil || len(s.applied) != want || s.report(t).Refused != "" {
				t.Errorf("run() = %v after %d applies, told %+v", err, len(s.applied), s.report(t))
			}
		})
	}
}

// TestOneThatGetsNoAnswer: what hangs or is put off alone, as by a webhook, is told of, and tried again no sooner for that; an
// outage, in which nobody is answered, is not told, nor that a server turns requests away unseen.
func TestOneThatGetsNoAnswer(t *testing.T) {
	failures := map[string]struct {
		err  error
		told string
		wait time.Duration
	}{
		"hangs":          {fmt.Errorf("patching: %w", context.DeadlineExceeded), "does not answer within 15s", 100 * time.Millisecond << rejection.ReportAfter},
		"is put off":     {apierrors.NewTooManyRequests("a quota is updated", 7), "a quota is updated", 7 * time.Second},
		"is turned away": {apierrors.NewGenericServerResponse(429, "patch", schema.GroupResource{}, "", "too many requests", 7, true), "", 0},
	}
	for name, tc := range failures {
		for like, others := range map[string]bool{"alone": true, "like all others": false} {
			t.Run(name+" "+like, func(t *testing.T) {
				s := newServer(t, sourceOf(fresh), nil)
				clock := clocktesting.NewFakeClock(time.Now())
				s.pass.clock, s.pass.began, s.err = clock, clock.Now(), tc.err
				for range rejection.ReportAfter {
					s.pass.queue.AddRateLimited(s.pass.key())
				}
				if others {
					s.pass.lastApplyAnswer.Store(clock.Now().Add(-tc.wait / 4).UnixNano())
				}
				if _, err := s.run(t); err == nil {
					t.Error("it is not tried again")
				}
				want := others && tc.told != ""
				if told := s.report(t).Refused; (told != "") != want || !strings.Contains(told, tc.told) && want {
					t.Errorf("it is told %q", told)
				}
				if want {
					if again, err := s.run(t); err != nil || again != tc.wait { // the event of what was told
						t.Errorf("it is tried again after %s, %v, want %s", again, err, tc.wait)
					}
				}
				if !s.pass.Controller.hasFinalizer(s.live(t)) {
					t.Error("it is not held, and there may be a copy")
				}
			})
		}
	}
}

// TestPutOff: what the server has put off is not tried sooner for an event that changes nothing, as that of our own finalizer,
// and is not counted as tried; what changes is tried at once.
func TestPutOff(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock, s.err = clock, apierrors.NewTooManyRequests("later", 7)
	if _, err := s.run(t); err == nil || len(s.applied) != 1 {
		t.Fatalf("run() = %v after %d applies", err, len(s.applied))
	}
	clock.Step(time.Second)
	if again, err := s.run(t); err != nil || again != 6*time.Second || len(s.applied) != 1 {
		t.Errorf("run() = %s, %v after %d applies, want to wait 6 s more", again, err, len(s.applied))
	}
	if report := s.report(t); report.Rejected() {
		t.Errorf("it is told %+v", report)
	}
	live := s.pass.src.DeepCopy()
	live.SetResourceVersion("")
	live.Object["data"] = map[string]any{"a": "2"}
	if _, err := s.up.Resource(configMaps).Namespace("shop").Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(t); err == nil || len(s.applied) != 2 {
		t.Errorf("run() = %v after %d applies of what has changed", err, len(s.applied))
	}
	clock.Step(7 * time.Second)
	s.err = nil
	if _, err := s.run(t); err != nil || len(s.applied) != 3 {
		t.Errorf("run() = %v after %d applies when the time has come", err, len(s.applied))
	}
}

// bounded heeds the end of a context, as a server's client does and a fake does not.
type bounded struct{ dynamic.ResourceInterface }

func (b bounded) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, sub ...string) (*unstructured.Unstructured, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return b.ResourceInterface.Patch(ctx, name, kind, data, o, sub...)
}

// TestToldAfterTheTimeOfAPass: an apply that hangs takes all of it.
func TestToldAfterTheTimeOfAPass(t *testing.T) {
	s := newServer(t, sourceOf(), copied(t))
	s.err = context.DeadlineExceeded
	s.pass.src.Object["data"] = map[string]any{"a": "2"}
	s.cache(t, s.pass.resource.up, s.pass.src)
	s.pass.resource.up.Client = bounded{s.pass.resource.up.Client}
	for range rejection.ReportAfter {
		s.pass.queue.AddRateLimited(s.pass.key())
	}
	s.pass.lastApplyAnswer.Store(time.Now().UnixNano())
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := s.pass.syncObject(over, s.pass.namespace, s.pass.resource, "a"); err == nil || !strings.Contains(s.report(t).Refused, "does not answer") {
		t.Errorf("syncObject() = %v, it is told %+v", err, s.report(t))
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := s.pass.writeUpstream(stopped, rejection.Report{Refused: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the syncer: tell() = %v", err)
	}
}

// TestHeldBeforeItIsTouched: a copy whose object has lost its finalizer is not changed before that is back.
func TestHeldBeforeItIsTouched(t *testing.T) {
	for name, status := range map[string]bool{"with a status": true, "plain data": false} {
		t.Run(name, func(t *testing.T) {
			src := sourceOf(fresh, func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"a": "2"} })
			s := newServer(t, src, copied(t))
			s.pass.resource.api.HasStatus = status
			s.err = apierrors.NewServiceUnavailable("not now")
			if _, err := s.run(t); err == nil || len(s.applied) != 1 || !s.pass.Controller.hasFinalizer(s.live(t)) {
				t.Errorf("run() = %v after %d applies, held by %q", err, len(s.applied), s.live(t).GetFinalizers())
			}
		})
	}
}

// TestTimeToTell: what has used up nearly all the time of a pass is told all the same.
func TestTimeToTell(t *testing.T) {
	s := newServer(t, sourceOf(), nil)
	nearly, cancel := context.WithTimeout(t.Context(), ratelimit.AnswerTime)
	defer cancel()
	until := time.Time{}
	s.pass.resource.up.Client = deadlines{s.pass.resource.up.Client, &until}
	if err := s.pass.writeUpstream(nearly, rejection.Report{Refused: "x"}); err != nil || time.Until(until) < ratelimit.AnswerTime {
		t.Errorf("tell() = %v with %s for it", err, time.Until(until))
	}
}

// deadlines notes until when a patch has time.
type deadlines struct {
	dynamic.ResourceInterface
	until *time.Time
}

func (d deadlines) Patch(ctx context.Context, name string, pt types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (*unstructured.Unstructured, error) {
	*d.until, _ = ctx.Deadline()
	return d.ResourceInterface.Patch(ctx, name, pt, data, options, subresources...)
}

// TestChangeEndsARefusal: the object is corrected, and need not wait.
func TestChangeEndsARefusal(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	s.err = apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil)
	if _, err := s.run(t); err != nil {
		t.Fatal(err)
	}
	s.err = nil
	live := s.pass.src.DeepCopy()
	live.SetResourceVersion("")
	live.Object["data"] = map[string]any{"a": "2"}
	if _, err := s.up.Resource(configMaps).Namespace("shop").Update(t.Context(), live, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(t); err != nil || len(s.applied) != 2 || s.report(t).Refused != "" {
		t.Errorf("run() = %v after %d applies, told %+v", err, len(s.applied), s.report(t))
	}
}

// TestApplyThatChangesNothing is not repeated.
func TestApplyThatChangesNothing(t *testing.T) {
	dst := copied(t)
	dst.SetResourceVersion("7")
	dst.Object["data"] = map[string]any{"a": "one"} // which the server takes for the same
	s := newServer(t, sourceOf(), dst)
	s.down.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		s.applied = append(s.applied, nil)
		return true, dst.DeepCopy(), nil
	})
	for range 3 {
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.applied) != 1 {
		t.Errorf("applied %d times", len(s.applied))
	}
}

// TestFieldConflict: one field that somebody else owns does not hold up the others: it is left out, and reported by manager and field.
// The copy is not Current then. It is applied again when the object changes or after a while; taking over is by annotation.
func TestFieldConflict(t *testing.T) {
	scaled := func(o *unstructured.Unstructured) {
		o.Object["spec"] = map[string]any{"replicas": int64(1), "paused": true}
	}
	s := newServer(t, sourceOf(scaled), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock = clock
	there := desiredOf(t, sourceOf())
	there.SetUID("copy-1")
	there.SetResourceVersion("6")
	there.Object["spec"] = map[string]any{"replicas": int64(5)}
	s.cache(t, s.pass.resource.down, there)
	s.down.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchActionImpl)
		applied := &unstructured.Unstructured{}
		if err := json.Unmarshal(patch.GetPatch(), &applied.Object); err != nil {
			t.Error(err)
		}
		s.applied = append(s.applied, applied.DeepCopy())
		spec := applied.Object["spec"].(map[string]any)
		if _, sets := spec["replicas"]; sets && !*patch.PatchOptions.Force {
			cause := metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: ".spec.replicas", Message: `conflict with "hpa" with subresource "scale" using autoscaling/v1`}
			return true, nil, apierrors.NewApplyConflict([]metav1.StatusCause{cause}, "conflict")
		} else if !sets {
			spec["replicas"] = int64(5)
		}
		applied.SetUID("copy-1")
		applied.SetResourceVersion("7")
		return true, applied, nil
	})
	expect := func(when string, applies int, conflict bool) {
		t.Helper()
		if _, err := s.run(t); err != nil || len(s.applied) != applies {
			t.Errorf("%s: run() = %v after %d applies", when, err, len(s.applied))
		}
		report := s.report(t)
		if got := strings.Contains(report.Conflict, `spec.replicas is owned by "hpa"`); got != conflict || conflict == (report.Ready == "Current") {
			t.Errorf("%s: report %+v", when, report)
		}
		if paused, _, _ := unstructured.NestedBool(s.pass.dst.Object, "spec", "paused"); !paused {
			t.Errorf("%s: the other field is not applied", when)
		}
	}
	expect("changed", 2, true)
	expect("at rest", 2, true)
	clock.Step(conflictRetry)
	expect("after a while", 4, true)

	annotated := s.pass.src.DeepCopy()
	annotated.SetResourceVersion("")
	annotations := annotated.GetAnnotations()
	annotations[workloadv1alpha1.AnnotationTakeOver] = "true"
	annotated.SetAnnotations(annotations)
	if _, err := s.up.Resource(configMaps).Namespace("shop").Update(t.Context(), annotated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("taken over", 6, false)
}

// TestConflictOfADefault: a field that the object does not set, and the server would default, is left to its owner without a word.
func TestConflictOfADefault(t *testing.T) {
	conflicts := []rejection.FieldConflict{{Manager: "hpa", Field: ".spec.replicas"}, {Manager: "kubectl", Field: ".spec.paused"}}
	desired := sourceOf(func(o *unstructured.Unstructured) { o.Object["spec"] = map[string]any{"paused": true} })
	wanted, defaults := splitConflicts(desired, conflicts)
	if len(wanted) != 1 || wanted[0].Manager != "kubectl" || len(defaults) != 1 || defaults[0].Manager != "hpa" {
		t.Errorf("splitConflicts() = %v, %v", wanted, defaults)
	}
}

// TestDeletionThatIsHeldUp: the object tells what its copy waits for, or why it cannot be deleted.
func TestDeletionThatIsHeldUp(t *testing.T) {
	held := copied(t)
	now := metav1.Now()
	held.SetDeletionTimestamp(&now)
	held.SetFinalizers([]string{"example.com/busy"})
	b := newBench(t, sourceOf(deleted), held, sourceOf(deleted), held)
	if _, err := b.pass.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if report := rejection.ParseReport(b.pass.syncAnnotation(b.pass.src)); report.Ready != "Terminating" || !strings.Contains(report.Message, `"example.com/busy"`) {
		t.Errorf("it is told %+v", report)
	}

	b = newBench(t, sourceOf(deleted), copied(t), sourceOf(deleted), copied(t))
	b.down.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "a", errors.New("it is protected"))
	})
	for range rejection.ReportAfter {
		if report := rejection.ParseReport(b.pass.syncAnnotation(b.pass.src)); !report.IsZero() {
			t.Errorf("it is told at once: %+v", report)
		}
		if _, err := b.pass.run(t.Context()); err == nil {
			t.Fatal("a deletion that fails is no success")
		}
		b.pass.queue.AddRateLimited(b.pass.key())
	}
	if _, err := b.pass.run(t.Context()); err == nil || !strings.Contains(rejection.ParseReport(b.pass.syncAnnotation(b.pass.src)).Refused, "it is protected") {
		t.Errorf("run() = %v, it is told %q", err, b.pass.syncAnnotation(b.pass.src))
	}

	b = newBench(t, sourceOf(deleted), nil, sourceOf(deleted), nil)
	b.down.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "a", errors.New("no such right"))
	})
	for range rejection.ReportAfter {
		b.pass.queue.AddRateLimited(b.pass.key())
	}
	if _, err := b.pass.run(t.Context()); err == nil || !b.pass.hasFinalizer() || !strings.Contains(rejection.ParseReport(b.pass.syncAnnotation(b.pass.src)).Refused, "no such right") {
		t.Errorf("where nobody can see whether there is a copy: run() = %v, it is told %q", err, b.pass.syncAnnotation(b.pass.src))
	}
}

// TestJobRunsAgain: a Job that was deleted and made anew before it was held does not pass for done by its predecessor's copy;
// for anything else the copy is the same, whichever object asks for it.
func TestJobRunsAgain(t *testing.T) {
	of := func(kind, apiVersion, uid string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			o.SetKind(kind)
			o.SetAPIVersion(apiVersion)
			o.SetUID(types.UID(uid))
		}
	}
	for name, tc := range map[string]struct {
		kind, apiVersion, liveUID string
		want                      []string
		fails                     bool
	}{
		"Job":                     {"Job", "batch/v1", "source-2", []string{"down delete"}, false},
		"Job, and another by now": {"Job", "batch/v1", "source-3", []string{"down delete"}, false},
		"Job that the copy is of": {"Job", "batch/v1", "source-1", nil, false}, // the cache lags
		"ConfigMap":               {"ConfigMap", "v1", "source-2", []string{"down patch"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dst, err := testOwner.Copy(sourceOf(of(tc.kind, tc.apiVersion, "source-1")))
			if err != nil {
				t.Fatal(err)
			}
			dst.SetUID("copy-1")
			dst.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Complete", "status": "True"}}}
			src := sourceOf(of(tc.kind, tc.apiVersion, "source-2"))
			b := newBench(t, src, dst, sourceOf(of(tc.kind, tc.apiVersion, tc.liveUID)), dst)
			b.pass.resource.api.HasStatus = true
			live := sourceOf(of(tc.kind, tc.apiVersion, tc.liveUID))
			b.up.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, live, nil })
			b.up.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, live, nil })
			b.down.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
			b.down.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, dst, nil })
			_, err = b.pass.run(t.Context())
			if (err != nil) != tc.fails {
				t.Errorf("run() = %v", err)
			}
			var down []string
			for _, w := range b.writes(t) {
				if strings.HasPrefix(w, "down") {
					down = append(down, w)
				}
			}
			if diff := cmp.Diff(tc.want, down); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for _, action := range b.up.Actions() {
				if tc.kind == "Job" && tc.liveUID != "source-1" && action.GetVerb() == "patch" && action.GetSubresource() == "status" {
					t.Error("the new Job is told what became of the last")
				}
			}
		})
	}
}

// TestReplacingThatIsRefused: a Job whose earlier copy may not be deleted says so.
func TestReplacingThatIsRefused(t *testing.T) {
	job := func(uid string) *unstructured.Unstructured {
		return sourceOf(func(o *unstructured.Unstructured) {
			o.SetKind("Job")
			o.SetAPIVersion("batch/v1")
			o.SetUID(types.UID(uid))
		})
	}
	dst, err := testOwner.Copy(job("source-1"))
	if err != nil {
		t.Fatal(err)
	}
	dst.SetUID("copy-1")
	b := newBench(t, job("source-2"), dst, job("source-2"), dst)
	b.down.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "a", errors.New("keep it"))
	})
	for range rejection.ReportAfter {
		b.pass.queue.backoff.When(b.pass.key())
	}
	if _, err := b.pass.run(t.Context()); err == nil || !strings.Contains(b.pass.lastReport().Refused, "keep it") {
		t.Errorf("run() = %v, told %+v", err, b.pass.lastReport())
	}
}
