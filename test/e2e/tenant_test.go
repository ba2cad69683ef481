package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kcpclient "github.com/kcp-dev/apimachinery/v2/pkg/client"
	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	"github.com/kcp-dev/sdk/apis/core"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	kcptesting "github.com/kcp-dev/sdk/testing"
	kcptestinghelpers "github.com/kcp-dev/sdk/testing/helpers"
	kcptestingserver "github.com/kcp-dev/sdk/testing/server"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// patience is for everything that should take seconds; a test that runs into it has failed.
	patience = 2 * time.Minute
	tick     = 500 * time.Millisecond
)

// tenant is a workspace that has bound the API.
type tenant struct {
	client.Client
	t *testing.T
	// cluster is the physical cluster that register registers.
	cluster     string
	path        logicalcluster.Path
	clusterName string
	config      *rest.Config
}

func newScheme(t *testing.T) *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha2.AddToScheme, tenancyv1alpha1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	return scheme
}

// kcpServer is the environment's kcp for kcp's test harness. SharedKcpServer would do, but it asks for kcp's health ten
// times a second for each story, and stories restart kcp.
func kcpServer(t *testing.T) kcptestingserver.RunningServer {
	t.Helper()
	server, err := kcptestingserver.NewExternalKCPServer("main", env.KCPKubeconfig(), map[string]string{"root": env.KCPKubeconfig()}, "")
	require.NoError(t, err)
	return server
}

// newWorkspace is a tenant that has not bound the API yet.
func newWorkspace(t *testing.T) *tenant {
	t.Helper()
	server := kcpServer(t)
	path, workspace := kcptesting.NewWorkspaceFixture(t, server, core.RootCluster.Path(), onRootShard)
	config := kcpclient.SetCluster(rest.CopyConfig(server.BaseConfig(t)), path)
	c, err := client.New(config, client.Options{Scheme: newScheme(t)})
	require.NoError(t, err)
	n := &tenant{Client: c, t: t, cluster: "cluster-1", path: path, clusterName: workspace.Spec.Cluster, config: config}
	t.Cleanup(func() {
		if t.Failed() {
			n.dump()
		}
	})
	return n
}

// newTenant makes a workspace and binds the API with the sample's binding, which mutate may change first.
func newTenant(t *testing.T, mutate ...func(*apisv1alpha2.APIBinding)) *tenant {
	t.Helper()
	n := newWorkspace(t)
	binding := sampleBinding(t)
	for _, m := range mutate {
		m(binding)
	}
	require.NoError(t, n.Create(t.Context(), binding))
	n.eventually("the APIBinding is ready", func() (bool, string) {
		if err := n.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
			return false, err.Error()
		}
		return binding.Status.Phase == apisv1alpha2.APIBindingPhaseBound, string(binding.Status.Phase)
	})
	n.eventually("the API is served", func() (bool, string) {
		err := n.List(t.Context(), &workloadv1alpha1.SyncTargetList{})
		return err == nil, fmt.Sprint(err)
	})
	return n
}

// onRootShard says what kcp before v0.32 does not: this harness is of v0.32 and will not do without.
func onRootShard(workspace *tenancyv1alpha1.Workspace) {
	workspace.Annotations = map[string]string{corev1alpha1.LogicalClusterShardAnnotationKey: corev1alpha1.RootShard}
}

func sampleBinding(t *testing.T) *apisv1alpha2.APIBinding {
	t.Helper()
	data, err := os.ReadFile("../../config/samples/binding/apibinding.yaml")
	require.NoError(t, err)
	binding := &apisv1alpha2.APIBinding{}
	require.NoError(t, yaml.UnmarshalStrict(data, binding))
	binding.Spec.Reference.Export.Path = providerWorkspace
	return binding
}

func (n *tenant) eventually(what string, condition func() (bool, string)) {
	n.t.Helper()
	kcptestinghelpers.Eventually(n.t, condition, patience, tick, "waiting until %s", what)
}

// deleteWorkspace deletes the whole workspace.
func (n *tenant) deleteWorkspace() {
	n.t.Helper()
	require.NoError(n.t, kcpRoot(n.t).Delete(n.t.Context(), &tenancyv1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Name: n.path.Base()}}))
}

// awaitEmptied waits until a workspace that is being deleted holds no SyncTarget and no Namespace any more, or is gone. For
// its end kcp is not waited for: it looks again at one that was held up after up to minutes, by the backoff of its queue.
func (n *tenant) awaitEmptied() {
	n.t.Helper()
	root, workspace := kcpRoot(n.t), &tenancyv1alpha1.Workspace{}
	n.eventually("the workspace is empty", func() (bool, string) {
		if err := root.Get(n.t.Context(), client.ObjectKey{Name: n.path.Base()}, workspace); apierrors.IsNotFound(err) {
			return true, ""
		}
		var targets workloadv1alpha1.SyncTargetList
		var namespaces corev1.NamespaceList
		noTargets, noNamespaces := n.List(n.t.Context(), &targets), n.List(n.t.Context(), &namespaces)
		// With its binding, the API of SyncTargets goes.
		empty := (noTargets == nil || apierrors.IsNotFound(noTargets)) && len(targets.Items) == 0 && noNamespaces == nil && len(namespaces.Items) == 0
		return empty, fmt.Sprint(len(targets.Items), noTargets, len(namespaces.Items), noNamespaces, workspace.Status.Conditions)
	})
}

// dump prints what a failed test leaves, while it is still there.
func (n *tenant) dump() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var targets workloadv1alpha1.SyncTargetList
	if err := n.List(ctx, &targets); err != nil {
		n.t.Logf("listing the SyncTargets of %s: %v", n.path, err)
	}
	for i := range targets.Items {
		targets.Items[i].ManagedFields = nil
		text, _ := yaml.Marshal(&targets.Items[i])
		n.t.Logf("SyncTarget in %s:\n%s", n.path, text)
		namespace := n.namespaceOf(targets.Items[i].Name)
		cluster := "cluster-1"
		if slices.Contains(env.Clusters(), targets.Items[i].Spec.Cluster) {
			cluster = targets.Items[i].Spec.Cluster
		}
		said, err := env.ClusterKubectl(ctx, cluster, "", "-n", namespace, "logs", "deployment/"+agent.DeploymentName, "--tail=50")
		n.t.Logf("its syncer: %v\n%s", err, said)
	}
}

// physical is the tenant's physical cluster, as its administrator.
func (n *tenant) physical() client.Client {
	n.t.Helper()
	return clientOf(n.t, env.ClusterKubeconfig(n.cluster))
}

// kubeconfigSecret is a Secret as the samples have it.
func kubeconfigSecret(name string, kubeconfig []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"}},
		Data:       map[string][]byte{"kubeconfig": kubeconfig},
	}
}

// clusterKubeconfig is cluster-1's administrator.
func clusterKubeconfig(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	return data
}

// syncTarget is a valid SyncTarget that refers to the Secret of the same name.
func syncTarget(name string) *workloadv1alpha1.SyncTarget {
	return &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: "cluster-1", Cells: map[string]workloadv1alpha1.CellValue{"region": "local"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: "default", Name: name},
		},
	}
}

// register creates a Secret with the cluster's kubeconfig and a SyncTarget, and waits until it is Ready and Deployed.
func (n *tenant) register(name string) *workloadv1alpha1.SyncTarget {
	n.t.Helper()
	return n.registerAll(n.cluster, name)[0]
}

// registerAll is register of several SyncTargets for one cluster, all at once.
func (n *tenant) registerAll(cluster string, names ...string) (targets []*workloadv1alpha1.SyncTarget) {
	n.t.Helper()
	kubeconfig, err := os.ReadFile(env.ClusterKubeconfig(cluster))
	require.NoError(n.t, err)
	for _, name := range names {
		require.NoError(n.t, n.Create(n.t.Context(), kubeconfigSecret(name, kubeconfig)))
		target := syncTarget(name)
		target.Spec.Cluster = cluster
		require.NoError(n.t, n.Create(n.t.Context(), target))
	}
	for _, name := range names {
		n.await(name, "Deployed", "Deployed")
		targets = append(targets, n.await(name, "Ready", "Ready"))
	}
	return targets
}

// await waits until a condition has a reason and, if any are given, its message holds these words.
func (n *tenant) await(name, conditionType, reason string, words ...string) *workloadv1alpha1.SyncTarget {
	n.t.Helper()
	return n.awaitStatus(name, conditionType, statusWith(conditionType, reason), reason, words...)
}

// awaitStatus is await of a condition with this status.
func (n *tenant) awaitStatus(name, conditionType string, status metav1.ConditionStatus, reason string, words ...string) *workloadv1alpha1.SyncTarget {
	n.t.Helper()
	target := &workloadv1alpha1.SyncTarget{}
	n.eventually(fmt.Sprintf("SyncTarget %s has %s=%s %q", name, conditionType, reason, words), func() (bool, string) {
		if err := n.Get(n.t.Context(), client.ObjectKey{Name: name}, target); err != nil {
			return false, err.Error()
		}
		condition := meta.FindStatusCondition(target.Status.Conditions, conditionType)
		if condition == nil {
			return false, "no such condition yet"
		}
		ok := condition.Reason == reason && condition.ObservedGeneration == target.Generation &&
			condition.Status == status
		for _, word := range words {
			ok = ok && strings.Contains(condition.Message, word)
		}
		return ok, fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
	})
	return target
}

// statusWith is the status that goes with a reason.
func statusWith(conditionType, reason string) metav1.ConditionStatus {
	switch {
	case reason == conditionType, reason == workloadv1alpha1.ReasonSecretTerminating, reason == workloadv1alpha1.ReasonRolloutHalted:
		return metav1.ConditionTrue
	case reason == workloadv1alpha1.ReasonClusterUnreachable, reason == workloadv1alpha1.ReasonHealthCheckFailed,
		conditionType == workloadv1alpha1.ConditionDeployed && reason == workloadv1alpha1.ReasonValidationFailed:
		return metav1.ConditionUnknown
	default:
		return metav1.ConditionFalse
	}
}

// change updates an object by a function, over conflicts with the controller's own writes.
func change[T client.Object](n *tenant, object T, mutate func(T)) {
	n.t.Helper()
	n.eventually("the change is accepted", func() (bool, string) {
		if err := n.Get(n.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return false, err.Error()
		}
		mutate(object)
		err := n.Update(n.t.Context(), object)
		if err != nil && !apierrors.IsConflict(err) {
			require.NoError(n.t, err)
		}
		return err == nil, fmt.Sprint(err)
	})
}

// awaitGone waits until an object is not found.
func (n *tenant) awaitGone(object client.Object) {
	n.t.Helper()
	n.awaitGoneWithin(patience, object)
}

// awaitGoneWithin is awaitGone of what takes its time.
func (n *tenant) awaitGoneWithin(d time.Duration, object client.Object) {
	n.t.Helper()
	kcptestinghelpers.Eventually(n.t, func() (bool, string) {
		err := n.Get(n.t.Context(), client.ObjectKeyFromObject(object), object)
		return apierrors.IsNotFound(err), fmt.Sprintf("%v, finalizers %q", err, object.GetFinalizers())
	}, d, tick, "waiting until %T %s is gone", object, object.GetName())
}

// downstream is cluster-1, as its administrator.
func downstream(t *testing.T) client.Client {
	t.Helper()
	return clientOf(t, env.ClusterKubeconfig("cluster-1"))
}

// namespaceOf is where a target's syncer lives, and its identity.
func (n *tenant) namespaceOf(name string) string {
	return workloadv1alpha1.SyncerNamespace(name, workloadv1alpha1.Key(n.clusterName, name))
}

// renewTime is when a target's syncer last renewed its Lease, by the syncer's clock; zero if it never did.
func (n *tenant) renewTime(name string) (time.Time, error) {
	var lease coordinationv1.Lease
	err := n.Get(n.t.Context(), client.ObjectKey{Namespace: n.namespaceOf(name), Name: workloadv1alpha1.HeartbeatLeaseName}, &lease)
	if err != nil || lease.Spec.RenewTime == nil {
		return time.Time{}, err
	}
	return lease.Spec.RenewTime.Time, nil
}

// renewed is renewTime of a target whose Lease must be there.
func (n *tenant) renewed(name string) time.Time {
	n.t.Helper()
	renewed, err := n.renewTime(name)
	require.NoError(n.t, err)
	return renewed
}

// requireNothingLeft fails if anything of a target is left on a side.
func requireNothingLeft(t *testing.T, c client.Client, key string) {
	t.Helper()
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.ServiceAccountList{}, &corev1.SecretList{}, &coordinationv1.LeaseList{},
		&rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
	} {
		require.NoError(t, c.List(t.Context(), list, client.MatchingLabels{workloadv1alpha1.LabelKey: key}))
		items, err := meta.ExtractList(list)
		require.NoError(t, err)
		for _, item := range items {
			t.Errorf("left behind: %T %s", item, item.(client.Object).GetName())
		}
	}
}

// events returns the reasons of the Events on a target.
func (n *tenant) events(target *workloadv1alpha1.SyncTarget) []string {
	var events corev1.EventList
	if err := n.List(n.t.Context(), &events); err != nil {
		return []string{err.Error()}
	}
	var reasons []string
	for _, event := range events.Items {
		if event.InvolvedObject.UID == target.UID {
			reasons = append(reasons, event.Type+" "+event.Reason+": "+event.Message)
		}
	}
	return reasons
}

func clientOf(t *testing.T, kubeconfig string) client.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: newScheme(t)})
	require.NoError(t, err)
	return c
}
