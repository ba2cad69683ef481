//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
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

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// tenantPrefix begins the name of every workspace of this suite but the provider's.
const tenantPrefix = "bench-tenant-"

// tenant is a workspace that has bound the API.
type tenant struct {
	client.WithWatch
	t           *testing.T
	path        logicalcluster.Path
	clusterName string
	config      *rest.Config
	// stuck: clear has waited in vain once, and does not wait again.
	stuck bool
}

// newTenant makes a workspace and binds the API with the sample's binding.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	path, workspace := kcptesting.NewWorkspaceFixture(t, kcp, core.RootCluster.Path(), func(w *tenancyv1alpha1.Workspace) {
		w.GenerateName = tenantPrefix
		// kcp before v0.32 does not say it, and the harness, which is of v0.32, will not do without.
		w.Annotations = map[string]string{corev1alpha1.LogicalClusterShardAnnotationKey: corev1alpha1.RootShard}
	})
	config := kcpclient.SetCluster(kcp.BaseConfig(t), path)
	c, err := newClient(config)
	require.NoError(t, err)
	n := &tenant{WithWatch: c, t: t, path: path, clusterName: workspace.Spec.Cluster, config: config}
	t.Cleanup(func() { n.clear() })

	binding := &apisv1alpha2.APIBinding{}
	data, err := os.ReadFile("../../config/samples/binding/apibinding.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(data, binding))
	binding.Spec.Reference.Export.Path = service.Workspace
	require.NoError(t, c.Create(t.Context(), binding))
	n.eventually("the API is served", func() (bool, string) {
		err := c.List(t.Context(), &workloadv1alpha1.SyncTargetList{})
		return err == nil, fmt.Sprint(err)
	})
	n.eventually("the APIBinding is bound", func() (bool, string) {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding)
		return err == nil && binding.Status.Phase == apisv1alpha2.APIBindingPhaseBound, fmt.Sprint(err, binding.Status.Phase)
	})
	return n
}

// bindCompute binds the APIs of the workloads.
func (n *tenant) bindCompute() {
	n.t.Helper()
	_, err := env.Kubectl(n.t.Context(), n.path.String(), "", "apply", "-k", env.Repo+"/config/samples/compute")
	require.NoError(n.t, err)
	_, err = env.Kubectl(n.t.Context(), n.path.String(), "", "wait", "apibinding/compute", "--for=condition=Ready", "--timeout=60s")
	require.NoError(n.t, err)
}

func (n *tenant) eventually(what string, condition func() (bool, string)) {
	n.t.Helper()
	n.within(patience, tick, what, condition)
}

// within is eventually with a time limit of its own.
func (n *tenant) within(limit, tick time.Duration, what string, condition func() (bool, string)) {
	n.t.Helper()
	last := ""
	err := wait.PollUntilContextTimeout(n.t.Context(), tick, limit, true, func(context.Context) (ok bool, err error) {
		ok, last = condition()
		return ok, nil
	})
	require.NoError(n.t, err, "waiting until %s: %s", what, last)
}

// clear deletes the SyncTargets and waits until they are gone. Goroutines may call it, and cleanups.
func (n *tenant) clear() {
	if n.stuck {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, tick, true, func(ctx context.Context) (bool, error) {
		var left workloadv1alpha1.SyncTargetList
		if last = n.List(ctx, &left); last != nil || len(left.Items) == 0 {
			return last == nil || apierrors.IsNotFound(last), nil
		}
		if left.Items[0].DeletionTimestamp == nil {
			last = n.DeleteAllOf(ctx, &workloadv1alpha1.SyncTarget{})
		} else {
			last = fmt.Errorf("%d are left", len(left.Items))
		}
		return false, nil
	})
	if err != nil {
		n.stuck = true
		n.t.Errorf("deleting the SyncTargets of %s: %v; %v", n.path, err, last)
	}
}

// clearAll clears many tenants side by side.
func clearAll(tenants []*tenant) {
	var all errgroup.Group
	all.SetLimit(10)
	for _, n := range tenants {
		all.Go(func() error { n.clear(); return nil })
	}
	_ = all.Wait() // each has complained to its test
}

// removeTenants deletes the workspaces of this suite, if there are any, and waits until they are gone.
func removeTenants(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longPatience) // kcp looks less and less often whether a workspace is empty
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", env.KCPKubeconfig())
	if err != nil {
		return err
	}
	root, err := newClient(config)
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		var all tenancyv1alpha1.WorkspaceList
		if last = root.List(ctx, &all); last != nil {
			return false, nil
		}
		left := 0
		for i := range all.Items {
			workspace := &all.Items[i]
			if !strings.HasPrefix(workspace.Name, tenantPrefix) {
				continue
			}
			left++
			if workspace.DeletionTimestamp == nil {
				_ = root.Delete(ctx, workspace) // tried again until it is gone
			}
		}
		last = fmt.Errorf("%d are left", left)
		return left == 0, nil
	})
	if err != nil {
		return fmt.Errorf("removing the workspaces root:%s*: %w; %w", tenantPrefix, err, last)
	}
	return nil
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

// syncTarget is a valid SyncTarget that refers to a Secret.
func syncTarget(name, secret string) *workloadv1alpha1.SyncTarget {
	return &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: "cluster-1", Cells: map[string]workloadv1alpha1.CellValue{"region": "local"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: "default", Name: secret},
		},
	}
}

// downstream is cluster-1, as its administrator.
func downstream(t *testing.T) client.WithWatch {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	c, err := newClient(config)
	require.NoError(t, err)
	return c
}

// newClient makes a client that is never held back by a limit of its own.
func newClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha2.AddToScheme, tenancyv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}
