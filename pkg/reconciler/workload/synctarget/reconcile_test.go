package synctarget

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestReconcileFindsNothing(t *testing.T) {
	tests := map[string]struct {
		reason  string
		prepare func(*world)
		err     string
	}{
		"no logical cluster": {"It left; nothing can be done.", func(w *world) { w.r.Workspaces = &workspaces{} }, ""},
		"no SyncTarget": {"It is done.", func(w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
			w.delete()
		}, ""},
		"the logical cluster cannot be found": {"It is tried again.", func(w *world) { w.r.Workspaces = &workspaces{err: errInjected} }, `finding logical cluster "2vkq1d7w9hx0a3bc": injected`},
		"no client": {"", func(w *world) {
			w.r.Upstream = func(*rest.Config) (client.Client, error) { return nil, errInjected }
		}, `making a client of logical cluster "2vkq1d7w9hx0a3bc": injected`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			tc.prepare(w)
			result, err := w.reconcile()
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.err || result != (reconcile.Result{}) {
				t.Errorf("%s\nReconcile() = %+v, %q, want %q", tc.reason, result, got, tc.err)
			}
			if len(w.kcp.writes)+len(w.there.writes) != 0 {
				t.Errorf("wrote %q, %q", w.kcp.writes, w.there.writes)
			}
		})
	}
}

func TestFinalizerBeforeAnythingElse(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = []string{"somebody/else"} })
	w.pass()
	if diff := cmp.Diff([]string{`patch SyncTarget "edge-1"`}, w.kcp.writes); diff != "" {
		t.Errorf("writes of the first pass: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"somebody/else", workloadv1alpha1.Finalizer}, w.target().Finalizers); diff != "" {
		t.Errorf("finalizers: -want +got\n%s", diff)
	}
	if w.clusters.gets != 0 {
		t.Error("the physical cluster was asked before the finalizer stands")
	}
}

// TestFinalizerLosesARace: the event of what was faster may be a mere heartbeat, which queues nothing, and a pass
// without a recheck would be the last: nobody would ever see the heartbeats end.
func TestFinalizerLosesARace(t *testing.T) {
	w := usual(t)
	w.ready()
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "patch SyncTarget") {
			return apierrors.NewConflict(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
		}
		return nil
	}
	if got := w.pass().RequeueAfter; got != conflictRetry {
		t.Errorf("RequeueAfter = %s, want %s", got, conflictRetry)
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.pass().RequeueAfter; got <= 0 || got > threshold {
		t.Errorf("RequeueAfter = %s, want the moment of expiry", got)
	}
}

func TestFinalizerOfATargetThatIsGone(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
	w.kcp.refuse = func(string) error { return notFound("synctargets", testName) }
	if result := w.pass(); result != (reconcile.Result{}) {
		t.Errorf("Reconcile() = %+v", result)
	}
}

// TestErrors: what the pipeline failed with is retried, unless the status could not be written: then that is.
func TestErrors(t *testing.T) {
	errPipeline, errStatus := errors.New("pipeline"), errors.New("status")
	conflict := apierrors.NewConflict(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
	tests := map[string]struct {
		reason           string
		pipeline, status error
		want             error
		recheck          time.Duration
	}{
		"none":                       {"", nil, nil, nil, 0},
		"the pipeline":               {"", errPipeline, nil, errPipeline, 0},
		"the status":                 {"", nil, errStatus, errStatus, 0},
		"both":                       {"", errPipeline, errStatus, errStatus, 0},
		"a conflict":                 {"The decision rested on an old object.", nil, conflict, nil, conflictRetry},
		"a conflict after a failure": {"Another look comes soon anyway.", errPipeline, conflict, nil, conflictRetry},
		"gone meanwhile":             {"", nil, notFound("synctargets", testName), nil, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.kcp.refuse = func(request string) error {
				switch {
				case strings.HasPrefix(request, "apply Namespace"):
					return tc.pipeline
				case strings.HasPrefix(request, "patch-status"):
					return tc.status
				}
				return nil
			}
			result, err := w.reconcile()
			if !errors.Is(err, tc.want) {
				t.Errorf("%s\nerror = %v, want %v", tc.reason, err, tc.want)
			}
			if result.RequeueAfter != tc.recheck {
				t.Errorf("%s\nRequeueAfter = %s, want %s", tc.reason, result.RequeueAfter, tc.recheck)
			}
		})
	}
}

// TestCacheIsNotTouched: what the cache holds is shared by all.
func TestCacheIsNotTouched(t *testing.T) {
	w := usual(t)
	shared := w.target()
	before := shared.DeepCopy()
	w.cache.reader = &sharing{w.kcp.raw, shared}
	w.pass()
	if diff := cmp.Diff(before, shared); diff != "" {
		t.Errorf("the object of the cache was changed: -before +after\n%s", diff)
	}
}

func TestWrongSpecThenCorrected(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cluster = "" })
	w.settle()
	for condition, want := range map[string]string{
		workloadv1alpha1.ConditionValid:    "False ValidationFailed: cluster reference is required",
		workloadv1alpha1.ConditionDeployed: "Unknown ValidationFailed: Waiting for the condition Valid: cluster reference is required",
		workloadv1alpha1.ConditionReady:    "False ValidationFailed: cluster reference is required",
	} {
		if got := w.condition(condition); got != want {
			t.Errorf("%s = %s, want %s", condition, got, want)
		}
	}
	if w.clusters.gets != 0 || len(w.kcp.names(t)) != 1 {
		t.Error("something was done for a spec that cannot be understood")
	}
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cluster = "edge-1" })
	w.ready()
}

func TestNewWantsWhatItNeeds(t *testing.T) {
	good := Config{ExportName: "e", SyncerImage: "i", KcpURL: "u", Kcp: &rest.Config{}, Metrics: newTestMetrics()}
	for name, change := range map[string]func(*Config){
		"export": func(c *Config) { c.ExportName = "" }, "image": func(c *Config) { c.SyncerImage = "" }, "URL": func(c *Config) { c.KcpURL = "" },
		"config": func(c *Config) { c.Kcp = nil }, "metrics": func(c *Config) { c.Metrics = nil },
	} {
		bad := good
		change(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("New() without the %s: no error", name)
		}
	}
	r, err := New(good)
	if err != nil || r.Clock == nil {
		t.Errorf("New() = %+v, %v", r, err)
	}
}

// sharing is a cache that hands out its own object, as an informer's does when told not to copy.
type sharing struct {
	client.Reader
	shared *workloadv1alpha1.SyncTarget
}

func (s *sharing) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if target, ok := obj.(*workloadv1alpha1.SyncTarget); ok {
		*target = *s.shared
		return nil
	}
	return s.Reader.Get(ctx, key, obj, opts...)
}
