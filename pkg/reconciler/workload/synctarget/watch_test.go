package synctarget

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// deaf is a cache that answers no List.
type deaf struct{ client.Reader }

func (d *deaf) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errInjected
}

func newQueue(t *testing.T) queue {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request]())
	t.Cleanup(q.ShutDown)
	return q
}

// queued empties a queue.
func queued(q queue) []string {
	names := []string{}
	for q.Len() > 0 {
		req, _ := q.Get()
		names = append(names, req.ClusterName.String()+"/"+req.Name)
		q.Done(req)
	}
	slices.Sort(names)
	return names
}

func TestMayChangeVerdict(t *testing.T) {
	ready := func(target *workloadv1alpha1.SyncTarget) {
		target.Status.Conditions = someReady(workloadv1alpha1.ReasonReady)
	}
	waiting := func(target *workloadv1alpha1.SyncTarget) {
		target.Status.Conditions = someReady(workloadv1alpha1.ReasonUnhealthy)
	}
	heartbeat := func(target *workloadv1alpha1.SyncTarget) {
		target.ResourceVersion = "2"
		target.Status.LastHeartbeatTime = &metav1.Time{Time: time.Now()}
		target.Status.Syncer = &workloadv1alpha1.SyncerStatus{ClusterID: thisCluster, Nodes: 5}
		target.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps"}}
		target.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "syncer"}}
	}
	tests := map[string]struct {
		reason         string
		before, change func(*workloadv1alpha1.SyncTarget)
		want           bool
	}{
		"a heartbeat of one that is Ready": {"10,000 targets beat all the time.", ready, heartbeat, false},
		"a heartbeat of one that is not":   {"It may be Ready now.", waiting, heartbeat, true},
		"the first heartbeat after the list": {
			"The objects of a list have a kind and an apiVersion, those of a watch have none.", func(target *workloadv1alpha1.SyncTarget) {
				ready(target)
				target.TypeMeta = metav1.TypeMeta{APIVersion: workloadv1alpha1.SchemeGroupVersion.String(), Kind: "SyncTarget"}
			}, func(target *workloadv1alpha1.SyncTarget) {
				heartbeat(target)
				target.TypeMeta = metav1.TypeMeta{}
			}, false,
		},
		"the first heartbeat": {"", func(*workloadv1alpha1.SyncTarget) {}, heartbeat, true},
		"nothing, Ready":      {"A resync.", ready, func(*workloadv1alpha1.SyncTarget) {}, false},
		"nothing, not Ready":  {"A resync.", waiting, func(*workloadv1alpha1.SyncTarget) {}, false},
		"a heartbeat with another token": {
			"The one before may not be needed any more.", ready, func(target *workloadv1alpha1.SyncTarget) {
				heartbeat(target)
				target.Status.Syncer.TokenSecret = otherSecret
			}, true,
		},
		"a heartbeat from elsewhere": {
			"Ready may end.", ready, func(target *workloadv1alpha1.SyncTarget) {
				heartbeat(target)
				target.Status.Syncer.ClusterID = otherCluster
			}, true,
		},
		"a heartbeat from the right cluster again": {
			"", func(target *workloadv1alpha1.SyncTarget) {
				ready(target)
				target.Status.Syncer = &workloadv1alpha1.SyncerStatus{ClusterID: otherCluster}
			}, heartbeat, true,
		},
		"the spec":       {"", ready, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Unschedulable = true }, true},
		"an annotation":  {"It may be the one that abandons.", ready, func(target *workloadv1alpha1.SyncTarget) { target.Annotations = map[string]string{"a": "b"} }, true},
		"the deletion":   {"", ready, func(target *workloadv1alpha1.SyncTarget) { now := metav1.Now(); target.DeletionTimestamp = &now }, true},
		"the finalizers": {"Ours may have been taken off.", ready, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil }, true},
		"a condition":    {"", ready, func(target *workloadv1alpha1.SyncTarget) { target.Status.Conditions[0].Message = "edited" }, true},
		"the pin":        {"", ready, func(target *workloadv1alpha1.SyncTarget) { target.Status.ClusterID = otherCluster }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := newTarget()
			before.ResourceVersion, before.Status.ClusterID = "1", thisCluster
			tc.before(before)
			after := before.DeepCopy()
			tc.change(after)
			if !cmp.Equal(before, after) {
				after.ResourceVersion = "2"
			}
			copies := [2]*workloadv1alpha1.SyncTarget{before.DeepCopy(), after.DeepCopy()}
			if got := mayChangeVerdict(before, after); got != tc.want {
				t.Errorf("%s\nmayChangeVerdict() = %t, want %t", tc.reason, got, tc.want)
			}
			if diff := cmp.Diff(copies, [2]*workloadv1alpha1.SyncTarget{before, after}); diff != "" {
				t.Errorf("objects of the cache were changed: -before +after\n%s", diff)
			}
		})
	}
}

func TestTargetEvents(t *testing.T) {
	w := usual(t)
	q := newQueue(t)
	h := w.r.targetEvents(testCluster, w.cache)
	h.Create(t.Context(), event.CreateEvent{Object: w.target()}, q)
	if diff := cmp.Diff([]string{testCluster + "/" + testName}, queued(q)); diff != "" {
		t.Errorf("created: -want +got\n%s", diff)
	}
	w.ready()
	before, after := w.target(), w.target()
	after.ResourceVersion += "1"
	after.Status.LastHeartbeatTime = &metav1.Time{Time: w.clock.Now().Add(time.Minute)}
	w.clock.Step(time.Minute)
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
	if got := queued(q); len(got) != 0 {
		t.Errorf("a heartbeat queued %q", got)
	}
	if got := w.r.heartbeats.targets[testUID].changed; !got.Equal(w.clock.Now()) {
		t.Errorf("the heartbeat was not taken in: seen %s, want %s", got, w.clock.Now())
	}
	after.Spec.Unschedulable = true
	h.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
	if got := queued(q); len(got) != 1 {
		t.Errorf("a changed spec queued %q", got)
	}
	h.Delete(t.Context(), event.DeleteEvent{Object: after}, q)
	if got := queued(q); len(got) != 0 {
		t.Errorf("a deletion queued %q", got)
	}
	if len(w.r.heartbeats.targets)+len(w.r.installCache.byUID)+len(w.r.tokens.proven) != 0 || len(w.clusters.forgotten) != 1 {
		t.Error("a target that is gone is remembered")
	}
}

func TestSecretEvents(t *testing.T) {
	refersTo := func(name, namespace, secret string) client.Object {
		target := newTarget()
		target.Name, target.Spec.KubeconfigSecretRef = name, &workloadv1alpha1.KubeconfigSecretReference{Namespace: namespace, Name: secret}
		return target
	}
	named := func(namespace, name string) *metav1.PartialObjectMetadata {
		secret := secretMeta()
		secret.Namespace, secret.Name = namespace, name
		return secret
	}
	token := named(testNamespace(), "syncer-token")
	token.Annotations = map[string]string{workloadv1alpha1.AnnotationSyncTarget: testName}
	token.Labels = map[string]string{workloadv1alpha1.LabelUID: testUID}
	tests := map[string]struct {
		reason string
		secret *metav1.PartialObjectMetadata
		want   []string
		// wakes: what is installed is read anew.
		wakes bool
	}{
		"referenced by two":     {"", named("default", "edge-1"), []string{testCluster + "/" + testName, testCluster + "/edge-2"}, false},
		"referenced by one":     {"", named("other", "edge-1"), []string{testCluster + "/edge-3"}, false},
		"referenced by none":    {"", named("default", "other"), []string{}, false},
		"the token of a syncer": {"It may have been issued, rotated or deleted.", token, []string{testCluster + "/" + testName}, true},
		"a name that is a seam": {"No two Secrets share an index key.", named("default/edge", "1"), []string{}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, newTarget(), refersTo("edge-2", "default", "edge-1"), refersTo("edge-3", "other", "edge-1"))
			w.r.installCache.put(testUID, [32]byte{}, verdict{requeueAfter: time.Hour}, w.clock.Now())
			q := newQueue(t)
			w.r.secretEvents(testCluster, w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: tc.secret, ObjectNew: tc.secret}, q)
			if diff := cmp.Diff(tc.want, queued(q)); diff != "" {
				t.Errorf("%s\nqueued: -want +got\n%s", tc.reason, diff)
			}
			if woken := len(w.r.installCache.byUID) == 0; woken != tc.wakes {
				t.Errorf("%s\nwoken = %t, want %t", tc.reason, woken, tc.wakes)
			}
		})
	}
}

func TestBindingEvents(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*apisv1alpha2.APIBinding)
		want   []string
	}{
		"nothing": {"", func(*apisv1alpha2.APIBinding) {}, []string{}},
		"a heartbeat of kcp's": {"Conditions come and go.", func(b *apisv1alpha2.APIBinding) {
			b.ResourceVersion, b.Annotations = "2", map[string]string{"a": "b"}
		}, []string{}},
		"a claim is rejected": {"", func(b *apisv1alpha2.APIBinding) {
			b.Spec.PermissionClaims[0].State = apisv1alpha2.ClaimRejected
		}, []string{testCluster + "/" + testName}},
		"a claim is applied": {"", func(b *apisv1alpha2.APIBinding) {
			b.Status.AppliedPermissionClaims = []apisv1alpha2.ScopedPermissionClaim{b.Spec.PermissionClaims[0].ScopedPermissionClaim}
		}, []string{testCluster + "/" + testName}},
		"the export asks for another verb": {"", func(b *apisv1alpha2.APIBinding) {
			b.Status.ExportPermissionClaims = []apisv1alpha2.PermissionClaim{b.Spec.PermissionClaims[0].PermissionClaim}
		}, []string{testCluster + "/" + testName}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			q := newQueue(t)
			before := newBinding()
			after := before.DeepCopy()
			tc.change(after)
			w.r.bindingEvents(testCluster, w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
			if diff := cmp.Diff(tc.want, queued(q)); diff != "" {
				t.Errorf("%s\nqueued: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRelay(t *testing.T) {
	w := usual(t)
	w.r.installCache.put(testUID, [32]byte{}, verdict{requeueAfter: time.Hour}, w.clock.Now())
	ctx, cancel := context.WithCancel(t.Context())
	changedClusters, q, ended := make(chan pcluster.ID), newQueue(t), make(chan struct{})
	go func() { w.r.enqueueChanged(ctx, changedClusters, q); close(ended) }()
	changedClusters <- pcluster.ID{ClusterName: testCluster, Name: testName, UID: testUID}
	req, _ := q.Get()
	if req != request(testCluster, testName) {
		t.Errorf("queued %v", req)
	}
	if len(w.r.installCache.byUID) != 0 {
		t.Error("a sign does not lead to a new look")
	}
	cancel()
	<-ended
}

// assignTo makes an Assignment one of another target.
func assignTo(a *workloadv1alpha1.Assignment, target *workloadv1alpha1.SyncTarget) {
	key := workloadv1alpha1.Key(testCluster, target.Name)
	a.Namespace = workloadv1alpha1.SyncerNamespace(target.Name, key)
	a.Labels[workloadv1alpha1.LabelKey], a.Labels[workloadv1alpha1.LabelUID] = key, string(target.UID)
	a.Annotations[workloadv1alpha1.AnnotationSyncTarget] = target.Name
}

// TestKubeconfigsNamespaceIsLookedAtByOthers: where a kubeconfig is kept, nothing is synced, to no target.
func TestKubeconfigsNamespaceIsLookedAtByOthers(t *testing.T) {
	w := usual(t)
	opened := newTarget(func(target *workloadv1alpha1.SyncTarget) {
		target.Name, target.UID = "edge-2", "another"
	})
	w.create(opened)
	w.create(assignment("shop", func(a *workloadv1alpha1.Assignment) { assignTo(a, opened) }))
	elsewhere, here := w.target(), w.target()
	here.Spec.KubeconfigSecretRef.Namespace = "shop"
	here.ResourceVersion += "1"
	both, one := []string{testCluster + "/" + testName, testCluster + "/edge-2"}, []string{testCluster + "/" + testName}
	tests := map[string]struct {
		reason string
		happen func(handler.TypedEventHandler[client.Object, mcreconcile.Request], queue)
		want   []string
	}{
		"created with it": {"", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			h.Create(t.Context(), event.CreateEvent{Object: here}, q)
		}, both},
		"created elsewhere": {"", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			h.Create(t.Context(), event.CreateEvent{Object: elsewhere}, q)
		}, one},
		"moved there": {"", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: elsewhere, ObjectNew: here}, q)
		}, both},
		"moved away": {"What was refused may be opened.", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: here, ObjectNew: elsewhere}, q)
		}, both},
		"changed otherwise": {"It costs the others nothing.", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			changed := here.DeepCopy()
			changed.ResourceVersion += "1"
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: here, ObjectNew: changed}, q)
		}, one},
		"deleted": {"", func(h handler.TypedEventHandler[client.Object, mcreconcile.Request], q queue) {
			h.Delete(t.Context(), event.DeleteEvent{Object: here}, q)
		}, []string{testCluster + "/edge-2"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t)
			tc.happen(w.r.targetEvents(testCluster, w.cache), q)
			if diff := cmp.Diff(tc.want, queued(q)); diff != "" {
				t.Errorf("%s\nqueued: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestIndexes(t *testing.T) {
	secret := newSecret()
	secret.Finalizers = []string{workloadv1alpha1.SyncTargetFinalizer("k1"), "other", workloadv1alpha1.SyncTargetFinalizer("k2"), workloadv1alpha1.Finalizer}
	extracted := map[string][]string{}
	record := func(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
		switch object.(type) {
		case *workloadv1alpha1.SyncTarget:
			extracted[field] = extract(newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Status.ClusterID = thisCluster }))
			extracted[field+" in pull mode"] = extract(newTarget(pull))
		case *workloadv1alpha1.Assignment:
			extracted[field] = extract(assignment("shop"))
		default:
			extracted[field] = extract(secret)
		}
		return nil
	}
	if err := addIndexes(t.Context(), indexerFunc(record)); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		indexClusterID: {thisCluster}, indexClusterID + " in pull mode": nil,
		indexSecret: {"default/edge-1"}, indexSecret + " in pull mode": nil,
		indexSecretFinalizer: {"k1", "k2"}, indexAssigned: {"shop"},
	}
	if diff := cmp.Diff(want, extracted); diff != "" {
		t.Errorf("indexes: -want +got\n%s", diff)
	}
	failing := indexerFunc(func(context.Context, client.Object, string, client.IndexerFunc) error { return errInjected })
	if err := addIndexes(t.Context(), failing); err == nil {
		t.Error("an index that cannot be added is no error")
	}
}

type indexerFunc func(context.Context, client.Object, string, client.IndexerFunc) error

func (f indexerFunc) IndexField(ctx context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	return f(ctx, object, field, extract)
}
