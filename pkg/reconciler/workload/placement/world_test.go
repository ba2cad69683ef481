package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

const (
	testCluster = "2vkq1d7w9hx0a3bc"
	deadline    = 15 * time.Minute
)

// world is one workspace and the Reconciler of its Placements.
type world struct {
	t        *testing.T
	clock    *clocktesting.FakeClock
	kcp      *server
	cluster  *logicalCluster
	events   *recorder
	silence  *silence
	registry *prometheus.Registry
	r        *Reconciler
}

// newWorld has an APIBinding that accepts all claims, two SyncTargets that are Ready, a Placement of all Namespaces with a label, and
// these Namespaces.
func newWorld(t *testing.T, namespaces ...string) *world {
	t.Helper()
	w := &world{
		t: t, clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), events: &recorder{},
		silence: &silence{paused: sets.New[types.UID]()},
	}
	objects := []client.Object{newBinding(), newPlacement("shop"), newTarget("edge-1"), newTarget("edge-2")}
	for _, name := range namespaces {
		objects = append(objects, newNamespace(name))
	}
	w.kcp = newServer(t, w.clock, objects...)
	w.cluster = &logicalCluster{reader: w.kcp.visible()}
	w.restart()
	return w
}

// restart starts the controller anew.
func (w *world) restart() {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	w.r = w.newReconciler(w.cluster, w.registry)
}

func (w *world) newReconciler(cl *logicalCluster, registry *prometheus.Registry) *Reconciler {
	w.t.Helper()
	r, err := New(Config{
		ExportName: workloadv1alpha1.GroupName, DeleteDeadline: deadline, Workspaces: served{testCluster: cl},
		Upstream: func(*rest.Config) (client.Client, error) { return w.kcp.Client, nil },
		Silence:  w.silence, Events: w.events, Metrics: NewMetrics(registry), Clock: w.clock,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.Engage(w.t.Context(), testCluster, cl); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) reconcile() (reconcile.Result, error) {
	return w.r.Reconcile(w.t.Context(), request(testCluster))
}

// pass is a reconcile that must not fail.
func (w *world) pass() reconcile.Result {
	w.t.Helper()
	result, err := w.reconcile()
	if err != nil {
		w.t.Fatalf("Reconcile() = %v", err)
	}
	return result
}

// settle passes until nothing is written any more, whatever was put off, and returns the last result.
func (w *world) settle() reconcile.Result {
	w.t.Helper()
	for range 30 {
		w.clock.Step(reportInterval)
		before := len(w.kcp.requests("create")) + len(w.kcp.requests("patch")) + len(w.kcp.requests("delete"))
		result := w.pass()
		if before == len(w.kcp.requests("create"))+len(w.kcp.requests("patch"))+len(w.kcp.requests("delete")) {
			return result
		}
	}
	w.t.Fatalf("never at rest: %q", w.kcp.writes)
	return reconcile.Result{}
}

// syncAll does for all Assignments what the controller and the syncers do.
func (w *world) syncAll() {
	w.t.Helper()
	for _, a := range w.assignments() {
		set := func(condition string, status metav1.ConditionStatus, reason string) {
			meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
				Type: condition, Status: status, Reason: reason, ObservedGeneration: a.Generation, LastTransitionTime: metav1.NewTime(w.clock.Now()),
			})
		}
		a.Status.ObservedEpoch = a.Spec.Epoch
		if a.Spec.Intent == workloadv1alpha1.IntentRun {
			set(workloadv1alpha1.ConditionAdmitted, metav1.ConditionTrue, workloadv1alpha1.ReasonAdmitted)
			set(workloadv1alpha1.ConditionApplied, metav1.ConditionTrue, workloadv1alpha1.ReasonApplied)
			set(workloadv1alpha1.ConditionAvailable, metav1.ConditionTrue, workloadv1alpha1.ReasonAvailable)
		} else {
			set(workloadv1alpha1.ConditionWithdrawn, metav1.ConditionTrue, workloadv1alpha1.ReasonWithdrawn)
			set(workloadv1alpha1.ConditionAdmitted, metav1.ConditionFalse, workloadv1alpha1.ReasonRevoked)
			rights := rightsOf(a.Annotations[workloadv1alpha1.AnnotationSyncTarget], "", a.Spec.Namespace.Name)
			if err := w.kcp.raw.Delete(w.t.Context(), rights); client.IgnoreNotFound(err) != nil {
				w.t.Fatal(err)
			}
		}
		if err := w.kcp.raw.Status().Update(w.t.Context(), &a); err != nil {
			w.t.Fatal(err)
		}
	}
}

// run lets everything take its course for a while.
func (w *world) run() {
	w.t.Helper()
	for range 4 {
		w.settle()
		w.syncAll()
		w.clock.Step(31 * time.Second)
	}
	w.settle()
	w.forget()
}

func (w *world) forget() {
	w.kcp.forget()
	w.events.events = nil
}

func (w *world) assignments() []workloadv1alpha1.Assignment {
	w.t.Helper()
	var list workloadv1alpha1.AssignmentList
	if err := w.kcp.raw.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// placed describes the Assignments, sorted.
func (w *world) placed() []string {
	w.t.Helper()
	out := []string{}
	for _, a := range w.assignments() {
		out = append(out, fmt.Sprintf("%s on %s: %s %s", a.Spec.Namespace.Name, a.Annotations[workloadv1alpha1.AnnotationSyncTarget], a.Spec.Intent, a.Spec.Reason))
	}
	slices.Sort(out)
	return out
}

// edit changes an object as its user does.
func edit[T client.Object](w *world, object T, name string, change func(T)) {
	w.t.Helper()
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: name}, object); err != nil {
		w.t.Fatal(err)
	}
	change(object)
	if err := w.kcp.raw.Update(w.t.Context(), object); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) placement() *workloadv1alpha1.Placement {
	w.t.Helper()
	var placement workloadv1alpha1.Placement
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: "shop"}, &placement); err != nil {
		w.t.Fatal(err)
	}
	return &placement
}

func (w *world) target(name string) *workloadv1alpha1.SyncTarget {
	w.t.Helper()
	var target workloadv1alpha1.SyncTarget
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: name}, &target); err != nil {
		w.t.Fatal(err)
	}
	return &target
}

func (w *world) namespace(name string) *corev1.Namespace {
	w.t.Helper()
	var namespace corev1.Namespace
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: name}, &namespace); err != nil {
		w.t.Fatal(err)
	}
	return &namespace
}

func (w *world) condition(name string) string {
	w.t.Helper()
	found := meta.FindStatusCondition(w.placement().Status.Conditions, name)
	if found == nil {
		return "none"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", found.Status, found.Reason))
}

// drain has everything leave the SyncTarget on which the Namespace is, and returns the other one.
func (w *world) drain() (from, to string) {
	w.t.Helper()
	from, to = "edge-1", "edge-2"
	if w.assignments()[0].Annotations[workloadv1alpha1.AnnotationSyncTarget] == to {
		from, to = to, from
	}
	edit(w, &workloadv1alpha1.SyncTarget{}, from, func(target *workloadv1alpha1.SyncTarget) {
		target.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: 5}
	})
	return from, to
}

func newTarget(name string) *workloadv1alpha1.SyncTarget {
	target := &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 1, Finalizers: []string{workloadv1alpha1.Finalizer}},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: name, Cells: map[string]workloadv1alpha1.CellValue{"region": "eu"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: "default", Name: name},
		},
	}
	meta.SetStatusCondition(&target.Status.Conditions, metav1.Condition{
		Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonReady,
	})
	return target
}

func newPlacement(name string) *workloadv1alpha1.Placement {
	return &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec: workloadv1alpha1.PlacementSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}, NumberOfClusters: 1,
			Move: workloadv1alpha1.MovePolicy{PurgeMode: workloadv1alpha1.PurgeGracefully, GracePeriodSeconds: 600, MaxUnavailable: 10},
		},
	}
}

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "shop"}}}
}

func newBinding() *apisv1alpha2.APIBinding {
	binding := &apisv1alpha2.APIBinding{ObjectMeta: metav1.ObjectMeta{Name: workloadv1alpha1.GroupName}}
	binding.Spec.Reference.Export = &apisv1alpha2.ExportBindingReference{Path: "root:synctarget", Name: workloadv1alpha1.GroupName}
	for gr, verbs := range claims.Needed {
		binding.Spec.PermissionClaims = append(binding.Spec.PermissionClaims, apisv1alpha2.AcceptablePermissionClaim{
			ScopedPermissionClaim: apisv1alpha2.ScopedPermissionClaim{PermissionClaim: apisv1alpha2.PermissionClaim{
				GroupResource: apisv1alpha2.GroupResource{Group: gr.Group, Resource: gr.Resource}, Verbs: verbs,
			}},
			State: apisv1alpha2.ClaimAccepted,
		})
	}
	return binding
}
