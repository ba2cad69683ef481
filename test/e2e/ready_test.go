package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestBindToReady is the main story: bind, register, Ready, and what the user sees then.
func TestBindToReady(t *testing.T) {
	n := newTenant(t)
	target := n.register("edge-1")

	assert.Equal(t, workloadv1alpha1.PhaseReady, target.Status.Phase)
	assert.Equal(t, target.Generation, target.Status.ObservedGeneration)
	kubeSystem := &corev1.Namespace{}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKey{Name: "kube-system"}, kubeSystem))
	assert.Equal(t, string(kubeSystem.UID), target.Status.ClusterID)
	require.NotNil(t, target.Status.Syncer)
	assert.Equal(t, target.Status.ClusterID, target.Status.Syncer.ClusterID)
	assert.Equal(t, int32(1), target.Status.Syncer.Nodes)
	assert.NotEmpty(t, target.Status.Syncer.KubernetesVersion)
	assert.Contains(t, target.Status.Syncer.Capacity, "cpu")

	first := target.Status.LastHeartbeatTime
	require.NotNil(t, first)
	n.eventually("the next heartbeat arrives", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		return target.Status.LastHeartbeatTime.After(first.Time), target.Status.LastHeartbeatTime.String()
	})

	n.eventually("the Events tell the story", func() (bool, string) {
		all := strings.Join(n.events(target), "\n")
		return strings.Contains(all, "Normal Ready: ") && strings.Contains(all, "Normal Deployed: "), all
	})
	out, err := env.Kubectl(t.Context(), n.path.String(), "", "get", "st")
	require.NoError(t, err)
	assert.Equal(t, []string{"NAME", "READY", "PHASE", "CLUSTER", "HEARTBEAT", "AGE"}, strings.Fields(strings.Split(out, "\n")[0]))
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "wait", "st/edge-1", "--for=condition=Ready", "--timeout=5s")
	require.NoError(t, err)
}

// TestSyncerIdentityIsNarrow asks, with the syncer's own token, for what it must not get.
func TestSyncerIdentityIsNarrow(t *testing.T) {
	n := newTenant(t)
	n.register("edge-1")
	other := syncTarget("other")
	require.NoError(t, n.Create(t.Context(), other))

	token := &corev1.Secret{}
	require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: agent.TokenSecretName}, token))
	config := rest.AnonymousClientConfig(n.config)
	config.BearerToken = string(token.Data["token"])
	syncer, err := client.New(config, client.Options{Scheme: newScheme(t), Mapper: n.RESTMapper()})
	require.NoError(t, err)

	own := &workloadv1alpha1.SyncTarget{}
	require.NoError(t, syncer.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, own))
	for what, err := range map[string]error{
		"get another SyncTarget": syncer.Get(t.Context(), client.ObjectKey{Name: "other"}, &workloadv1alpha1.SyncTarget{}),
		"list SyncTargets":       syncer.List(t.Context(), &workloadv1alpha1.SyncTargetList{}),
		"list Secrets":           syncer.List(t.Context(), &corev1.SecretList{}),
		"get the kubeconfig":     syncer.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &corev1.Secret{}),
		"change its spec":        syncer.Patch(t.Context(), own.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`))),
		"delete itself":          syncer.Delete(t.Context(), own.DeepCopy()),
		"create a Namespace":     syncer.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// TestNoWritesAtRest counts the controller's writes over a minute in which heartbeats arrive.
func TestNoWritesAtRest(t *testing.T) {
	n := newTenant(t)
	target := n.register("edge-1")
	// The last Event may still be on its way.
	n.eventually("the Events are written", func() (bool, string) {
		all := strings.Join(n.events(target), "\n")
		return strings.Contains(all, "Normal Ready: ") && strings.Contains(all, "Normal Deployed: "), all
	})
	start := time.Now()
	beats := map[int64]bool{}
	for time.Since(start) < time.Minute {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		beats[target.Status.LastHeartbeatTime.Unix()] = true
		<-time.After(time.Second)
	}
	assert.GreaterOrEqual(t, len(beats), 3, "heartbeats arrive meanwhile")
	requireNoControllerWrites(t, start, n.clusterName)
}

// requireNoControllerWrites reads the audit logs of both sides.
func requireNoControllerWrites(t *testing.T, since time.Time, clusterName string) {
	t.Helper()
	writes, err := env.Writes("kcp", since)
	require.NoError(t, err)
	for _, w := range writes {
		if strings.HasSuffix(w.User, ":synctarget-system:synctarget-controller") && w.Cluster == clusterName {
			t.Errorf("the controller wrote upstream: %+v", w)
		}
	}
	writes, err = env.Writes("cluster-1", since)
	require.NoError(t, err)
	for _, w := range writes {
		if strings.HasPrefix(w.UserAgent, "synctarget-controller") {
			t.Errorf("the controller wrote downstream: %+v", w)
		}
	}
}

// TestSameNameInTwoWorkspaces registers one cluster twice under one name.
func TestSameNameInTwoWorkspaces(t *testing.T) {
	a, b := newTenant(t), newTenant(t)
	one, two := a.register("edge-1"), b.register("edge-1")
	assert.NotEqual(t, one.Status.Key, two.Status.Key)
	assert.NotEqual(t, a.namespaceOf("edge-1"), b.namespaceOf("edge-1"))

	require.NoError(t, a.Delete(t.Context(), one))
	a.awaitGone(one)
	requireNothingLeft(t, downstream(t), one.Status.Key)
	deployment := &appsv1.Deployment{}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKey{Namespace: b.namespaceOf("edge-1"), Name: agent.DeploymentName}, deployment))
	assert.Equal(t, int32(1), deployment.Status.ReadyReplicas, "the other tenant's syncer runs on")
}

// TestLongName installs for the longest name that there is.
func TestLongName(t *testing.T) {
	n := newTenant(t)
	name := strings.Repeat("a", 250) + ".b1"
	require.Len(t, name, 253)
	long := syncTarget(name)
	long.Spec.KubeconfigSecretRef.Name = "long"
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("long", clusterKubeconfig(t))))
	require.NoError(t, n.Create(t.Context(), long))
	n.await(name, "Deployed", "Deployed")
	n.await(name, "Ready", "Ready")
	require.NoError(t, n.Delete(t.Context(), long))
	n.awaitGone(long)
}

// TestDriftIsMended deletes and changes by hand what the controller installed.
func TestDriftIsMended(t *testing.T) {
	n := newTenant(t)
	n.register("edge-1")
	cluster := downstream(t)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: n.namespaceOf("edge-1"), Name: agent.DeploymentName}}
	require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment))
	old := deployment.UID

	require.NoError(t, cluster.Delete(t.Context(), deployment.DeepCopy()))
	n.eventually("the Deployment is back", func() (bool, string) {
		err := cluster.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment)
		return err == nil && deployment.UID != old, fmt.Sprint(err)
	})
	n.await("edge-1", "Deployed", "Deployed")

	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "-n", deployment.Namespace, "set", "image", "deployment/"+agent.DeploymentName, "syncer=synctarget.local/other:1")
	require.NoError(t, err)
	n.eventually("the image is back", func() (bool, string) {
		require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment))
		image := deployment.Spec.Template.Spec.Containers[0].Image
		return image != "synctarget.local/other:1", image
	})

	// A changed setting rolls out, and goes again when it is taken back.
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{LogLevel: ptr.To[int32](4)}
	})
	n.eventually("the log level rolls out", func() (bool, string) {
		require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment))
		args := strings.Join(deployment.Spec.Template.Spec.Containers[0].Args, " ")
		return strings.Contains(args, "--log-level=4"), args
	})
	n.await("edge-1", "Deployed", "Deployed")
}

// TestSilentSyncer stops the syncer for longer than the threshold and lets it come back.
func TestSilentSyncer(t *testing.T) {
	n := newTenant(t)
	n.register("edge-1")
	stop := func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
	}
	change(n, syncTarget("edge-1"), stop)
	target := n.await("edge-1", "Ready", "Unhealthy", "Syncer is not healthy")
	assert.Equal(t, workloadv1alpha1.PhaseNotReady, target.Status.Phase)

	// A heartbeat counts when it changes, whatever the agent's clock says.
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		beat := target.DeepCopy()
		beat.Status.LastHeartbeatTime = ptr.To(metav1.NewTime(time.Now().Add(skew)))
		require.NoError(t, n.Status().Patch(t.Context(), beat, client.MergeFrom(target)))
		n.await("edge-1", "Ready", "Ready")
		target = n.await("edge-1", "Ready", "Unhealthy")
	}

	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer = nil })
	n.await("edge-1", "Ready", "Ready", "Syncer is healthy and ready")
}

// TestPullMode installs the syncer by hand, from what the service's own builders print.
func TestPullMode(t *testing.T) {
	n := newTenant(t)
	pull := syncTarget("edge-1")
	pull.Spec.KubeconfigSecretRef = nil
	require.NoError(t, n.Create(t.Context(), pull))
	n.await("edge-1", "Deployed", "AwaitingInstall")
	pull = n.await("edge-1", "Ready", "AwaitingHeartbeat")

	token := &corev1.Secret{}
	require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: agent.TokenSecretName}, token))
	image, err := env.SyncerImage(t.Context())
	require.NoError(t, err)
	var manifests strings.Builder
	require.NoError(t, agent.Render(&manifests, agent.Config{
		Target: pull, ClusterName: n.clusterName, Image: image,
		KcpURL: env.WorkspaceURL(n.clusterName), KcpCA: n.config.CAData, Token: token.Data["token"],
	}))
	_, err = env.ClusterKubectl(t.Context(), "cluster-1", manifests.String(), "apply", "--server-side", "-f", "-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", manifests.String(), "delete", "-f", "-")
	})

	target := n.await("edge-1", "Ready", "Ready")
	n.await("edge-1", "Deployed", "Deployed")
	assert.NotEmpty(t, target.Status.ClusterID, "pinned by the first heartbeat")

	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	requireNothingLeft(t, n, target.Status.Key)
	_, err = env.ClusterKubectl(t.Context(), "cluster-1", manifests.String(), "delete", "-f", "-")
	require.NoError(t, err)
}

// TestConfigAppliesWithKubectl builds every folder that users apply.
func TestConfigAppliesWithKubectl(t *testing.T) {
	kubectl := filepath.Join(env.Dir, "bin", "kubectl")
	for _, dir := range []string{"kcp", "manager", "samples"} {
		out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "../../config/"+dir).CombinedOutput()
		require.NoError(t, err, "%s: %s", dir, out)
	}
	// The hosting cluster takes the manager's manifests; nothing is stored.
	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "apiVersion: v1\nkind: Namespace\nmetadata: {name: synctarget-system}\n", "apply", "-f", "-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "ns", "synctarget-system")
	})
	abs, err := filepath.Abs("../../config/manager")
	require.NoError(t, err)
	_, err = env.ClusterKubectl(t.Context(), "cluster-1", "", "apply", "-k", abs, "--dry-run=server")
	require.NoError(t, err)
}
