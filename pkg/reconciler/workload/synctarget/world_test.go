package synctarget

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

const (
	testCluster = "2vkq1d7w9hx0a3bc"
	testName    = "edge-1"
	testUID     = "7c3a6f0e-1111-4222-8333-444455556666"
	// thisCluster and otherCluster are IDs of physical clusters.
	thisCluster  = "3f0c2d5e-2b8f-4a51-9f8a-6d0f1f7a0001"
	otherCluster = "3f0c2d5e-2b8f-4a51-9f8a-6d0f1f7a0002"
	// canary is a secret that must never be seen in a message.
	canary    = "c4n4ry-s3cret"
	threshold = 5 * time.Minute
	deadline  = 15 * time.Minute
	// statusInterval is how often status.lastHeartbeatTime is written.
	statusInterval = time.Minute
)

var testKubeconfig = []byte(`apiVersion: v1
kind: Config
clusters:
- name: c
  cluster: {server: "https://edge-1.example.com:6443"}
users:
- name: u
  user: {token: ` + canary + `}
contexts:
- name: x
  context: {cluster: c, user: u}
current-context: x
`)

// world is one workspace with one SyncTarget, its physical cluster, and the Reconciler between them.
type world struct {
	t         *testing.T
	clock     *clocktesting.FakeClock
	kcp       *server
	cache     *workspace
	there     *physical
	clusters  *physicals
	events    *recorder
	registry  *prometheus.Registry
	r         *Reconciler
	tokenErr  error
	tokenGets int
}

// newWorld has the target, its Secret and a binding that accepts all claims, as far as replace does not stand for
// them; extra objects are in the workspace too.
func newWorld(t *testing.T, target *workloadv1alpha1.SyncTarget, objects ...client.Object) *world {
	t.Helper()
	w := &world{t: t, clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), events: &recorder{}}
	if target.CreationTimestamp.IsZero() {
		target.CreationTimestamp = metav1.NewTime(w.clock.Now())
	}
	w.kcp = newServer(t, w.clock, append(objects, target)...)
	w.cache = &workspace{reader: w.kcp.raw}
	w.there = &physical{server: newServer(t, w.clock), id: thisCluster}
	w.clusters = &physicals{cluster: w.there}
	w.restart()
	return w
}

// usual is a target that is in order, with everything that it needs in its workspace.
func usual(t *testing.T, change ...func(*workloadv1alpha1.SyncTarget)) *world {
	t.Helper()
	return newWorld(t, newTarget(change...), newSecret(), newBinding())
}

// restart starts the controller anew.
func (w *world) restart() {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	r, err := New(Config{
		ExportName: workloadv1alpha1.GroupName, SyncerImage: "syncer:v1", KcpURL: "https://kcp.example.com", KcpCA: []byte("ca"),
		Kcp:                &rest.Config{Host: "https://kcp.example.com/clusters/root:synctarget"},
		HeartbeatThreshold: threshold, HeartbeatStatusInterval: statusInterval, DeleteDeadline: deadline, TokenRotationInterval: rotationInterval,
		Workspaces: &workspaces{byName: map[multicluster.ClusterName]cluster.Cluster{testCluster: w.cache}},
		Upstream:   func(*rest.Config) (client.Client, error) { return w.kcp.Client, nil },
		Events:     w.events, Metrics: NewMetrics(w.registry, func() int { return 1 }), Clock: w.clock,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.physical = w.clusters
	r.tokens.get = func(context.Context, string, []byte, string, []byte) error {
		w.tokenGets++
		return w.tokenErr
	}
	w.r = r
	w.engage(w.t.Context())
}

// engage engages the workspace until ctx ends.
func (w *world) engage(ctx context.Context) {
	w.t.Helper()
	if err := w.r.Engage(ctx, testCluster, w.cache); err != nil {
		w.t.Fatal(err)
	}
}

func newTestMetrics() *Metrics { return NewMetrics(prometheus.NewRegistry(), func() int { return 1 }) }

func (w *world) reconcile() (reconcile.Result, error) {
	return w.r.Reconcile(w.t.Context(), request(testCluster, testName))
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

// settle passes until nothing is written any more, and forgets the requests and Events so far.
func (w *world) settle() {
	w.t.Helper()
	for range 30 {
		before := len(w.kcp.writes) + len(w.there.writes)
		w.pass()
		if before == len(w.kcp.writes)+len(w.there.writes) {
			w.forget()
			return
		}
	}
	w.t.Fatalf("never at rest: %q, %q", w.kcp.writes, w.there.writes)
}

func (w *world) forget() {
	w.kcp.forget()
	w.there.forget()
	w.events.events, w.clusters.gets, w.tokenGets = nil, 0, 0
}

// ready brings the target to rest with the syncer rolled out and its heartbeats arriving.
func (w *world) ready() {
	w.t.Helper()
	w.settle()
	w.rollOut()
	w.r.installCache.forget(testUID)
	w.beat(w.clock.Now())
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionReady); got != "True Ready: Syncer is healthy and ready" {
		w.t.Fatalf("Ready = %s", got)
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		w.t.Fatalf("Deployed = %s", got)
	}
}

func (w *world) target() *workloadv1alpha1.SyncTarget {
	w.t.Helper()
	var target workloadv1alpha1.SyncTarget
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: testName}, &target); err != nil {
		w.t.Fatal(err)
	}
	return &target
}

// gone tells whether the target is.
func (w *world) gone() bool {
	return apierrors.IsNotFound(w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: testName}, &workloadv1alpha1.SyncTarget{}))
}

// edit changes the target as a user does.
func (w *world) edit(change func(*workloadv1alpha1.SyncTarget)) {
	w.t.Helper()
	target := w.target()
	change(target)
	if err := w.kcp.raw.Update(w.t.Context(), target); err != nil {
		w.t.Fatal(err)
	}
}

// report changes the status as the syncer does.
func (w *world) report(change func(*workloadv1alpha1.SyncTargetStatus)) {
	w.t.Helper()
	target := w.target()
	change(&target.Status)
	if err := w.kcp.raw.Status().Update(w.t.Context(), target); err != nil {
		w.t.Fatal(err)
	}
	w.r.heartbeats.observe(defaultEndpoint, w.target())
}

// beat is a heartbeat of the syncer in thisCluster, by the agent's clock.
func (w *world) beat(at time.Time) {
	w.t.Helper()
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
		status.LastHeartbeatTime = &metav1.Time{Time: at.Truncate(time.Second)}
		status.Syncer = &workloadv1alpha1.SyncerStatus{Version: "v1", ClusterID: thisCluster}
		status.InstallationHash = "installed"
	})
}

func (w *world) condition(name string) string {
	w.t.Helper()
	found := meta.FindStatusCondition(w.target().Status.Conditions, name)
	if found == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
}

// delete is what a user does, and then the scheduler.
func (w *world) delete() {
	w.t.Helper()
	w.deleteTarget()
	w.withdrawAll()
}

// deleteTarget is what a user does.
func (w *world) deleteTarget() {
	w.t.Helper()
	if err := w.kcp.raw.Delete(w.t.Context(), w.target()); err != nil {
		w.t.Fatal(err)
	}
	if !w.gone() {
		target := w.target()
		w.clock.SetTime(target.DeletionTimestamp.Time) // the fake of the API server has a clock of its own
	}
}

// rollOut does the work of the Deployment controller.
func (w *world) rollOut() {
	w.t.Helper()
	var deployment appsv1.Deployment
	if err := w.there.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.DeploymentName}, &deployment); err != nil {
		w.t.Fatal(err)
	}
	deployment.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
		{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
	}}
	if err := w.there.raw.Status().Update(w.t.Context(), &deployment); err != nil {
		w.t.Fatal(err)
	}
}

func testKey() string { return workloadv1alpha1.Key(testCluster, testName) }

func testNamespace() string { return workloadv1alpha1.SyncerNamespace(testName, testKey()) }

func newTarget(change ...func(*workloadv1alpha1.SyncTarget)) *workloadv1alpha1.SyncTarget {
	target := &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{Name: testName, UID: testUID, Generation: 1, Finalizers: []string{workloadv1alpha1.Finalizer}},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: "edge-1", Cells: map[string]workloadv1alpha1.CellValue{"region": "eu-west-1"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: "default", Name: "edge-1"},
		},
	}
	for _, c := range change {
		c(target)
	}
	return target
}

func pull(target *workloadv1alpha1.SyncTarget) { target.Spec.KubeconfigSecretRef = nil }

func newSecret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "edge-1", Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"}},
		Data:       map[string][]byte{"kubeconfig": testKubeconfig},
	}
}

func newBinding() *apisv1alpha2.APIBinding {
	binding := &apisv1alpha2.APIBinding{ObjectMeta: metav1.ObjectMeta{Name: "workload.kcp.io"}}
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

// staleTarget is a cache that lags behind.
type staleTarget struct {
	client.Reader
	target *workloadv1alpha1.SyncTarget
}

func (s staleTarget) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if into, ok := object.(*workloadv1alpha1.SyncTarget); ok {
		s.target.DeepCopyInto(into)
		return nil
	}
	return s.Reader.Get(ctx, key, object, opts...)
}
