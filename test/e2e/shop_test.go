package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// shop is a Namespace of a tenant that a Placement of its own places on a target, and its counterpart.
type shop struct {
	*tenant
	target *workloadv1alpha1.SyncTarget
	// there is the target's cluster, as its administrator.
	there       client.Client
	namespace   string
	counterpart string
}

// shopIn is a Namespace that is there already.
func (n *tenant) shopIn(target *workloadv1alpha1.SyncTarget, namespace string) *shop {
	n.t.Helper()
	there := clientOf(n.t, env.ClusterKubeconfig(target.Spec.Cluster))
	return &shop{tenant: n, target: target, there: there, namespace: namespace, counterpart: naming.Namespace(target.Status.Key, namespace)}
}

// openShop makes a Namespace and places it on a target.
func (n *tenant) openShop(target *workloadv1alpha1.SyncTarget, namespace string) *shop {
	n.t.Helper()
	s := n.shopIn(target, namespace)
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s.place()
	s.awaitAssigned()
	return s
}

// openShops registers these clusters as edge-1, edge-2 and so on, all at once, and opens shop-1, shop-2 and so on to them.
func (n *tenant) openShops(clusters ...string) []*shop {
	n.t.Helper()
	name := func(i int) string { return fmt.Sprintf("edge-%d", i+1) }
	for i, cluster := range clusters {
		kubeconfig, err := os.ReadFile(env.ClusterKubeconfig(cluster))
		require.NoError(n.t, err)
		target := syncTarget(name(i))
		target.Spec.Cluster = cluster
		require.NoError(n.t, n.Create(n.t.Context(), kubeconfigSecret(name(i), kubeconfig)))
		require.NoError(n.t, n.Create(n.t.Context(), target))
	}
	shops := make([]*shop, 0, len(clusters))
	for i := range clusters {
		n.await(name(i), "Deployed", "Deployed")
		shops = append(shops, n.openShop(n.await(name(i), "Ready", "Ready"), fmt.Sprintf("shop-%d", i+1)))
	}
	return shops
}

// placement places the Namespace on the target.
func (s *shop) placement() *workloadv1alpha1.Placement {
	return &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-on-" + s.target.Name},
		Spec: workloadv1alpha1.PlacementSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
			ClusterAffinity:   &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{s.target.Name}},
		},
	}
}

// place makes the Placement of the Namespace.
func (s *shop) place() {
	s.t.Helper()
	s.create(s.placement())
}

// withdraw deletes the Placement of the Namespace, which waits for no cluster.
func (s *shop) withdraw() {
	s.t.Helper()
	placement := s.placement()
	require.NoError(s.t, s.Delete(s.t.Context(), placement))
	s.awaitGone(placement)
}

// assignment is the Assignment of the Namespace to the target, nil if there is none.
func (s *shop) assignment() (*workloadv1alpha1.Assignment, error) {
	var list workloadv1alpha1.AssignmentList
	if err := s.List(s.t.Context(), &list, client.InNamespace(s.namespaceOf(s.target.Name))); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Spec.Namespace.Name == s.namespace {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// awaitAssigned waits until the syncer has its rights in the Namespace.
func (s *shop) awaitAssigned() {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Namespace %s is admitted on %s", s.namespace, s.target.Name), func() (bool, string) {
		a, err := s.assignment()
		if err != nil || a == nil {
			return false, fmt.Sprint("no Assignment: ", err, s.placementStatus())
		}
		return a.Spec.Intent == workloadv1alpha1.IntentRun && meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted),
			fmt.Sprint(a.Spec, a.Status.Conditions)
	})
}

// placementStatus is what the Placement of the Namespace says.
func (s *shop) placementStatus() string {
	placement := s.placement()
	if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(placement), placement); err != nil {
		return err.Error()
	}
	return fmt.Sprint(placement.Status.Conditions, placement.Status.Namespaces)
}

// awaitWithdrawn waits until the Namespace has no Assignment to the target.
func (s *shop) awaitWithdrawn() {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Namespace %s is withdrawn from %s", s.namespace, s.target.Name), func() (bool, string) {
		a, err := s.assignment()
		if err != nil || a == nil {
			return err == nil, fmt.Sprint(err)
		}
		return false, fmt.Sprint(a.Spec, a.Status.Conditions)
	})
}

// awaitLeft waits until a Namespace has no Assignment any more, the syncer's rights are taken back and the counterpart is gone.
func (s *shop) awaitLeft() {
	s.t.Helper()
	s.awaitWithdrawn()
	assert.Empty(s.t, s.grants(), "the syncer's rights in Namespace %s", s.namespace)
	s.awaitNoNamespace(s.counterpart)
}

// awaitNoNamespace waits until the physical cluster has no such Namespace.
func (s *shop) awaitNoNamespace(name string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Namespace %s is gone from the physical cluster", name), func() (bool, string) {
		err := s.there.Get(s.t.Context(), client.ObjectKey{Name: name}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// grants are the RoleBindings that let the syncer into the Namespace.
func (s *shop) grants() []rbacv1.RoleBinding {
	s.t.Helper()
	var list rbacv1.RoleBindingList
	require.NoError(s.t, s.List(s.t.Context(), &list, client.InNamespace(s.namespace), client.MatchingLabels{workloadv1alpha1.LabelKey: s.target.Status.Key}))
	// In the Namespace of the identity, another binding lets the syncer renew its Lease.
	return slices.DeleteFunc(list.Items, func(b rbacv1.RoleBinding) bool { return !strings.HasSuffix(b.RoleRef.Name, ":sync") })
}

func (s *shop) configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: data}
}

func (s *shop) create(object client.Object) {
	s.t.Helper()
	require.NoError(s.t, s.Create(s.t.Context(), object))
}

// copyOf reads the copy of a ConfigMap.
func (s *shop) copyOf(name string) (*corev1.ConfigMap, error) {
	c := &corev1.ConfigMap{}
	return c, s.there.Get(s.t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: name}, c)
}

// patchCopy changes a ConfigMap of the counterpart by hand, with a merge patch, and returns what it has become.
func (s *shop) patchCopy(name, patch string) *corev1.ConfigMap {
	s.t.Helper()
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.counterpart, Name: name}}
	require.NoError(s.t, s.there.Patch(s.t.Context(), c, client.RawPatch(types.MergePatchType, []byte(patch))))
	return c
}

// uids are those of the copies of ConfigMaps, by name.
func (s *shop) uids() map[string]types.UID {
	s.t.Helper()
	var list corev1.ConfigMapList
	require.NoError(s.t, s.there.List(s.t.Context(), &list, client.InNamespace(s.counterpart), client.MatchingLabels{workloadv1alpha1.LabelKey: s.target.Status.Key}))
	uids := map[string]types.UID{}
	for _, c := range list.Items {
		uids[c.Name] = c.UID
	}
	return uids
}

// awaitCopy waits until the copy of a ConfigMap holds just this.
func (s *shop) awaitCopy(name string, data map[string]string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("the copy of ConfigMap %s holds %v", name, data), func() (bool, string) {
		c, err := s.copyOf(name)
		return err == nil && maps.Equal(c.Data, data), fmt.Sprint(c.Data, err)
	})
}

func (s *shop) awaitNoCopy(name string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("there is no copy of ConfigMap %s", name), func() (bool, string) {
		_, err := s.copyOf(name)
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// awaitReport waits until the report on an object holds these words.
func (s *shop) awaitReport(object client.Object, words ...string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s tells %q", object.GetName(), words), func() (bool, string) {
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return false, err.Error()
		}
		report := object.GetAnnotations()[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)]
		return containsAll(report, words), report
	})
}

func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// requireFree fails if an object of the Namespace still carries anything of ours.
func (s *shop) requireFree() {
	s.t.Helper()
	var list corev1.ConfigMapList
	require.NoError(s.t, s.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
	for _, c := range list.Items {
		assert.Empty(s.t, c.Finalizers, c.Name)
		assert.NotContains(s.t, c.Annotations, workloadv1alpha1.SyncAnnotation(s.target.Status.Key), c.Name)
	}
}

// bindCompute gives the workspace Deployments and the other workload APIs.
func (n *tenant) bindCompute() {
	n.t.Helper()
	_, err := env.Kubectl(n.t.Context(), n.path.String(), "", "apply", "-k", env.Repo+"/config/samples/compute")
	require.NoError(n.t, err)
	_, err = env.Kubectl(n.t.Context(), n.path.String(), "", "wait", "apibinding/compute", "--for=condition=Ready", "--timeout=60s")
	require.NoError(n.t, err)
}

// killSyncer kills the pods of a target's syncer, without giving them time for anything.
func (n *tenant) killSyncer(name string) {
	n.t.Helper()
	_, err := env.ClusterKubectl(n.t.Context(), n.cluster, "", "-n", n.namespaceOf(name), "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
	require.NoError(n.t, err)
}
