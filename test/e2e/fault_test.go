package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestWrongSpec shows each fault of the spec, in the promised order, and its repair.
func TestWrongSpec(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	target.Spec.Cluster, target.Spec.Cells = "", nil
	target.Spec.Capacity = map[string]resource.Quantity{"cpu": resource.MustParse("-1"), "memory": resource.MustParse("-2Gi")}
	require.NoError(t, n.Create(t.Context(), target))

	for _, step := range []struct {
		message string
		repair  func(*workloadv1alpha1.SyncTarget)
	}{
		{"cluster reference is required", func(st *workloadv1alpha1.SyncTarget) { st.Spec.Cluster = "cluster-1" }},
		{"at least one cell must be specified", func(st *workloadv1alpha1.SyncTarget) {
			st.Spec.Cells = map[string]workloadv1alpha1.CellValue{"region": "local"}
		}},
		{"capacity for cpu cannot be negative", func(st *workloadv1alpha1.SyncTarget) { st.Spec.Capacity["cpu"] = resource.MustParse("1") }},
		{"capacity for memory cannot be negative", func(st *workloadv1alpha1.SyncTarget) { st.Spec.Capacity = nil }},
	} {
		for _, condition := range []string{"Valid", "Ready"} {
			got := n.await("edge-1", condition, "ValidationFailed", step.message)
			found := meta.FindStatusCondition(got.Status.Conditions, condition)
			assert.Equal(t, step.message, found.Message)
			assert.Equal(t, metav1.ConditionFalse, found.Status)
		}
		n.await("edge-1", "Deployed", "ValidationFailed")
		change(n, target, step.repair)
	}
	n.await("edge-1", "Valid", "Valid", "SyncTarget validation passed")
	n.await("edge-1", "Ready", "Ready")

	change := target.DeepCopy()
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(change), change))
	change.Spec.KubeconfigSecretRef = nil
	assert.True(t, apierrors.IsInvalid(n.Update(t.Context(), change)), "kubeconfigSecretRef cannot be removed")
}

// TestClaimsNotAccepted names the claims that are missing, and goes on when they are accepted.
func TestClaimsNotAccepted(t *testing.T) {
	t.Parallel()
	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) {
		for i := range binding.Spec.PermissionClaims {
			if binding.Spec.PermissionClaims[i].Resource == "secrets" {
				binding.Spec.PermissionClaims[i].State = apisv1alpha2.ClaimRejected
			}
		}
	})
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
	n.await("edge-1", "Valid", "ValidationFailed", "permission claims", "secrets", "APIBinding")

	change(n, sampleBinding(t), func(binding *apisv1alpha2.APIBinding) {
		for i := range binding.Spec.PermissionClaims {
			binding.Spec.PermissionClaims[i].State = apisv1alpha2.ClaimAccepted
		}
	})
	n.await("edge-1", "Ready", "Ready")
}

// TestLeasesNotClaimed: a workspace may reject the claim on Leases, and accept it, at any time. The heartbeats go where the
// controller sees them.
func TestLeasesNotClaimed(t *testing.T) {
	t.Parallel()
	claim := func(state apisv1alpha2.AcceptablePermissionClaimState) func(*apisv1alpha2.APIBinding) {
		return func(binding *apisv1alpha2.APIBinding) {
			for i := range binding.Spec.PermissionClaims {
				if binding.Spec.PermissionClaims[i].Resource == "leases" {
					binding.Spec.PermissionClaims[i].State = state
				}
			}
		}
	}
	n := newTenant(t, claim(apisv1alpha2.ClaimRejected))
	target := n.register("edge-1")
	_, err := n.renewTime("edge-1")
	require.True(t, apierrors.IsNotFound(err), "a Lease: %v", err)
	first := target.Status.LastHeartbeatTime
	n.eventually("the next heartbeat arrives in the status", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		return target.Status.LastHeartbeatTime.After(first.Time), target.Status.LastHeartbeatTime.String()
	})

	change(n, sampleBinding(t), claim(apisv1alpha2.ClaimAccepted))
	n.eventually("the syncer renews the Lease", func() (bool, string) {
		renewed, err := n.renewTime("edge-1")
		return !renewed.IsZero(), fmt.Sprint(err)
	})

	change(n, sampleBinding(t), claim(apisv1alpha2.ClaimRejected))
	rejected := time.Now()
	for time.Since(rejected) < threshold+10*time.Second {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		for _, condition := range []string{"Valid", "Ready"} {
			require.True(t, meta.IsStatusConditionTrue(target.Status.Conditions, condition), "%+v", target.Status.Conditions)
		}
		<-time.After(time.Second)
	}
	assert.True(t, target.Status.LastHeartbeatTime.After(rejected.Add(interval)), "the last heartbeat: %s", target.Status.LastHeartbeatTime)
}

// TestClaimsForEveryVerb: kcp grants what APIExport and APIBinding both name, so "*" grants nothing, in either version.
func TestClaimsForEveryVerb(t *testing.T) {
	t.Parallel()
	everyVerb := func(binding *apisv1alpha2.APIBinding) {
		for i := range binding.Spec.PermissionClaims {
			binding.Spec.PermissionClaims[i].Verbs = []string{"*"}
		}
	}
	for name, newTenant := range map[string]func(*testing.T) *tenant{
		"v1alpha2": func(t *testing.T) *tenant { return newTenant(t, everyVerb) },
		"v1alpha1": newTenantV1alpha1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t)
			require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
			require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
			n.await("edge-1", "Valid", "ValidationFailed", "name the verbs", "secrets (get, list, watch, create, patch, delete)", "namespaces (")

			wanted := sampleBinding(t).Spec.PermissionClaims
			change(n, sampleBinding(t), func(binding *apisv1alpha2.APIBinding) { binding.Spec.PermissionClaims = wanted })
			n.await("edge-1", "Ready", "Ready")
		})
	}
}

// newTenantV1alpha1 binds the API in the first version, in which claims name no verbs.
func newTenantV1alpha1(t *testing.T) *tenant {
	t.Helper()
	n := newWorkspace(t)
	sample := sampleBinding(t)
	var claims []any
	for _, claim := range sample.Spec.PermissionClaims {
		claims = append(claims, map[string]any{"group": claim.Group, "resource": claim.Resource, "all": true, "state": "Accepted"})
	}
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIBinding", "metadata": map[string]any{"name": sample.Name},
		"spec": map[string]any{
			"reference":        map[string]any{"export": map[string]any{"path": sample.Spec.Reference.Export.Path, "name": sample.Spec.Reference.Export.Name}},
			"permissionClaims": claims,
		},
	}}
	require.NoError(t, n.Create(t.Context(), binding))
	n.eventually("the API is served", func() (bool, string) {
		err := n.List(t.Context(), &workloadv1alpha1.SyncTargetList{})
		return err == nil, fmt.Sprint(err)
	})
	return n
}

// TestSecretIsDeleted: the kubeconfig's Secret, deleted under a SyncTarget, says what it waits for, and goes with the reference.
func TestSecretIsDeleted(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	first := kubeconfigSecret("edge-1", nil)
	require.NoError(t, n.Delete(t.Context(), first))
	n.await("edge-1", "Valid", "SecretTerminating", "default/edge-1", "refer to another Secret")
	n.await("edge-1", "Ready", "Ready")
	n.eventually("an Event says so", func() (bool, string) {
		events := n.events(target)
		return slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "Warning SecretTerminating") }), fmt.Sprint(events)
	})

	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-2", clusterKubeconfig(t))))
	change(n, target, func(target *workloadv1alpha1.SyncTarget) { target.Spec.KubeconfigSecretRef.Name = "edge-2" })
	n.awaitGone(first)
	n.await("edge-1", "Valid", "Valid")
}

// TestDeletionWithoutClaims: where nothing may be made, nothing is left, and the deletion is over at once.
func TestDeletionWithoutClaims(t *testing.T) {
	t.Parallel()
	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) {
		for i := range binding.Spec.PermissionClaims {
			binding.Spec.PermissionClaims[i].State = apisv1alpha2.ClaimRejected
		}
	})
	require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
	target := n.await("edge-1", "Valid", "ValidationFailed", "permission claims", "APIBinding")
	require.NoError(t, n.Delete(t.Context(), target))
	err := n.Get(t.Context(), client.ObjectKeyFromObject(target), target)
	assert.True(t, apierrors.IsNotFound(err), "it is gone with the request: %v, finalizers %q", err, target.Finalizers)
}

// TestIdentityIsDeleted: `kubectl delete namespace` of the identity in the workspace ends, and the syncer gets a new one.
func TestIdentityIsDeleted(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	kept := s.uids()
	identity := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.namespaceOf("edge-1")}}
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(identity), identity))
	before := identity.UID
	require.NoError(t, n.Delete(t.Context(), identity))
	started := time.Now()
	n.eventually("the identity is made anew", func() (bool, string) {
		err := n.Get(t.Context(), client.ObjectKeyFromObject(identity), identity)
		return err == nil && identity.UID != before && identity.DeletionTimestamp == nil, fmt.Sprint(err, identity.Status.Conditions)
	})
	t.Logf("The identity was made anew after %s", time.Since(started).Round(time.Second))
	n.eventually("the syncer reports with it", func() (bool, string) {
		next, err := n.renewTime("edge-1")
		return err == nil && next.After(identity.CreationTimestamp.Add(time.Second)), fmt.Sprint(next, err)
	})
	t.Logf("The syncer reported after %s", time.Since(started).Round(time.Second))
	n.await("edge-1", "Ready", "Ready")
	s.awaitAssigned()
	s.create(s.configMap("another", map[string]string{"b": "2"}))
	s.awaitCopy("another", map[string]string{"b": "2"})
	assert.Equal(t, kept["config"], s.uids()["config"], "what ran has noticed nothing")
}

// TestSecretFaults goes through what can be wrong with the Secret, and mends it.
func TestSecretFaults(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
	n.await("edge-1", "Valid", "ValidationFailed", `Secret "default/edge-1" is not found`)
	n.await("edge-1", "Ready", "AwaitingHeartbeat")

	secret := kubeconfigSecret("edge-1", nil)
	secret.Data = map[string][]byte{"other": []byte("x")}
	require.NoError(t, n.Create(t.Context(), secret))
	n.await("edge-1", "Valid", "ValidationFailed", `has no key "kubeconfig"`)

	good := string(clusterKubeconfig(t))
	for _, fault := range []struct{ kubeconfig, words string }{
		{"", "is empty"},
		{"{not yaml", "YAML"},
		{strings.Replace(good, "server: https://", "server: http://", 1), "https"},
		{strings.Replace(good, "server:", "insecure-skip-tls-verify: true\n    server:", 1), "insecure-skip-tls-verify"},
		{strings.Replace(good, "server:", "proxy-url: http://proxy\n    server:", 1), "proxy-url"},
	} {
		change(n, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"kubeconfig": []byte(fault.kubeconfig)} })
		n.await("edge-1", "Valid", "ValidationFailed", fault.words)
	}
	change(n, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"kubeconfig": []byte(good)} })
	n.await("edge-1", "Ready", "Ready")
	n.await("edge-1", "Deployed", "Deployed")

	// Wrong again: the syncer is as alive as before.
	change(n, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"kubeconfig": []byte("{")} })
	n.await("edge-1", "Valid", "ValidationFailed")
	n.await("edge-1", "Deployed", "ValidationFailed")
	n.await("edge-1", "Ready", "Ready")
}

// TestOtherCluster points the Secret to another cluster: here, a workspace, which has a kube-system of its own.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	other := newTenant(t)
	kubeconfig := adminKubeconfig(t, other.clusterName)

	secret := kubeconfigSecret("edge-1", nil)
	change(n, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"kubeconfig": kubeconfig} })
	n.await("edge-1", "Deployed", "ClusterMismatch", target.Status.ClusterID)
	n.await("edge-1", "Ready", "Ready")
	require.True(t, apierrors.IsNotFound(other.Get(t.Context(), client.ObjectKey{Name: n.namespaceOf("edge-1")}, &corev1.Namespace{})), "nothing is installed there")

	change(n, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"kubeconfig": clusterKubeconfig(t)} })
	n.await("edge-1", "Deployed", "Deployed")
}

// adminKubeconfig is that of kcp's administrator, in a workspace.
func adminKubeconfig(t *testing.T, workspace string) []byte {
	t.Helper()
	raw := clientcmd.GetConfigFromFileOrDie(env.KCPKubeconfig())
	raw.Clusters[raw.Contexts[raw.CurrentContext].Cluster].Server = env.WorkspaceURL(workspace)
	require.NoError(t, api.MinifyConfig(raw))
	kubeconfig, err := clientcmd.Write(*raw)
	require.NoError(t, err)
	return kubeconfig
}

// TestUnreachable covers the ways in which a cluster does not answer, and the one in which it answers no.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	good := string(clusterKubeconfig(t))
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(good))
	require.NoError(t, err)
	at := func(address string) string { return strings.ReplaceAll(good, config.Host, "https://"+address) }
	otherCA := strings.Replace(string(clusterKubeconfig(t)), config.Host, env.WorkspaceURL("root"), 1)
	for name, fault := range map[string]struct {
		kubeconfig, reason string
		words              []string
	}{
		"refused":     {at(freeAddress(t)), "ClusterUnreachable", nil},
		"black-holed": {at(env.BlackHole() + ":6443"), "ClusterUnreachable", nil},
		"certificate": {otherCA, "ClusterUnreachable", []string{"certificate"}},
		"loopback":    {at("127.0.0.1:6443"), "DeploymentFailed", []string{"loopback"}},
		"credentials": {withToken(t, "wrong"), "DeploymentFailed", []string{"401"}},
		"rights":      {withToken(t, poorToken(t)), "DeploymentFailed", []string{"get", "namespaces"}},
	} {
		require.NoError(t, n.Create(t.Context(), kubeconfigSecret(name, []byte(fault.kubeconfig))))
		require.NoError(t, n.Create(t.Context(), syncTarget(name)))
		n.await(name, "Deployed", fault.reason, fault.words...)
		target := n.await(name, "Ready", "AwaitingHeartbeat")
		assert.Equal(t, workloadv1alpha1.PhasePending, target.Status.Phase)
		require.NoError(t, n.Delete(t.Context(), target))
		n.awaitGone(target)
	}
}

// withToken is cluster-1's kubeconfig with another credential.
func withToken(t *testing.T, token string) string {
	t.Helper()
	raw := clientcmd.GetConfigFromFileOrDie(env.ClusterKubeconfig("cluster-1"))
	user := raw.AuthInfos[raw.Contexts[raw.CurrentContext].AuthInfo]
	user.ClientCertificateData, user.ClientKeyData, user.Token = nil, nil, token
	text, err := clientcmd.Write(*raw)
	require.NoError(t, err)
	return string(text)
}

// poorToken belongs to a ServiceAccount of cluster-1 without any rights.
func poorToken(t *testing.T) string {
	t.Helper()
	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: poor, namespace: default}\n", "apply", "-f", "-")
	require.NoError(t, err)
	token, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "create", "token", "poor", "-n", "default")
	require.NoError(t, err)
	return strings.TrimSpace(token)
}

// TestRolloutStuck shows what a rollout is stuck on.
func TestRolloutStuck(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Image: "127.0.0.1:1/no/such:image"}
	require.NoError(t, n.Create(t.Context(), target))
	n.await("edge-1", "Deployed", "RollingOut", "127.0.0.1:1/no/such:image")
	n.await("edge-1", "Ready", "AwaitingHeartbeat")

	change(n, target, func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{NodeSelector: map[string]workloadv1alpha1.LabelValue{"no": "such"}}
	})
	n.await("edge-1", "Deployed", "RollingOut", "node")
	change(n, target, func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer = nil })
	n.await("edge-1", "Deployed", "Deployed")
	n.await("edge-1", "Ready", "Ready")
}

// TestForeignNamespace never takes over what is not ours.
func TestForeignNamespace(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.namespaceOf("edge-1")}}
	require.NoError(t, downstream(t).Create(t.Context(), foreign))
	t.Cleanup(func() { _, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "ns", foreign.Name) })
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
	n.await("edge-1", "Deployed", "DeploymentFailed", foreign.Name, "does not belong")

	require.NoError(t, n.Delete(t.Context(), syncTarget("edge-1")))
	n.awaitGone(syncTarget("edge-1"))
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	assert.Nil(t, foreign.DeletionTimestamp)
	require.NoError(t, downstream(t).Delete(t.Context(), foreign))
}
