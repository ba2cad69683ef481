//go:build bench

package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// readyLimit is how much later than a plain Deployment is Available a SyncTarget may be Ready, and Deployed.
const readyLimit = 2 * time.Second

// TestTimeToReady registers a cluster and, beside it, creates the same syncer by hand.
func TestTimeToReady(t *testing.T) {
	pairs := size(t, "BENCH_PAIRS", 5)
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("cluster-1", clusterKubeconfig(t))))
	targets := follow(t, n, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	n.plain("warm-up", targets) // the image's pages and kubelet's caches; not counted

	out := newTable("Time to Ready: a SyncTarget, and a plain Deployment of the same image on the same cluster (the image is on the node)")
	out.row("pair", "SyncTarget created", "SyncTarget created", "plain Deployment created")
	out.row("", "until Ready=True", "until Deployed=True", "until Available")
	var ready, deployed, plain []time.Duration
	for i := range pairs {
		target := func() {
			r, d := n.registered(fmt.Sprintf("target-%d", i+1), targets)
			ready, deployed = append(ready, r), append(deployed, d)
		}
		deployment := func() { plain = append(plain, n.plain(fmt.Sprintf("plain-%d", i+1), targets)) }
		// Whoever comes second may find caches warm, so they take turns.
		if i%2 == 0 {
			target()
			deployment()
		} else {
			deployment()
			target()
		}
		out.row(i+1, ready[i], deployed[i], plain[i])
	}
	readyLate, deployedLate := median(ready)-median(plain), median(deployed)-median(plain)
	out.row("median", median(ready), median(deployed), median(plain))
	out.row("later", readyLate, deployedLate)
	out.print()
	assert.LessOrEqual(t, readyLate, readyLimit, "Ready, later than a plain Deployment is Available")
	assert.LessOrEqual(t, deployedLate, readyLimit, "Deployed, later than a plain Deployment is Available")
}

// registered creates a SyncTarget and returns how long it takes until it is Ready and until it is Deployed.
func (n *tenant) registered(name string, targets *record) (ready, deployed time.Duration) {
	n.t.Helper()
	target := syncTarget(name, "cluster-1")
	start := time.Now()
	require.NoError(n.t, n.Create(n.t.Context(), target))
	ready = targets.await(has(name, workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady)).Sub(start)
	deployed = targets.await(has(name, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed)).Sub(start)
	n.remove(target, targets)
	return ready, deployed
}

// plain creates what is installed for a SyncTarget, all of it and nothing else, without the service: the identity was
// issued to a SyncTarget in pull mode before. It returns how long it takes until the Deployment is Available.
func (n *tenant) plain(name string, targets *record) time.Duration {
	n.t.Helper()
	target := syncTarget(name, "")
	target.Spec.KubeconfigSecretRef = nil
	require.NoError(n.t, n.Create(n.t.Context(), target))
	targets.await(has(name, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonAwaitingInstall))

	namespace := workloadv1alpha1.SyncerNamespace(name, workloadv1alpha1.Key(n.clusterName, name))
	token := &corev1.Secret{}
	require.NoError(n.t, n.Get(n.t.Context(), client.ObjectKey{Namespace: namespace, Name: agent.TokenSecretName}, token))
	image, err := env.SyncerImage(n.t.Context())
	require.NoError(n.t, err)
	objects := agent.Downstream(agent.Config{
		Target: target, ClusterName: n.clusterName, Image: image,
		KcpURL: env.WorkspaceURL(n.clusterName), KcpCA: n.config.CAData, Token: token.Data["token"],
	})

	cluster := downstream(n.t)
	deployments := follow(n.t, cluster, &appsv1.DeploymentList{}, deploymentFacts, client.InNamespace(namespace))
	n.t.Cleanup(func() { removeDownstream(n.t, cluster, objects) })
	start := time.Now()
	for _, object := range objects {
		require.NoError(n.t, cluster.Create(n.t.Context(), object))
	}
	took := deployments.await(available(agent.DeploymentName)).Sub(start)
	removeDownstream(n.t, cluster, objects)
	n.remove(target, targets)
	return took
}

// remove deletes a SyncTarget and waits until it is gone, so that its end does not disturb what is measured next.
func (n *tenant) remove(target *workloadv1alpha1.SyncTarget, targets *record) {
	n.t.Helper()
	require.NoError(n.t, n.Delete(n.t.Context(), target))
	targets.await(gone(target.Name))
}

// removeDownstream deletes objects, if they are there, and waits until the last is gone. Cleanups may call it.
func removeDownstream(t *testing.T, cluster client.Client, objects []client.Object) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, object := range objects {
		if err := cluster.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting %T %s: %v", object, object.GetName(), err)
		}
	}
	for _, object := range objects {
		err := wait.PollUntilContextCancel(ctx, tick, true, func(ctx context.Context) (bool, error) {
			err := cluster.Get(ctx, client.ObjectKeyFromObject(object), object)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		if err != nil {
			t.Errorf("waiting until %T %s is gone: %v", object, object.GetName(), err)
		}
	}
}
