package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// mendedWithin is the promise for what somebody changes by hand in the physical cluster.
const mendedWithin = time.Minute

// TestDriftIsMended deletes and changes by hand what the controller installed.
func TestDriftIsMended(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	cluster := downstream(t)

	before := installed(t, cluster, target.Status.Key)
	require.Len(t, before, 8, "all but the Namespace")
	start := time.Now()
	for _, object := range before {
		require.NoError(t, cluster.Delete(t.Context(), object))
	}
	n.eventually("everything is back", func() (bool, string) {
		var missing []string
		after := installed(t, cluster, target.Status.Key)
		for name, object := range before {
			if now := after[name]; now == nil || now.GetUID() == object.GetUID() {
				missing = append(missing, name)
			}
		}
		return len(missing) == 0, fmt.Sprint(missing)
	})
	assert.Less(t, time.Since(start), mendedWithin)
	t.Logf("8 deleted objects were back after %s", time.Since(start).Round(100*time.Millisecond))
	n.await("edge-1", "Deployed", "Deployed")

	name := types.NamespacedName{Namespace: n.namespaceOf("edge-1"), Name: agent.DeploymentName}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name.Namespace}}
	require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(role), role))
	rules := role.Rules
	start = time.Now()
	require.NoError(t, cluster.Patch(t.Context(), role, client.RawPatch(types.MergePatchType, []byte(`{"rules": null}`))))
	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "-n", name.Namespace, "patch", "deployment", name.Name, "--type=json",
		`-p=[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "synctarget.local/other:1"}]`)
	require.NoError(t, err)
	deployment := &appsv1.Deployment{}
	n.eventually("rules and image are back", func() (bool, string) {
		require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(role), role))
		require.NoError(t, cluster.Get(t.Context(), name, deployment))
		image := deployment.Spec.Template.Spec.Containers[0].Image
		return len(role.Rules) == len(rules) && image != "synctarget.local/other:1", fmt.Sprint(role.Rules, image)
	})
	assert.Less(t, time.Since(start), mendedWithin)

	// The whole Namespace takes as long to be gone as its pods.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name.Namespace}}
	require.NoError(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace))
	old := namespace.UID
	require.NoError(t, cluster.Delete(t.Context(), namespace))
	n.eventually("the Namespace is back with everything in it", func() (bool, string) {
		err := cluster.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
		found := len(installed(t, cluster, target.Status.Key))
		return err == nil && namespace.UID != old && found == 8, fmt.Sprint(err, found)
	})
	n.await("edge-1", "Deployed", "Deployed")
	n.await("edge-1", "Ready", "Ready")
}

// TestDriftIsReported deletes by hand what the syncer sees and the controller does not: what gives the syncer its rights, then the
// ServiceAccount, with which every Pod of it loses its token.
func TestDriftIsReported(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	n.openShop(target, "shop")
	cluster := downstream(t)
	n.eventually("the syncer reports its installation", func() (bool, string) {
		target = n.await("edge-1", "Ready", "Ready")
		return target.Status.InstallationHash != "", ""
	})
	for _, step := range []struct {
		what    string
		deletes func(client.Object) bool
	}{
		{"roles, bindings and Secret", func(object client.Object) bool {
			switch object.(type) {
			case *appsv1.Deployment, *corev1.ServiceAccount:
				return false
			}
			return true
		}},
		{"ServiceAccount", func(object client.Object) bool {
			_, isAccount := object.(*corev1.ServiceAccount)
			return isAccount
		}},
	} {
		before := installed(t, cluster, target.Status.Key)
		maps.DeleteFunc(before, func(_ string, object client.Object) bool { return !step.deletes(object) })
		start := time.Now()
		for _, object := range before {
			require.NoError(t, cluster.Delete(t.Context(), object))
		}
		n.eventually(step.what+": everything is back", func() (bool, string) {
			var missing []string
			after := installed(t, cluster, target.Status.Key)
			for name, object := range before {
				if now := after[name]; now == nil || now.GetUID() == object.GetUID() {
					missing = append(missing, name)
				}
			}
			return len(missing) == 0, fmt.Sprint(missing)
		})
		assert.Less(t, time.Since(start), mendedWithin, step.what)
		t.Logf("%s: %d deleted objects were back after %s", step.what, len(before), time.Since(start).Round(100*time.Millisecond))
		n.eventually(step.what+": the syncer, with its rights, reports the change", func() (bool, string) {
			now := n.await("edge-1", "Deployed", "Deployed").Status.InstallationHash
			return now != target.Status.InstallationHash, now
		})
		target = n.await("edge-1", "Ready", "Ready")
	}
}

// installed is what carries a target's key in the cluster, by kind and name, but for the Namespace.
func installed(t *testing.T, c client.Client, key string) map[string]client.Object {
	t.Helper()
	found := map[string]client.Object{}
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &corev1.ServiceAccountList{}, &corev1.SecretList{},
		&rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
	} {
		require.NoError(t, c.List(t.Context(), list, client.MatchingLabels{workloadv1alpha1.LabelKey: key}))
		require.NoError(t, meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			found[fmt.Sprintf("%T %s/%s", object, object.GetNamespace(), object.GetName())] = object
			return nil
		}))
	}
	return found
}

// TestSettingsRollOut changes a setting of the syncer, and takes it back.
func TestSettingsRollOut(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.register("edge-1")
	cluster := downstream(t)
	name := types.NamespacedName{Namespace: n.namespaceOf("edge-1"), Name: agent.DeploymentName}
	verbose := func() bool {
		deployment := &appsv1.Deployment{}
		require.NoError(t, cluster.Get(t.Context(), name, deployment))
		return strings.Contains(strings.Join(deployment.Spec.Template.Spec.Containers[0].Args, " "), "--log-level=4")
	}
	for _, level := range []*int32{ptr.To[int32](4), nil} {
		change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
			st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{LogLevel: level}
		})
		n.eventually("the log level rolls out", func() (bool, string) { return verbose() == (level != nil), "" })
		n.await("edge-1", "Deployed", "Deployed")
	}
}

// logLevel is the change of a setting that rolls out.
func logLevel(level int32) func(*workloadv1alpha1.SyncTarget) {
	return func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{LogLevel: ptr.To(level)}
	}
}
