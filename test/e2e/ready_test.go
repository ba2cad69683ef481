package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// TestBindToReady is the main story: bind, register, Ready, and what the user sees then.
func TestBindToReady(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")

	assert.Equal(t, workloadv1alpha1.PhaseReady, target.Status.Phase)
	assert.Equal(t, target.Generation, target.Status.ObservedGeneration)
	kubeSystem := &corev1.Namespace{}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKey{Name: "kube-system"}, kubeSystem))
	assert.Equal(t, string(kubeSystem.UID), target.Status.ClusterID)
	n.eventually("the syncer reports", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		return target.Status.Syncer != nil, ""
	})
	assert.Equal(t, target.Status.ClusterID, target.Status.Syncer.ClusterID)
	assert.Equal(t, int32(1), target.Status.Syncer.Nodes)
	assert.NotEmpty(t, target.Status.Syncer.KubernetesVersion)
	assert.Contains(t, target.Status.Syncer.Capacity, "cpu")

	require.NotNil(t, target.Status.LastHeartbeatTime)
	first := n.renewed("edge-1")
	n.eventually("the next heartbeat arrives", func() (bool, string) {
		next := n.renewed("edge-1")
		return next.After(first), next.String()
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
	t.Parallel()
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
	lease := &coordinationv1.Lease{}
	require.NoError(t, syncer.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: workloadv1alpha1.HeartbeatLeaseName}, lease))
	for what, err := range map[string]error{
		"get another SyncTarget": syncer.Get(t.Context(), client.ObjectKey{Name: "other"}, &workloadv1alpha1.SyncTarget{}),
		"list SyncTargets":       syncer.List(t.Context(), &workloadv1alpha1.SyncTargetList{}),
		"list Secrets":           syncer.List(t.Context(), &corev1.SecretList{}),
		"get the kubeconfig":     syncer.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &corev1.Secret{}),
		"change its spec":        syncer.Patch(t.Context(), own.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`))),
		"delete itself":          syncer.Delete(t.Context(), own.DeepCopy()),
		"get another Lease":      syncer.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: "other"}, &coordinationv1.Lease{}),
		"get another's Lease":    syncer.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("other"), Name: "syncer"}, &coordinationv1.Lease{}),
		"list Leases":            syncer.List(t.Context(), &coordinationv1.LeaseList{}, client.InNamespace(n.namespaceOf("edge-1"))),
		"delete its Lease":       syncer.Delete(t.Context(), lease.DeepCopy()),
		"create a Namespace":     syncer.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// TestSyncerMetrics: the syncer's metrics are for those whom the physical cluster lets read them.
func TestSyncerMetrics(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.register("edge-1")
	ctx, namespace := t.Context(), n.namespaceOf("edge-1")
	config, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	cluster, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	pods, err := cluster.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	read := func(token string) (int, string) {
		code, body, err := env.PodGet(ctx, "cluster-1", namespace, pods.Items[0].Name, options.DefaultMetricsPort, "/metrics", token)
		require.NoError(t, err)
		return code, string(body)
	}

	// A caller without a name, one without the right, and one with it: a ServiceAccount in a Namespace that ends with the story.
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "monitoring-"}}
	home, err = cluster.CoreV1().Namespaces().Create(ctx, home, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = cluster.CoreV1().Namespaces().Delete(context.Background(), home.Name, metav1.DeleteOptions{})
	})
	token := func(account string) string {
		_, err := cluster.CoreV1().ServiceAccounts(home.Name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
		require.NoError(t, err)
		issued, err := cluster.CoreV1().ServiceAccounts(home.Name).CreateToken(ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		require.NoError(t, err)
		return issued.Status.Token
	}
	reader, other := token("reader"), token("other")
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: home.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: home.Name, UID: home.UID}}},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}
	_, err = cluster.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
	require.NoError(t, err)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "reader", Namespace: home.Name}},
	}
	_, err = cluster.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	require.NoError(t, err)

	code, body := read("")
	assert.Equal(t, http.StatusUnauthorized, code, body)
	code, body = read("nobody")
	assert.Equal(t, http.StatusUnauthorized, code, body)
	code, body = read(other)
	assert.Equal(t, http.StatusForbidden, code, body)
	code, body = read(reader)
	assert.Equal(t, http.StatusOK, code, body)
	assert.Contains(t, body, "synctarget_syncer_heartbeats_total")
}

// TestNoWritesAtRest counts the controller's writes over a minute in which heartbeats arrive. It writes when the last one was.
func TestNoWritesAtRest(t *testing.T) {
	t.Parallel() // it rests all of its time
	n := newTenant(t)
	target := n.register("edge-1")
	s := n.openShop(target, "shop")
	config := s.configMap("config", map[string]string{"a": "1"})
	s.create(config)
	s.awaitReport(config, `"ready":"Current"`)
	n.awaitPlacement(s.placement().Name, "Available", "Available")
	n.await("edge-1", "Synced", "Synced")
	n.eventually("the Namespace says where it runs", func() (bool, string) {
		namespace := &corev1.Namespace{}
		err := n.Get(t.Context(), client.ObjectKey{Name: "shop"}, namespace)
		said := namespace.Annotations[workloadv1alpha1.AnnotationPlacement]
		return err == nil && strings.Contains(said, `"state":"Running"`), said
	})
	// The last Event may still be on its way.
	n.eventually("the Events are written", func() (bool, string) {
		all := strings.Join(n.events(target), "\n")
		return strings.Contains(all, "Normal Ready: ") && strings.Contains(all, "Normal Deployed: ") && strings.Contains(all, "Normal Synced: "), all
	})
	start := time.Now()
	beats := map[int64]bool{}
	for time.Since(start) < time.Minute {
		beats[n.renewed("edge-1").Unix()] = true
		<-time.After(time.Second)
	}
	assert.GreaterOrEqual(t, len(beats), 3, "heartbeats arrive meanwhile")
	n.requireNoControllerWrites(start, "edge-1")
}

// requireNoControllerWrites reads the audit logs of both sides. They must show how the targets were installed: otherwise
// that nothing was written since would prove nothing.
func (n *tenant) requireNoControllerWrites(since time.Time, targets ...string) {
	n.t.Helper()
	var created time.Time
	upstream, downstream := n.controllerWrites(created, targets)
	require.NotEmpty(n.t, upstream, "the audit log of kcp shows the installation")
	require.GreaterOrEqual(n.t, len(downstream), 8*len(targets), "the audit log of cluster-1 shows the installation")
	upstream, downstream = n.controllerWrites(since, targets)
	reports := map[string]int{}
	upstream = slices.DeleteFunc(upstream, func(w framework.Request) bool {
		isReport := w.Resource == "synctargets.workload.kcp.io/status"
		if isReport {
			reports[w.Name]++
		}
		return isReport
	})
	for name, count := range reports {
		assert.LessOrEqual(n.t, count, int(time.Since(since)/time.Minute)+1, "how often the controller wrote status.lastHeartbeatTime of %q", name)
	}
	assert.Empty(n.t, upstream, "what the controller wrote in the workspace")
	assert.Empty(n.t, downstream, "what the controller wrote in the physical cluster")
}

func (n *tenant) controllerWrites(since time.Time, targets []string) (upstream, downstream []framework.Request) {
	n.t.Helper()
	all, err := env.Writes("kcp", since)
	require.NoError(n.t, err)
	for _, w := range all {
		if strings.HasSuffix(w.User, ":synctarget-system:synctarget-controller") && w.Cluster == n.clusterName {
			upstream = append(upstream, w)
		}
	}
	all, err = env.Writes("cluster-1", since)
	require.NoError(n.t, err)
	for _, w := range all {
		if ours := slices.ContainsFunc(targets, func(name string) bool {
			return w.Namespace == n.namespaceOf(name) || w.Name == n.namespaceOf(name)
		}); ours && strings.HasPrefix(w.UserAgent, "synctarget-controller") {
			downstream = append(downstream, w)
		}
	}
	return upstream, downstream
}

// TestSameNameInTwoWorkspaces registers one cluster twice under one name.
func TestSameNameInTwoWorkspaces(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestPullMode installs the syncer by hand, from what the service's own builders print.
func TestPullMode(t *testing.T) {
	t.Parallel()
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
	apply := func(target *workloadv1alpha1.SyncTarget, namespaces ...string) {
		manifests.Reset()
		require.NoError(t, agent.Render(&manifests, agent.Config{
			Target: target, ClusterName: n.clusterName, Image: image,
			KcpURL: env.WorkspaceURL(n.clusterName), KcpCA: n.config.CAData, Token: token.Data["token"], Namespaces: namespaces,
		}))
		_, err := env.ClusterKubectl(t.Context(), "cluster-1", manifests.String(), "apply", "--server-side", "-f", "-")
		require.NoError(t, err)
	}
	apply(pull)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", manifests.String(), "delete", "-f", "-")
	})

	target := n.await("edge-1", "Ready", "Ready")
	n.await("edge-1", "Deployed", "Deployed")
	assert.NotEmpty(t, target.Status.ClusterID, "pinned by the first heartbeat")

	t.Log("a Namespace that is opened is synced once its counterpart is made by hand")
	s := n.openShop(target, "shop")
	apply(target, "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	s.withdraw()
	s.awaitWithdrawn()
	s.awaitNoCopy("config")
	s.requireFree()

	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	requireNothingLeft(t, n, target.Status.Key)
	_, err = env.ClusterKubectl(t.Context(), "cluster-1", manifests.String(), "delete", "-f", "-")
	require.NoError(t, err)
}
