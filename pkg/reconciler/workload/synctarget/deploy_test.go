package synctarget

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestClusterIsPinnedBeforeAnythingIsInstalled(t *testing.T) {
	w := usual(t)
	w.pass()
	if len(w.there.writes) != 0 {
		t.Errorf("the pass that pins wrote downstream: %q", w.there.writes)
	}
	if got := w.target().Status.ClusterID; got != thisCluster {
		t.Fatalf("clusterID = %q, want %q", got, thisCluster)
	}
	w.pass()
	if len(w.there.writes) != 9 {
		t.Errorf("the pass after it wrote downstream %q, want all 9 objects", w.there.writes)
	}
	if diff := cmp.Diff([]string{`Deployment "` + testNamespace() + `/syncer"`}, w.there.watched); diff != "" {
		t.Errorf("watched is the syncer, and nothing else: -want +got\n%s", diff)
	}
}

func TestPinThatIsNotWrittenInstallsNothing(t *testing.T) {
	w := usual(t)
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "patch-status") {
			return errInjected
		}
		return nil
	}
	for range 3 {
		if _, err := w.reconcile(); !errors.Is(err, errInjected) {
			t.Fatalf("Reconcile() = %v", err)
		}
	}
	if len(w.there.writes) != 0 {
		t.Errorf("installed without a pin: %q", w.there.writes)
	}
}

func TestClusterMismatchTouchesNothing(t *testing.T) {
	w := usual(t)
	w.ready()
	elsewhere := &physical{server: newServer(t, w.clock), id: otherCluster}
	w.clusters.cluster = elsewhere
	w.r.installCache.forget(testUID)
	w.pass()
	if len(elsewhere.reads)+len(elsewhere.writes)+len(w.there.writes) != 0 {
		t.Errorf("asked the other cluster for %q, %q and wrote %q to the pinned one", elsewhere.reads, elsewhere.writes, w.there.writes)
	}
	want := `False ClusterMismatch: the kubeconfig leads to cluster "` + otherCluster + `", but this SyncTarget stands for cluster "` + thisCluster +
		`"; restore the kubeconfig, or delete the SyncTarget and create another for the new cluster`
	if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
		t.Errorf("Deployed: -want +got\n%s", diff)
	}
	if got := w.target().Status.ClusterID; got != thisCluster {
		t.Errorf("clusterID = %q, want it to stay %q", got, thisCluster)
	}
	if got := w.target().Status.Phase; got != workloadv1alpha1.PhaseReady {
		t.Errorf("phase = %s although heartbeats of the pinned cluster arrive", got)
	}
}

func TestDeployedByState(t *testing.T) {
	namespace := testNamespace()
	ours := func(uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: namespace, UID: "live", Labels: map[string]string{workloadv1alpha1.LabelKey: testKey(), workloadv1alpha1.LabelUID: uid}}
	}
	tests := map[string]struct {
		reason  string
		there   []client.Object
		kcp     []client.Object
		prepare func(*world)
		want    string
		recheck time.Duration
	}{
		"somebody else's Namespace downstream": {
			"It is never taken over.", []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}}, nil, nil,
			`False DeploymentFailed: Namespace "` + namespace + `" already exists in the physical cluster and does not belong to this SyncTarget; it is left as it is: delete it, or give the SyncTarget another name`,
			time.Minute,
		},
		"somebody else's Namespace upstream": {
			"", nil, []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}}, nil,
			`False DeploymentFailed: Namespace "` + namespace + `" already exists in the workspace and does not belong to this SyncTarget; it is left as it is: delete it, or give the SyncTarget another name`,
			time.Minute,
		},
		"left-over objects downstream": {
			"An earlier target of this name was let go.", []client.Object{&corev1.Namespace{ObjectMeta: ours("earlier")}}, nil,
			func(w *world) { w.there.slowNamespaces = true },
			`False RollingOut: Removing what an earlier SyncTarget of this name left in the physical cluster. Namespace "` + namespace + `" is still being deleted: held by finalizer kubernetes`,
			time.Second,
		},
		"left-over objects that go at once": {
			"", []client.Object{&corev1.Namespace{ObjectMeta: ours("earlier")}}, nil, nil,
			`False RollingOut: Removing what an earlier SyncTarget of this name left in the physical cluster`,
			time.Second,
		},
		"left-over objects upstream": {
			"", nil, []client.Object{&corev1.Namespace{ObjectMeta: ours("earlier")}},
			func(w *world) { w.kcp.slowNamespaces = true },
			`False RollingOut: Removing what an earlier SyncTarget of this name left in the workspace. Namespace "` + namespace + `" is still being deleted: held by finalizer kubernetes`,
			time.Second,
		},
		"our Namespace is being deleted": {
			"By hand: it comes back once it is gone.",
			[]client.Object{func() client.Object {
				meta := ours(testUID)
				meta.DeletionTimestamp, meta.Finalizers = &metav1.Time{Time: time.Now()}, []string{"kubernetes"}
				return &corev1.Namespace{ObjectMeta: meta}
			}()}, nil, nil,
			`False RollingOut: Namespace "` + namespace + `" is still being deleted: held by finalizer kubernetes; it is recreated when it is gone`,
			time.Second,
		},
		"replaced while it was applied": {
			"", nil, nil,
			func(w *world) {
				w.there.refuse = func(request string) error {
					if strings.HasPrefix(request, "apply") {
						return apierrors.NewConflict(corev1.Resource("namespaces"), namespace, errInjected)
					}
					return nil
				}
			},
			`False RollingOut: Installing the syncer: the cluster cannot access namespaces "` + namespace + `": it conflicts with what is there (409 Conflict)`, conflictRetry,
		},
		"a write is forbidden downstream": {
			"", nil, nil,
			func(w *world) {
				w.there.refuse = func(request string) error {
					if strings.HasPrefix(request, "apply ClusterRole") {
						return apierrors.NewForbidden(corev1.Resource("clusterroles"), namespace, errInjected)
					}
					return nil
				}
			},
			`False DeploymentFailed: the kubeconfig's user may not access clusterroles "` + namespace + `" (403 Forbidden)`, time.Minute,
		},
		"kcp has not issued the token": {
			"", nil, nil, func(w *world) { w.kcp.token = "" },
			"False RollingOut: Waiting for kcp to issue the syncer's token", 10 * time.Second,
		},
		"kcp refuses a fresh token": {
			"Its caches take a moment.", nil, nil,
			func(w *world) { w.tokenErr = apierrors.NewUnauthorized("no") },
			"False RollingOut: Waiting for kcp to accept the syncer's token", tokenRetry,
		},
		"kcp refuses an old token": {
			"", nil, nil,
			func(w *world) {
				w.tokenErr = apierrors.NewForbidden(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
				w.pass()
				w.clock.Step(issuing)
			},
			"False DeploymentFailed: kcp at https://kcp.example.com/clusters/" + testCluster + " does not accept the syncer's token; does what stands before kcp know the key that signs ServiceAccount tokens?", time.Minute,
		},
		"kcp is not where the syncers look for it": {
			"The operator's flags are wrong, not the user's object.", nil, nil,
			func(w *world) { w.tokenErr = errInjected },
			"False DeploymentFailed: kcp cannot be reached at https://kcp.example.com/clusters/" + testCluster + ", which the syncer would use; check the controller's flags --kcp-external-url and --kcp-external-ca-file", time.Minute,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target := newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Status.ClusterID = thisCluster })
			w := newWorld(t, target, append(tc.kcp, newSecret(), newBinding())...)
			w.there.server = newServer(t, w.clock, tc.there...)
			if tc.prepare != nil {
				tc.prepare(w)
			}
			result := w.pass()
			if diff := cmp.Diff(tc.want, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
				t.Errorf("%s\nDeployed: -want +got\n%s", tc.reason, diff)
			}
			if result.RequeueAfter != tc.recheck {
				t.Errorf("%s\nRequeueAfter = %s, want %s", tc.reason, result.RequeueAfter, tc.recheck)
			}
		})
	}
}

func TestLeftoversGoFirst(t *testing.T) {
	w := usual(t)
	w.there.server = newServer(t, w.clock, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testNamespace(), UID: "live", Labels: map[string]string{workloadv1alpha1.LabelKey: testKey(), workloadv1alpha1.LabelUID: "earlier"},
	}})
	w.settle()
	var namespace corev1.Namespace
	if err := w.there.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, &namespace); err != nil {
		t.Fatal(err)
	}
	if got := namespace.Labels[workloadv1alpha1.LabelUID]; got != testUID {
		t.Errorf("the Namespace belongs to %q, want %q", got, testUID)
	}
}

func TestRecheckWhileRollingOut(t *testing.T) {
	w := usual(t)
	w.pass()
	if got := w.pass().RequeueAfter; got != rolloutRecheck {
		t.Errorf("RequeueAfter = %s, want %s: the pods are not watched", got, rolloutRecheck)
	}
}

func TestPullMode(t *testing.T) {
	w := newWorld(t, newTarget(pull), newBinding())
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False AwaitingInstall: Waiting for you to install the syncer") {
		t.Errorf("Deployed = %s", got)
	}
	if got := w.kcp.names(t); len(got) != 11 {
		t.Errorf("the syncer has no identity in the workspace: %q", got)
	}
	w.beat(w.clock.Now())
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s after a heartbeat", got)
	}
	if got := w.target().Status.ClusterID; got != thisCluster {
		t.Errorf("clusterID = %q, want what the syncer reports", got)
	}
	w.assign("shop")
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.Contains(got, "for each Namespace that is assigned to it, apply the output of `kubectl synctarget manifests edge-1` again") {
		t.Errorf("Deployed = %s with an assigned Namespace", got)
	}
	w.pass()
	if w.clusters.gets+len(w.there.writes)+len(w.there.reads) != 0 {
		t.Error("the service dialled the physical cluster")
	}
}

func withKubeconfig(kubeconfig []byte) *corev1.Secret {
	secret := newSecret()
	secret.Data["kubeconfig"] = kubeconfig
	return secret
}

// cautious refuses to give a right, as an API server does that is asked by somebody who does not have it.
type cautious struct {
	client.Client
	right string // in the manifest of a role
}

func (c cautious) Apply(ctx context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	text, err := json.Marshal(object)
	if err != nil || strings.Contains(string(text), c.right) {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "clusterroles"}, "sync", nil)
	}
	if options := (&client.ApplyOptions{}).ApplyOptions(opts); len(options.DryRun) > 0 {
		return nil
	}
	return c.Client.Apply(ctx, object, opts...)
}

// TestOneResourceThatCannotBeGranted: it keeps the others from nothing, and is named.
func TestOneResourceThatCannotBeGranted(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) {
		target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "example.com", Resource: "widgets"}}
	})
	w.there.server.Client = cautious{w.there.server.Client, "widgets"}
	w.settle()
	w.rollOut()
	w.wake()
	result := w.pass()
	want := "True Deployed: Syncer deployment successful; without rights on widgets.example.com, which the kubeconfig's user does not have and so cannot grant"
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
		t.Errorf("Deployed = %s, want %s", got, want)
	}
	if result.RequeueAfter > refusedRecheck {
		t.Errorf("RequeueAfter = %s: no event tells that an administrator gave the right", result.RequeueAfter)
	}
}

// TestInstallationThatIsNotObserved: where the syncer cannot be given the right to watch its installation, it is read once a minute.
func TestInstallationThatIsNotObserved(t *testing.T) {
	w := usual(t)
	w.there.server.Client = cautious{w.there.server.Client, `"resourceNames":["kcp"]`}
	w.settle()
	w.rollOut()
	w.beat(w.clock.Now())
	w.wake()
	result := w.pass()
	want := "True Deployed: Syncer deployment successful; what is installed is read once a minute, because the syncer may not watch it: the kubeconfig's user may not list or watch it, and so cannot grant that"
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
		t.Errorf("Deployed = %s, want %s", got, want)
	}
	if result.RequeueAfter != unwatchedRecheck {
		t.Errorf("RequeueAfter = %s, want %s", result.RequeueAfter, unwatchedRecheck)
	}

	w.there.server.Client = w.there.server.Client.(cautious).Client
	w.wake()
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s when the right can be given", got)
	}
}

// TestCredentialsAreNotTold: what the physical cluster calls things, and says of them, may be anything that it knows.
func TestCredentialsAreNotTold(t *testing.T) {
	hold := func(w *world) {
		var held corev1.Namespace
		if err := w.there.raw.Get(w.t.Context(), client.ObjectKey{Name: testNamespace()}, &held); err != nil {
			w.t.Fatal(err)
		}
		held.Finalizers = append(held.Finalizers, "example.com/s3cret")
		if err := w.there.raw.Update(w.t.Context(), &held); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, arrange := range map[string]func(*world){
		"of a rollout": func(w *world) {
			var deployment appsv1.Deployment
			if err := w.there.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.DeploymentName}, &deployment); err != nil {
				w.t.Fatal(err)
			}
			deployment.Status = appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "s3cret"},
			}}
			if err := w.there.raw.Status().Update(w.t.Context(), &deployment); err != nil {
				w.t.Fatal(err)
			}
			w.wake()
		},
		"of a removal": func(w *world) {
			hold(w)
			w.delete()
			w.pass()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			arrange(w)
			w.pass()
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.Contains(got, "[redacted]") || strings.Contains(got, "s3cret") {
				t.Errorf("Deployed = %s", got)
			}
		})
	}
}
