package sync

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	listKinds  = map[schema.GroupVersionResource]string{
		configMaps:                        "ConfigMapList",
		events:                            "EventList",
		{Version: "v1", Resource: "pods"}: "PodList",
		{Group: "apps", Version: "v1", Resource: "replicasets"}: "ReplicaSetList",
	}
)

// sourceOf is an object of the workspace that has a copy.
func sourceOf(change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "1"}}}
	o.SetNamespace("shop")
	o.SetName("a")
	o.SetUID("source-1")
	o.SetResourceVersion("5")
	o.SetFinalizers([]string{workloadv1alpha1.SyncerFinalizer(testOwner.Key)})
	for _, c := range change {
		c(o)
	}
	return o
}

func copied(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	c, err := testOwner.Copy(sourceOf())
	if err != nil {
		t.Fatal(err)
	}
	c.SetUID("copy-1")
	return c
}

func optedOut(o *unstructured.Unstructured) {
	o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "false"})
}

func deleted(o *unstructured.Unstructured) {
	now := metav1.Now()
	o.SetDeletionTimestamp(&now)
}

// bench is one object on two fake servers; what the caches show is in pass, what the servers have is in them.
type bench struct {
	pass     *objectReconciler
	up, down *dynamicfake.FakeDynamicClient
}

func newBench(t *testing.T, src, dst, liveSrc, liveDst *unstructured.Unstructured) *bench {
	t.Helper()
	server := func(object *unstructured.Unstructured) *dynamicfake.FakeDynamicClient {
		client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), listKinds)
		if object != nil { // among the ConfigMaps, whatever it is: the passes of these tests look there
			if err := client.Tracker().Create(configMaps, object.DeepCopy(), object.GetNamespace()); err != nil {
				t.Fatal(err)
			}
		}
		return client
	}
	b := &bench{up: server(liveSrc), down: server(liveDst)}
	place := newTestNamespace(shopNamespace)
	e := &Controller{owner: testOwner, clock: clock.RealClock{}, queue: newQueue(maxWorkers), downMetadata: newMetadataServer(t, liveDst)}
	e.source = newTestSource(workspace.Config{Client: b.up, Metadata: newMetadataServer(t, liveSrc), Clock: e.clock})
	t.Cleanup(e.queue.ShutDown)
	b.pass = &objectReconciler{
		Controller: e, namespace: place, name: "a", src: src, dst: dst,
		resource: &resourceSync{
			api:  discovery.Resource{GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}, Kind: "ConfigMap", Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted},
			up:   &cache.ResourceCache{HasSynced: func() bool { return true }, Client: b.up.Resource(configMaps).Namespace("shop"), Objects: cache.NewAssumed(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), e.clock)},
			down: &cache.ResourceCache{HasSynced: func() bool { return true }, Client: b.down.Resource(configMaps).Namespace(place.downstreamNamespace), Objects: cache.NewAssumed(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), e.clock)},
		},
	}
	setSource(e, b.pass.resource)
	return b
}

// writes are the requests other than reads, in order.
func (b *bench) writes(t *testing.T) []string {
	t.Helper()
	var out []string
	for side, client := range map[string]*dynamicfake.FakeDynamicClient{"up": b.up, "down": b.down} {
		for _, action := range client.Actions() {
			if d, ok := action.(clienttesting.DeleteActionImpl); ok {
				if p := d.DeleteOptions.Preconditions; p == nil || p.UID == nil || *p.UID != "copy-1" {
					t.Errorf("deleted without the copy's UID as a precondition: %+v", p)
				}
			}
			if verb := action.GetVerb(); verb != "get" && verb != "list" {
				out = append(out, side+" "+verb)
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestNothingIsDeletedOnSilence: only what a live read has shown to be unwanted goes.
func TestNothingIsDeletedOnSilence(t *testing.T) {
	answer := func(err error) func(*bench) {
		return func(b *bench) {
			b.up.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
		}
	}
	gr := schema.GroupResource{Resource: "configmaps"}
	foreign := func(t *testing.T) *unstructured.Unstructured {
		c := copied(t)
		c.SetLabels(map[string]string{"app": "somebody's"})
		return c
	}
	tests := map[string]struct {
		reason     string
		src, live  *unstructured.Unstructured
		dst        func(*testing.T) *unstructured.Unstructured
		arrange    func(*bench)
		want       []string
		wantsError bool
	}{
		"cache lacks it":          {reason: "A lost watch, an empty list: the workspace itself still has it.", live: sourceOf(), dst: copied},
		"cache shows the opt-out": {reason: "It was taken back meanwhile.", src: sourceOf(optedOut), live: sourceOf(), dst: copied},
		"made anew":               {reason: "The one that the cache shows as deleted was followed by another.", src: sourceOf(deleted), live: sourceOf(func(o *unstructured.Unstructured) { o.SetUID("source-2") }), dst: copied},
		"API is gone":             {reason: "A 404 that does not speak of the object is no answer about it.", dst: copied, arrange: answer(apierrors.NewGenericServerResponse(404, "get", gr, "", "", 0, true)), wantsError: true},
		"forbidden":               {reason: "Nor is a refusal.", dst: copied, arrange: answer(apierrors.NewForbidden(gr, "a", errors.New("no"))), wantsError: true},
		"unauthorized":            {reason: "", dst: copied, arrange: answer(apierrors.NewUnauthorized("no")), wantsError: true},
		"outage":                  {reason: "Nor is none.", dst: copied, arrange: answer(errors.New("connection refused")), wantsError: true},
		"not ours":                {reason: "An object that carries no mark of ours is not touched.", dst: foreign},
		"not ours, opted out":     {reason: "Only our own finalizer goes.", src: sourceOf(optedOut), live: sourceOf(optedOut), dst: foreign, want: []string{"up patch"}},

		"a clone": {reason: "Somebody's backup, made of a copy as it was.", dst: func(t *testing.T) *unstructured.Unstructured {
			c := copied(t)
			c.SetAnnotations(map[string]string{workloadv1alpha1.AnnotationSourceUID: "source-1", workloadv1alpha1.AnnotationSourceName: "b"})
			return c
		}},

		"gone":      {reason: "The workspace says so.", dst: copied, want: []string{"down delete"}},
		"deleted":   {reason: "", src: sourceOf(deleted), live: sourceOf(deleted), dst: copied, want: []string{"down delete"}},
		"opted out": {reason: "", src: sourceOf(optedOut), live: sourceOf(optedOut), dst: copied, want: []string{"down delete"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dst := tc.dst(t)
			b := newBench(t, tc.src, dst, tc.live, dst)
			if tc.arrange != nil {
				tc.arrange(b)
			}
			_, err := b.pass.run(t.Context())
			if (err != nil) != tc.wantsError {
				t.Errorf("%s\nrun() = %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("%s\nwrites: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// TestFinalizerStandsForTheCopy: it goes when the physical cluster itself says that there is no copy.
func TestFinalizerStandsForTheCopy(t *testing.T) {
	tests := map[string]struct {
		reason  string
		liveDst func(*testing.T) *unstructured.Unstructured
		arrange func(*bench)
		want    []string
		fails   bool
	}{
		"no copy":        {"", func(*testing.T) *unstructured.Unstructured { return nil }, nil, []string{"up patch"}, false},
		"cache lacks it": {"It is there, and goes first.", copied, nil, []string{"down delete"}, false},
		"cluster is silent": {"Then nothing is known.", copied, func(b *bench) {
			b.down.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("connection refused")
			})
		}, nil, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sourceOf(deleted), nil, sourceOf(deleted), tc.liveDst(t))
			if tc.arrange != nil {
				tc.arrange(b)
			}
			if _, err := b.pass.run(t.Context()); (err != nil) != tc.fails {
				t.Errorf("%s\nrun() = %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("%s\nwrites: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// withStatus gives an object what its copy has told.
func withStatus(o *unstructured.Unstructured) {
	o.Object["status"] = map[string]any{"readyReplicas": int64(2)}
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: workloadv1alpha1.FieldOwnerSyncer, Subresource: "status"}})
}

// TestStatusGoesWithTheCopy: what is not followed any more is not said to be ready, unless another target says so.
func TestStatusGoesWithTheCopy(t *testing.T) {
	shared := func(o *unstructured.Unstructured) {
		o.SetFinalizers(append(o.GetFinalizers(), workloadv1alpha1.SyncerFinalizer("fedcba9876543210")))
	}
	for name, tc := range map[string]struct {
		src    *unstructured.Unstructured
		status bool
		want   []string
	}{
		"opted out":                   {sourceOf(withStatus, optedOut), false, []string{"up patch", "up patch"}},
		"opted out, without a status": {sourceOf(optedOut), false, []string{"up patch"}},
		"at another target too":       {sourceOf(withStatus, optedOut, shared), true, []string{"up patch"}},
		"deleted":                     {sourceOf(withStatus, deleted), true, []string{"up patch"}},
		"written by somebody else":    {sourceOf(withStatus, optedOut, func(o *unstructured.Unstructured) { o.SetManagedFields(nil) }), true, []string{"up patch"}},
		"a Job that has run":          {sourceOf(completed, optedOut), true, []string{"up patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tc.src, nil, tc.src, nil)
			b.pass.resource.api.HasStatus = true
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
			if _, found := b.pass.src.Object["status"]; found != tc.status || b.pass.hasFinalizer() {
				t.Errorf("it is %v", b.pass.src.Object)
			}
		})
	}
}

// completed makes of an object a Job that has run.
func completed(o *unstructured.Unstructured) {
	o.SetAPIVersion("batch/v1")
	o.SetKind("Job")
	o.Object["status"] = map[string]any{"succeeded": int64(1), "conditions": []any{map[string]any{"type": "Complete", "status": "True"}}}
}

// TestJobRunsOnce: a Job that has run is not run again because somebody cleared its copy away.
func TestJobRunsOnce(t *testing.T) {
	b := newBench(t, sourceOf(completed), nil, sourceOf(completed), nil)
	for range 2 {
		if _, err := b.pass.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"up patch"}, b.writes(t)); diff != "" {
			t.Errorf("writes: -want +got\n%s", diff)
		}
	}
	if report := b.pass.lastReport(); b.pass.hasFinalizer() || report.Ready != "Current" || !strings.Contains(report.Message, "runs once") {
		t.Errorf("it is held by %q and told %+v", b.pass.src.GetFinalizers(), report)
	}
}

// TestJobWithACopyUnseen: the finalizer of a Job that has ended stays, because a cache shows no copy and the cluster has one.
func TestJobWithACopyUnseen(t *testing.T) {
	there := desiredOf(t, sourceOf(completed))
	there.SetUID("copy-1")
	b := newBench(t, sourceOf(completed), nil, sourceOf(completed), there)
	if _, err := b.pass.run(t.Context()); err != nil || !b.pass.hasFinalizer() || slices.Contains(b.writes(t), "down create") {
		t.Errorf("run() = %v, finalizers %q, writes %q", err, b.pass.src.GetFinalizers(), b.writes(t))
	}
}

// TestJobWhoseCopyCannotBeSeen: it stays held, and says why.
func TestJobWhoseCopyCannotBeSeen(t *testing.T) {
	b := newBench(t, sourceOf(completed), nil, sourceOf(completed), nil)
	b.down.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "a", errors.New("no rights"))
	})
	for range rejection.ReportAfter {
		b.pass.queue.backoff.When(b.pass.key())
	}
	_, err := b.pass.run(t.Context())
	if report := b.pass.lastReport(); err == nil || !b.pass.hasFinalizer() || !strings.Contains(report.Refused, "no rights") {
		t.Errorf("run() = %v, held by %q, told is %+v", err, b.pass.src.GetFinalizers(), report)
	}
}

// TestFurnishedAccount: what every Namespace has is shared with the cluster that made it: applied beside what is there, and
// given back, not deleted.
func TestFurnishedAccount(t *testing.T) {
	account := func(change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := sourceOf(change...)
		o.SetKind("ServiceAccount")
		o.SetName("default")
		o.Object["imagePullSecrets"] = []any{map[string]any{"name": "registry"}}
		delete(o.Object, "data")
		return o
	}
	bare := func() *unstructured.Unstructured {
		o := account()
		o.SetFinalizers(nil)
		o.SetUID("copy-1")
		delete(o.Object, "imagePullSecrets")
		return o
	}
	stage := func(src, dst *unstructured.Unstructured) *bench {
		b := newBench(t, src, dst, src, dst)
		b.pass.name, b.pass.resource.api.Kind = "default", "ServiceAccount"
		b.down.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			o := &unstructured.Unstructured{}
			if err := json.Unmarshal(action.(clienttesting.PatchActionImpl).GetPatch(), &o.Object); err != nil {
				t.Error(err)
			}
			return true, o, nil
		})
		return b
	}
	b := stage(account(), bare())
	if _, err := b.pass.run(t.Context()); err != nil || b.pass.lastReport().Rejected() || !b.pass.isManaged(b.pass.dst) {
		t.Errorf("run() = %v, it is told %+v", err, b.pass.lastReport())
	}

	copied, err := testOwner.Copy(account())
	if err != nil {
		t.Fatal(err)
	}
	copied.SetUID("copy-1")
	b = stage(account(optedOut), copied)
	if _, err := b.pass.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"down patch", "up patch"}, b.writes(t)); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
	if _, names := b.pass.dst.Object["imagePullSecrets"]; names || b.pass.isManaged(b.pass.dst) || b.pass.hasFinalizer() {
		t.Errorf("it is given back as %v, and the object held by %q", b.pass.dst.Object, b.pass.src.GetFinalizers())
	}
}

// TestBarred: where the physical cluster does not let a resource be looked at, the object tells so, and what holds it; a
// Namespace that is closed is not held up by that.
func TestBarred(t *testing.T) {
	for name, tc := range map[string]struct {
		src     *unstructured.Unstructured
		ending  *drain
		leaving bool
		told    bool
	}{
		"new":                            {sourceOf(fresh), nil, false, true},
		"held, deleted":                  {sourceOf(deleted), nil, false, true},
		"held, in its end":               {sourceOf(), &drain{}, false, true},
		"new, in its end":                {sourceOf(fresh), &drain{}, false, false},
		"opted out, not held":            {sourceOf(fresh, optedOut), nil, false, false},
		"held, its resource is left":     {sourceOf(), nil, true, true},
		"new, when its resource is left": {sourceOf(fresh), nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, nil, tc.src, nil)
			l := b.pass.resource
			l.down.HasSynced = func() bool { return false }
			l.down.ListError.Store(ptr.To("the physical cluster refuses to list it"))
			b.pass.namespace.setDrain(tc.ending)
			l.api.Removing = tc.leaving
			look := func() string {
				live, err := b.up.Resource(configMaps).Namespace("shop").Get(t.Context(), "a", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				l.up.Objects.Forget("shop/a")
				if err := l.up.Objects.Store.Add(mustPack(t, live)); err != nil {
					t.Fatal(err)
				}
				if _, err := b.pass.syncObject(t.Context(), b.pass.namespace, l, "a"); err != nil {
					t.Fatal(err)
				}
				if live, err = b.up.Resource(configMaps).Namespace("shop").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
					t.Fatal(err)
				}
				return b.pass.syncAnnotation(live)
			}
			if got := look(); strings.Contains(got, "refuses to list it") != tc.told {
				t.Errorf("it is told %q", got)
			}
			if !tc.told {
				return
			}
			if b.pass.namespace.setDrain(&drain{}); !b.pass.Controller.hasFinalizer(tc.src) {
				if got := look(); got != "" || b.pass.queue.Len() == 0 {
					t.Errorf("a mark holds the end up: %q, and %d wait", got, b.pass.queue.Len())
				}
				b.pass.namespace.setDrain(nil)
				if got := look(); got == "" {
					t.Error("it is told no more")
				}
				l.api.Removing = true
				if got := look(); got != "" {
					t.Errorf("a mark holds up that the resource is left: %q", got)
				}
			}
		})
	}
}

// TestLeavingIsConfirmed: a copy does not go with its resource when the spec names that again.
func TestLeavingIsConfirmed(t *testing.T) {
	for name, tc := range map[string]struct {
		named []workloadv1alpha1.GroupResource
		uid   types.UID
		want  []string
		fails bool
	}{
		"no longer named":          {[]workloadv1alpha1.GroupResource{{Resource: "secrets"}}, types.UID(testOwner.UID), []string{"down delete"}, false},
		"named again":              {[]workloadv1alpha1.GroupResource{{Resource: "configmaps"}}, types.UID(testOwner.UID), nil, false},
		"another target's account": {[]workloadv1alpha1.GroupResource{{Resource: "secrets"}}, "uid-2", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			u := &target{}
			u.UID, u.Spec.SyncedResources = tc.uid, tc.named
			b := newBench(t, sourceOf(), copied(t), sourceOf(), copied(t))
			sourceIn(b.pass.Controller).Target, b.pass.resource.api.Removing, b.pass.rediscover = u, true, make(chan struct{}, 1)
			if _, err := b.pass.run(t.Context()); (err != nil) != tc.fails {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
		})
	}
}

// TestStatusOfSeveralClusters: of several clusters that a Namespace runs on one writes the status of the objects, whoever else holds
// them, and each its own report.
func TestStatusOfSeveralClusters(t *testing.T) {
	for name, tc := range map[string]struct {
		writesStatus bool
		other        string
		want         []string
	}{
		"the one, with the lower key":  {true, "z", []string{"up patch", "up patch"}},
		"the one, with the higher key": {true, "0", []string{"up patch", "up patch"}},
		"another":                      {false, "z", []string{"up patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			src := sourceOf(func(o *unstructured.Unstructured) {
				o.SetFinalizers(append(o.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(tc.other)))
			})
			dst := copied(t)
			dst.Object["status"] = map[string]any{"phase": "Bound"}
			b := newBench(t, src, dst, src, dst)
			b.pass.namespace.setRole(role{writesStatus: tc.writesStatus})
			b.pass.resource.api.HasStatus = true
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
			if got := b.pass.lastReport(); got.Ready != "Current" {
				t.Errorf("told is %+v", got)
			}
		})
	}
}

// TestPrunedStatus: a status of which the workspace leaves something out is not written again and again.
func TestPrunedStatus(t *testing.T) {
	dst := copied(t)
	dst.Object["status"] = map[string]any{"new": "field"}
	b := newBench(t, sourceOf(), dst, sourceOf(), dst)
	b.pass.resource.api.HasStatus = true
	b.up.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetSubresource() == "status", sourceOf(), nil
	})
	for range 3 {
		if _, err := b.pass.patchStatus(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.writes(t); len(got) != 1 {
		t.Errorf("writes %q", got)
	}
}

// TestStatusThatIsNotTaken: that the workspace does not take a status, again and again, hides no report, and is told in it.
func TestStatusThatIsNotTaken(t *testing.T) {
	dst := copied(t)
	dst.Object["status"] = map[string]any{"new": "field"}
	for name, tc := range map[string]struct {
		answer   error
		attempts int
		told     bool
	}{
		"at first":     {apierrors.NewInternalError(errors.New("no")), rejection.ReportAfter - 1, false},
		"for long":     {apierrors.NewInternalError(errors.New("no")), rejection.ReportAfter, true},
		"no answer":    {errors.New("connection refused"), 20, false},
		"once for all": {apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "a", nil), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sourceOf(), dst, sourceOf(), dst)
			b.pass.resource.api.HasStatus = true
			b.up.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				return action.GetSubresource() == "status", nil, tc.answer
			})
			for range tc.attempts {
				b.pass.queue.backoff.When(b.pass.key())
			}
			again, err := b.pass.run(t.Context())
			if settled := apierrors.IsInvalid(tc.answer); (err == nil) != settled || settled && again != rejection.RetryAfter {
				t.Errorf("run() = %s, %v", again, err)
			}
			if report := b.pass.lastReport(); strings.Contains(report.Message, "the workspace does not take the copy's status") != tc.told || (report.Ready == "Current") != tc.told {
				t.Errorf("told is %+v", report)
			}
		})
	}
}

// TestPassesAreAwaited: those that began before are waited for, by everybody who waits, and those that begin meanwhile are
// neither held up nor waited for.
func TestPassesAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p inFlightPasses
		var awaited atomic.Int32
		hanging := p.begin()
		for range 2 {
			go func() {
				p.await()
				awaited.Add(1)
			}()
		}
		synctest.Wait()
		later := p.begin()
		if got := awaited.Load(); got != 0 {
			t.Errorf("a pass that began before was not waited for by %d", got)
		}
		hanging()
		synctest.Wait()
		if got := awaited.Load(); got != 2 {
			t.Errorf("%d know that it has ended, and a later pass is under way", got)
		}
		later()
		if p.await(); len(p.groups) != 1 {
			t.Errorf("%d groups are kept", len(p.groups))
		}
	})
}

// TestUnfollowedLeaves: a resource that has no objects to follow is not waited for when the spec no longer names it, unless the
// physical cluster has copies of it.
func TestUnfollowedLeaves(t *testing.T) {
	for name, tc := range map[string]struct {
		resource discovery.Resource
		copy     bool
		barred   bool
		left     bool
	}{
		"cluster-scoped, or misspelt":     {discovery.Resource{}, false, false, true},
		"once served, and copied":         {discovery.Resource{DownstreamVersion: "v1"}, true, false, false},
		"once served":                     {discovery.Resource{DownstreamVersion: "v1"}, false, false, true},
		"once served, and not to be seen": {discovery.Resource{DownstreamVersion: "v1"}, true, true, true},
		"of a group that is silent":       {discovery.Resource{Unknown: true}, false, false, false},
		"followed soon":                   {discovery.Resource{UpstreamVersion: "v1", DownstreamVersion: "v1"}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var there *unstructured.Unstructured
			if tc.copy {
				there = copied(t)
			}
			b := newBench(t, nil, nil, nil, there)
			b.pass.downMetadata.(*metadataServer).answer = func(context.Context, string, metav1.ListOptions) error {
				return map[bool]error{true: apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no"))}[tc.barred]
			}
			gr := b.pass.resource.api.GroupResource
			tc.resource.GroupResource, tc.resource.Removing = gr, true
			b.pass.down, b.pass.namespaces = b.down, map[source.Namespace]*namespaceSync{shopNamespace: b.pass.namespace}
			b.pass.catalog.Store(&[]discovery.Resource{tc.resource})
			plan := planOf(workloadv1alpha1.SyncTargetStatus{}, assigned("shop", intentOfRun))
			if left, err := b.pass.isRemoved(t.Context(), plan, gr); left != tc.left || err != nil {
				t.Errorf("hasLeft() = %t, %v", left, err)
			}
		})
	}
}

// TestResourceThatDoesNotTravel: the object says why, a copy that there is stays, and nothing is held back by a copy that
// cannot be.
func TestResourceThatDoesNotTravel(t *testing.T) {
	tests := map[string]struct {
		reason   string
		stranded bool
		src      *unstructured.Unstructured
		copied   bool
		want     []string
	}{
		"incompatible, new":         {reason: "It is not even held.", src: sourceOf(fresh), want: []string{"up patch"}},
		"incompatible, with a copy": {reason: "", src: sourceOf(), copied: true, want: []string{"up patch"}},
		"incompatible, deleted":     {reason: "Its copy goes as ever.", src: sourceOf(deleted), copied: true, want: []string{"down delete"}},
		"stranded, new":             {reason: "", stranded: true, src: sourceOf(fresh), want: []string{"up patch"}},
		"stranded, held":            {reason: "Its definition may come back.", stranded: true, src: sourceOf(), want: []string{"up patch"}},
		"stranded, deleted":         {reason: "With the definition its copy is gone.", stranded: true, src: sourceOf(deleted), want: []string{"up patch"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var dst *unstructured.Unstructured
			if tc.copied {
				dst = copied(t)
			}
			b := newBench(t, tc.src, dst, tc.src, dst)
			r := &b.pass.resource.api
			r.State, r.Message = workloadv1alpha1.ResourceIncompatible, "spec.size: it differs"
			if tc.stranded {
				r.State, r.Versions, r.UpstreamVersion, b.pass.resource.down = workloadv1alpha1.ResourceMissing, nil, "v1", nil
			}
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("%s\nwrites: -want +got\n%s", tc.reason, diff)
			}
			after, err := b.up.Resource(configMaps).Namespace("shop").Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			report := rejection.ParseReport(after.GetAnnotations()[workloadv1alpha1.SyncAnnotation(testOwner.Key)])
			if transform.IsWanted(tc.src) && !strings.Contains(report.Refused, "spec.size: it differs") {
				t.Errorf("%s\nit is told %+v", tc.reason, report)
			}
			if tc.stranded && !transform.IsWanted(tc.src) && len(after.GetFinalizers()) != 0 {
				t.Errorf("%s\nit is held by %q", tc.reason, after.GetFinalizers())
			}
		})
	}
}

// TestClosing: the end of a Namespace was confirmed once; each copy goes, or stays without our marks.
// closing has kcp say that the Namespace is closing.
func (b *bench) closing(orphan bool) *reporting {
	kcp := newReporting(intentOfWithdraw)
	if orphan {
		kcp.DeletionTimestamp, kcp.Spec.DeletionPolicy = ptr.To(metav1.Now()), workloadv1alpha1.DeletionPolicyOrphan
	}
	sourceIn(b.pass.Controller).Target = kcp
	b.pass.namespace.setDrain(&drain{orphan: orphan, epoch: 1})
	return kcp
}

// TestClosingIsAskedAgain: that a Namespace was closing, and how it was to end, is asked again before a copy goes, for it may
// have been opened again, or the policy changed; what kcp does not say now is not acted upon.
func TestClosingIsAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*reporting)
		want   []string
		fails  bool
	}{
		"closing":      {func(*reporting) {}, []string{"down delete"}, false},
		"opened again": {func(k *reporting) { changeIntent(k.assignments[0], intentOfRun) }, nil, false},
		"to be orphaned": {func(k *reporting) {
			k.DeletionTimestamp, k.Spec.DeletionPolicy = ptr.To(metav1.Now()), workloadv1alpha1.DeletionPolicyOrphan
		}, []string{"down patch", "up patch"}, false},
		"vanished":            {func(k *reporting) { k.assignments = nil }, nil, false},
		"without rights":      {func(k *reporting) { notAdmitted(k.assignments[0]) }, nil, false},
		"at another epoch":    {func(k *reporting) { k.assignments[0].Spec.Epoch += 2 }, []string{"down delete"}, false},
		"said to be orphaned": {func(k *reporting) { changeIntent(k.assignments[0], workloadv1alpha1.IntentOrphan) }, []string{"down patch", "up patch"}, false},
		"silent":              {func(k *reporting) { k.target.err = errors.New("connection refused") }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sourceOf(), copied(t), sourceOf(), copied(t))
			clock := clocktesting.NewFakeClock(time.Now())
			kcp := b.closing(false)
			b.pass.clock = clock
			if _, err := b.pass.source.ReadPlan(t.Context()); err != nil {
				t.Fatal(err)
			}
			tc.change(kcp)
			again, err := b.pass.run(t.Context())
			if (err != nil) != tc.fails || len(tc.want) == 0 && !tc.fails && again == 0 {
				t.Errorf("run() = %s, %v", again, err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
		})
	}
}

func TestClosing(t *testing.T) {
	for name, tc := range map[string]struct {
		orphan bool
		want   []string
	}{
		"delete": {false, []string{"down delete"}},
		"orphan": {true, []string{"down patch", "up patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sourceOf(), copied(t), sourceOf(), copied(t))
			b.closing(tc.orphan)
			if _, err := b.pass.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.writes(t)); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
			if !tc.orphan {
				return
			}
			left, err := b.pass.resource.down.Client.Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for mark := range left.GetLabels() {
				t.Errorf("label %s is left", mark)
			}
			for mark := range left.GetAnnotations() {
				if strings.HasPrefix(mark, workloadv1alpha1.GroupName) {
					t.Errorf("annotation %s is left", mark)
				}
			}
		})
	}
}

// target is a SyncTarget in kcp, with its Assignments.
type target struct {
	workloadv1alpha1.SyncTarget
	assignments []*workloadv1alpha1.Assignment
	err         error
}

func (u *target) list() []*workloadv1alpha1.Assignment { return copies(u.assignments) }

func (u *target) report(source.Assignment, source.Report) error { return errors.New("not expected") }

func (u *target) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	return &u.SyncTarget, u.err
}
func (u *target) PatchStatus(context.Context, []byte) error { return errors.New("not expected") }
