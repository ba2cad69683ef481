package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
	"github.com/synctarget/synctarget/test/framework"
)

// shop is a Namespace of a tenant that is opened to a target, and its counterpart.
type shop struct {
	*tenant
	target      *workloadv1alpha1.SyncTarget
	there       client.Client
	namespace   string
	counterpart string
}

// openShop makes a Namespace and opens it to a target.
func (n *tenant) openShop(target *workloadv1alpha1.SyncTarget, namespace string) *shop {
	n.t.Helper()
	s := &shop{tenant: n, target: target, there: downstream(n.t), namespace: namespace, counterpart: mapping.Namespace(target.Status.Key, namespace)}
	require.NoError(n.t, n.Create(n.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{workloadv1alpha1.StateLabel(target.Status.Key): workloadv1alpha1.StateSync},
	}}))
	s.awaitState(workloadv1alpha1.NamespaceOpen)
	return s
}

// awaitState waits for the Namespace's state in the SyncTarget's status; empty is for none.
func (s *shop) awaitState(want workloadv1alpha1.NamespaceState) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Namespace %s is %q", s.namespace, want), func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		for _, n := range target.Status.Namespaces {
			if n.Name == s.namespace {
				return n.State == want, string(n.State) + " " + n.Message
			}
		}
		return want == "", "not listed"
	})
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
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(report, w) }), report
	})
}

// TestSyncDown: what is in an opened Namespace is in the physical cluster, as far as it is the user's to say.
func TestSyncDown(t *testing.T) {
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	admin := s.there

	config := s.configMap("config", map[string]string{"a": "1", "b": "2"})
	s.create(config)
	s.awaitCopy("config", map[string]string{"a": "1", "b": "2"})
	s.awaitReport(config, `"ready":"Current"`)
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "password"}, StringData: map[string]string{"p": "x"}})
	s.eventually("the Secret is there too", func() (bool, string) {
		err := admin.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "password"}, &corev1.Secret{})
		return err == nil, fmt.Sprint(err)
	})

	t.Log("a field that is removed upstream disappears, one of another owner stays")
	c, err := s.copyOf("config")
	require.NoError(t, err)
	c.Data["theirs"] = "stays"
	require.NoError(t, admin.Update(t.Context(), c, client.FieldOwner("somebody")))
	change(n, config, func(c *corev1.ConfigMap) { c.Data = map[string]string{"b": "3"} })
	s.awaitCopy("config", map[string]string{"b": "3", "theirs": "stays"})

	t.Log("a conflict is told by manager and field, and taken over on demand")
	change(n, config, func(c *corev1.ConfigMap) { c.Data["theirs"] = "mine" })
	s.awaitReport(config, "somebody", ".data.theirs", workloadv1alpha1.AnnotationTakeOver)
	c, err = s.copyOf("config")
	require.NoError(t, err)
	assert.Equal(t, "stays", c.Data["theirs"], "nothing is overwritten by force")
	change(n, config, func(c *corev1.ConfigMap) {
		c.Annotations[workloadv1alpha1.AnnotationTakeOver] = "true"
	})
	s.awaitCopy("config", map[string]string{"b": "3", "theirs": "mine"})
	s.awaitReport(config, `"ready":"Current"`)

	t.Log("an object that is not ours is left alone, and said to be in the way")
	require.NoError(t, admin.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.counterpart, Name: "foreign"}, Data: map[string]string{"theirs": "1"}}))
	foreign := s.configMap("foreign", map[string]string{"ours": "1"})
	s.create(foreign)
	s.awaitReport(foreign, "is not a copy", workloadv1alpha1.AnnotationAdopt)
	s.awaitCopy("foreign", map[string]string{"theirs": "1"})

	t.Log("what is opted out goes, what is deleted goes, what is deleted by hand comes back")
	s.create(s.configMap("kept", map[string]string{"a": "1"}))
	s.create(s.configMap("deleted", nil))
	for _, name := range []string{"kept", "deleted"} {
		s.eventually("there is a copy of "+name, func() (bool, string) { _, err := s.copyOf(name); return err == nil, fmt.Sprint(err) })
	}
	change(n, config, func(c *corev1.ConfigMap) { c.Labels = map[string]string{workloadv1alpha1.LabelSync: "false"} })
	s.awaitNoCopy("config")
	s.eventually("the object that was opted out is free of us", func() (bool, string) {
		require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(config), config))
		return len(config.Finalizers) == 0 && config.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)] == "", fmt.Sprint(config.Finalizers, config.Annotations)
	})
	require.NoError(t, s.Delete(t.Context(), s.configMap("deleted", nil)))
	s.awaitGone(s.configMap("deleted", nil))
	s.awaitNoCopy("deleted")
	c, err = s.copyOf("kept")
	require.NoError(t, err)
	require.NoError(t, admin.Delete(t.Context(), c))
	s.eventually("another copy is made", func() (bool, string) {
		again, err := s.copyOf("kept")
		return err == nil && again.UID != c.UID, fmt.Sprint(err)
	})

	t.Log("a Namespace that is closed is left, but for what is not ours")
	change(n, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, func(ns *corev1.Namespace) {
		delete(ns.Labels, workloadv1alpha1.StateLabel(s.target.Status.Key))
	})
	s.awaitState("")
	s.awaitNoCopy("kept")
	s.awaitCopy("foreign", map[string]string{"theirs": "1"})
	s.requireFree()

	t.Log("and can be opened again")
	change(n, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, func(ns *corev1.Namespace) {
		ns.Labels[workloadv1alpha1.StateLabel(s.target.Status.Key)] = workloadv1alpha1.StateSync
	})
	s.awaitState(workloadv1alpha1.NamespaceOpen)
	s.awaitCopy("kept", map[string]string{"a": "1"})
	require.NoError(t, s.Delete(t.Context(), s.target))
	s.awaitGone(s.target)
	requireNothingLeft(t, admin, s.target.Status.Key)
	s.requireFree()
	s.awaitCopy("foreign", map[string]string{"theirs": "1"})
	require.NoError(t, admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.counterpart}}))
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

// TestSyncOfTwoWorkspaces: equal names of workspaces that share a cluster do not meet, nor can the one's syncer read
// what the other, or another Namespace, holds.
func TestSyncOfTwoWorkspaces(t *testing.T) {
	one, two := newTenant(t), newTenant(t)
	shops := []*shop{one.openShop(one.register("edge-1"), "shop"), two.openShop(two.register("edge-1"), "shop")}
	for i, s := range shops {
		s.create(s.configMap("config", map[string]string{"of": fmt.Sprint(i)}))
	}
	for i, s := range shops {
		s.awaitCopy("config", map[string]string{"of": fmt.Sprint(i)})
	}
	require.NoError(t, one.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "private"}}))

	secret := &corev1.Secret{}
	require.NoError(t, one.Get(t.Context(), client.ObjectKey{Namespace: one.namespaceOf("edge-1"), Name: "syncer-token"}, secret))
	config := rest.AnonymousClientConfig(one.config)
	config.BearerToken = string(secret.Data["token"])
	syncer, err := client.New(config, client.Options{Scheme: newScheme(t)})
	require.NoError(t, err)
	require.NoError(t, syncer.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("shop")), "what is opened to it")
	for _, namespace := range []string{"private", "default", one.namespaceOf("edge-1"), ""} {
		assert.True(t, apierrors.IsForbidden(syncer.List(t.Context(), &corev1.SecretList{}, client.InNamespace(namespace))), "Secrets in Namespace %q", namespace)
	}
	assert.True(t, apierrors.IsForbidden(syncer.Delete(t.Context(), shops[0].configMap("config", nil))), "it deletes nothing upstream")

	require.NoError(t, one.Delete(t.Context(), shops[0].target))
	one.awaitGone(shops[0].target)
	shops[0].awaitNoCopy("config")
	shops[1].awaitCopy("config", map[string]string{"of": "1"})
}

// TestSyncOfTwoTargets: what is opened to the one is closed to the other, on both sides.
func TestSyncOfTwoTargets(t *testing.T) {
	n := newTenant(t)
	one, two := n.openShop(n.register("edge-1"), "shop-1"), n.openShop(n.register("edge-2"), "shop-2")
	for _, s := range []*shop{one, two} {
		s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "password"}, StringData: map[string]string{"p": "x"}})
		s.eventually("the Secret is there", func() (bool, string) {
			err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "password"}, &corev1.Secret{})
			return err == nil, fmt.Sprint(err)
		})
	}
	token := &corev1.Secret{}
	require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: "syncer-token"}, token))
	up := rest.AnonymousClientConfig(n.config)
	up.BearerToken = string(token.Data["token"])
	down, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	down.Impersonate.UserName = "system:serviceaccount:" + n.namespaceOf("edge-1") + ":syncer"
	for side, c := range map[string]struct {
		config      *rest.Config
		own, others string
	}{
		"workspace":        {up, "shop-1", "shop-2"},
		"physical cluster": {down, one.counterpart, two.counterpart},
	} {
		syncer, err := client.New(c.config, client.Options{Scheme: newScheme(t)})
		require.NoError(t, err)
		require.NoError(t, syncer.List(t.Context(), &corev1.SecretList{}, client.InNamespace(c.own)), side)
		for _, list := range []client.ObjectList{&corev1.SecretList{}, &corev1.ConfigMapList{}} {
			assert.True(t, apierrors.IsForbidden(syncer.List(t.Context(), list, client.InNamespace(c.others))), "%T in the %s", list, side)
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"p":null}}`))
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.others, Name: "password"}}
		assert.True(t, apierrors.IsForbidden(syncer.Patch(t.Context(), other, patch)), "a write in the %s", side)
	}
}

// TestSyncOfEveryDefaultResource: what every workspace can have travels, as far as the two schemas are concerned, and
// fares as it would if it had been made in the physical cluster.
func TestSyncOfEveryDefaultResource(t *testing.T) {
	n := newTenant(t)
	_, err := env.Kubectl(t.Context(), n.path.String(), "", "apply", "-k", env.Repo+"/config/samples/compute")
	require.NoError(t, err)
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "wait", "apibinding/compute", "--for=condition=Ready", "--timeout=60s")
	require.NoError(t, err)
	s := n.openShop(n.register("edge-1"), "shop")
	for _, r := range workloadv1alpha1.DefaultSyncedResources() {
		s.awaitResource(r.Resource, workloadv1alpha1.ResourceAccepted, "")
	}

	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	labels := map[string]string{"app": "other"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: idleDeployment("", "").Spec.Template.Spec}
	pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts = nil, nil
	run := *pod.DeepCopy()
	run.Spec.RestartPolicy = corev1.RestartPolicyNever
	port := []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	claim := corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: apiresource.MustParse("1Gi")}}}
	for _, tc := range []struct {
		object client.Object
		words  []string
	}{
		{&corev1.ServiceAccount{ObjectMeta: meta("robot")}, []string{`"ready":"Current"`}},
		{&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: labels, Ports: port}}, []string{`"ready":"Current"`}},
		{&corev1.PersistentVolumeClaim{ObjectMeta: meta("disk"), Spec: claim}, []string{`"ready":"InProgress"`, "PVC is not Bound"}},
		{&appsv1.StatefulSet{ObjectMeta: meta("db"), Spec: appsv1.StatefulSetSpec{ServiceName: "web", Selector: selector, Template: pod}}, []string{`"ready":"Current"`}},
		{&appsv1.DaemonSet{ObjectMeta: meta("agent"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: pod}}, []string{`"ready":"Current"`}},
		{&batchv1.Job{ObjectMeta: meta("once"), Spec: batchv1.JobSpec{Template: run}}, []string{`"ready":"Current"`}},
		{&batchv1.CronJob{ObjectMeta: meta("daily"), Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: run}}}}, []string{`"ready":"Current"`}},
		{&networkingv1.Ingress{ObjectMeta: meta("entry"), Spec: networkingv1.IngressSpec{DefaultBackend: &backend}}, []string{`"ready":"Current"`}},
		{&networkingv1.NetworkPolicy{ObjectMeta: meta("closed"), Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}}, []string{`"ready":"Current"`}},
	} {
		s.create(tc.object)
		s.awaitReport(tc.object, tc.words...)
	}
	job := &batchv1.Job{}
	s.eventually("the Job runs, and says so upstream", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "once"}, job))
		return job.Status.Active == 1, fmt.Sprintf("%+v", job.Status)
	})
	service := &corev1.Service{}
	require.NoError(t, s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "web"}, service))
	assert.NotEmpty(t, service.Spec.ClusterIP, "the physical cluster gave it an address")

	t.Log("replicas that an autoscaler sets stay")
	scaled := idleDeployment("shop", "scaled")
	scaled.Spec.Replicas, scaled.Spec.Template.Spec = nil, pod.Spec
	s.create(scaled)
	there := &appsv1.Deployment{}
	s.eventually("the Deployment is there", func() (bool, string) {
		err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "scaled"}, there)
		return err == nil, fmt.Sprint(err)
	})
	require.NoError(t, s.there.SubResource("scale").Patch(t.Context(), there.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":2}}`)), client.FieldOwner("autoscaler")))
	change(n, scaled, func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 1 })
	s.eventually("the change has travelled", func() (bool, string) {
		require.NoError(t, s.there.Get(t.Context(), client.ObjectKeyFromObject(there), there))
		return there.Spec.MinReadySeconds == 1, fmt.Sprint(there.Spec.MinReadySeconds)
	})
	assert.Equal(t, int32(2), *there.Spec.Replicas)
	s.awaitReport(scaled, `"ready":"Current"`, "spec.replicas is 2 in the physical cluster", workloadv1alpha1.AnnotationTakeOver)
	change(n, scaled, func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{workloadv1alpha1.AnnotationTakeOver: "true"}
	})
	s.eventually("they are taken over on demand", func() (bool, string) {
		require.NoError(t, s.there.Get(t.Context(), client.ObjectKeyFromObject(there), there))
		return *there.Spec.Replicas == 1, fmt.Sprint(*there.Spec.Replicas)
	})
}

// TestSyncOfCustomResource: a custom resource that both sides define travels down, its status comes up, and what the
// physical cluster refuses is told on the object.
func TestSyncOfCustomResource(t *testing.T) {
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), widgetDefinition(100)))
	admin := downstream(t)
	// What a rule says is in no schema that one could compare.
	stricter := widgetDefinition(100, map[string]any{"rule": "self.size <= 10", "message": "size must be 10 at most here"})
	require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), stricter)))
	t.Cleanup(func() { _ = admin.Delete(context.Background(), widgetDefinition(100)) })

	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{
		{Group: "example.com", Resource: "widgets"}, {Group: "rbac.authorization.k8s.io", Resource: "roles"},
	}
	require.NoError(t, n.Create(t.Context(), target))
	n.await("edge-1", "Deployed", "Deployed")
	s := n.openShop(n.await("edge-1", "Ready", "Ready"), "shop")

	good := widget("shop", "good", 5)
	n.eventually("the workspace serves widgets", func() (bool, string) {
		err := n.Create(t.Context(), good)
		return err == nil, fmt.Sprint(err)
	})
	there := widget(s.counterpart, "good", 0)
	s.eventually("the copy is there", func() (bool, string) {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return err == nil, fmt.Sprint(err)
	})
	require.NoError(t, unstructured.SetNestedField(there.Object, "spinning", "status", "state"))
	require.NoError(t, unstructured.SetNestedField(there.Object, there.GetGeneration(), "status", "observedGeneration"))
	require.NoError(t, admin.Status().Update(t.Context(), there))
	s.eventually("the status is upstream", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(good), good))
		state, _, _ := unstructured.NestedString(good.Object, "status", "state")
		observed, _, _ := unstructured.NestedInt64(good.Object, "status", "observedGeneration")
		return state == "spinning" && observed == good.GetGeneration(), fmt.Sprint(good.Object["status"])
	})

	bad := widget("shop", "bad", 50)
	s.create(bad)
	s.awaitReport(bad, "refused", "spec", "size must be 10 at most here")
	s.awaitResource("widgets", workloadv1alpha1.ResourceAccepted, "")
	s.awaitResource("roles", workloadv1alpha1.ResourceForbidden, "never synced")

	t.Log("definitions that contradict each other are told by field, on the SyncTarget and on each object, and harm no other resource")
	change(n, widgetDefinition(0), func(crd *unstructured.Unstructured) { crd.Object["spec"] = widgetDefinition(1000).Object["spec"] })
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = append(st.Spec.SyncedResources, workloadv1alpha1.GroupResource{Resource: "configmaps"})
	})
	s.awaitResource("widgets", workloadv1alpha1.ResourceIncompatible, "spec.size: maximum 1000 in the workspace, maximum 100 in the physical cluster")
	huge := widget("shop", "huge", 500)
	s.eventually("a widget that nobody below could take", func() (bool, string) {
		err := n.Create(t.Context(), huge)
		return err == nil, fmt.Sprint(err)
	})
	s.awaitReport(huge, "refused", "Incompatible", "spec.size: maximum 1000")
	require.Empty(t, huge.GetFinalizers())
	s.create(s.configMap("early", map[string]string{"a": "1"}))
	s.awaitCopy("early", map[string]string{"a": "1"})
	require.NoError(t, n.Delete(t.Context(), huge))
	s.awaitGone(huge)

	t.Log("a definition that is deleted in the physical cluster holds nothing back")
	require.NoError(t, admin.Delete(t.Context(), widgetDefinition(100)))
	s.awaitResource("widgets", workloadv1alpha1.ResourceMissing, "install its CustomResourceDefinition")
	s.awaitReport(good, "refused", "Missing", "install its CustomResourceDefinition")
	require.NoError(t, n.Delete(t.Context(), bad))
	s.awaitGone(bad)
	s.eventually("the definition is back", func() (bool, string) {
		err := admin.Create(t.Context(), widgetDefinition(1000))
		return err == nil, fmt.Sprint(err)
	})
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = append(st.Spec.SyncedResources, workloadv1alpha1.GroupResource{Resource: "secrets"})
	})
	s.awaitResource("widgets", workloadv1alpha1.ResourceAccepted, "")
	s.eventually("the widget has a copy again", func() (bool, string) {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return err == nil, fmt.Sprint(err)
	})

	t.Log("a resource that is no longer named is left")
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}}
	})
	s.eventually("the widget is free, and its copy gone", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(good), good))
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return len(good.GetFinalizers()) == 0 && apierrors.IsNotFound(err), fmt.Sprint(good.GetFinalizers(), err)
	})
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	s.requireFree()
}

// awaitResource waits until the SyncTarget tells this of a resource.
func (s *shop) awaitResource(resource string, want workloadv1alpha1.SyncedResourceState, words string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s are %s", resource, want), func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		for _, r := range target.Status.SyncedResources {
			if r.Resource == resource {
				return r.State == want && strings.Contains(r.Message, words), fmt.Sprintf("%+v", r)
			}
		}
		return false, "it tells nothing"
	})
}

// widgetDefinition limits spec.size, by its schema and by rules.
func widgetDefinition(limit int64, rules ...any) *unstructured.Unstructured {
	size := map[string]any{"type": "object", "properties": map[string]any{"size": map[string]any{"type": "integer", "maximum": limit}}}
	if len(rules) > 0 {
		size["x-kubernetes-validations"] = rules
	}
	schema := map[string]any{
		"type": "object",
		"properties": map[string]any{
			"spec":   size,
			"status": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "widgets.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": schema},
				"subresources": map[string]any{"status": map[string]any{}},
			}},
		},
	}}
}

func widget(namespace, name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"size": size},
	}}
}

// TestSyncOfDeployment: the workload that everybody means runs in the physical cluster, mounts what it needs, scales, and
// reports upstream in terms of what the user wrote.
func TestSyncOfDeployment(t *testing.T) {
	n := newTenant(t)
	_, err := env.Kubectl(t.Context(), n.path.String(), "", "apply", "-k", env.Repo+"/config/samples/compute")
	require.NoError(t, err)
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "wait", "apibinding/compute", "--for=condition=Ready", "--timeout=60s")
	require.NoError(t, err)
	s := n.openShop(n.register("edge-1"), "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "password"}, StringData: map[string]string{"p": "x"}})
	web := idleDeployment("shop", "web")
	s.create(web)
	s.awaitAvailable(web, 1)

	t.Log("kubectl tells of the rollout as in any cluster")
	change(n, web, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "-n=shop", "rollout", "status", "deployment/web", "--timeout=100s")
	require.NoError(t, err)
	s.awaitAvailable(web, 2)
	change(n, web, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"again": "true"} })
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "-n=shop", "rollout", "status", "deployment/web", "--timeout=100s")
	require.NoError(t, err)
	pods := &corev1.PodList{}
	require.NoError(t, s.there.List(t.Context(), pods, client.InNamespace(s.counterpart), client.MatchingLabels{"app": "web"}))
	assert.NotEmpty(t, pods.Items)
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			assert.Equal(t, "true", pod.Annotations["again"], "rolled")
		}
	}

	t.Log("what cannot run is said on the object, in the words of the cluster's controllers")
	stuck := idleDeployment("shop", "stuck")
	stuck.Spec.Template.Spec.Containers[0].Image = "synctarget.local/absent:1"
	stuck.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
	s.create(stuck)
	s.awaitReport(stuck, `"ready":"Failed"`)
	s.eventually("the Warnings of its Pods are on the Deployment", func() (bool, string) {
		var events corev1.EventList
		if err := n.List(t.Context(), &events, client.InNamespace("shop")); err != nil {
			return false, err.Error()
		}
		var all []string
		found := false
		for _, event := range events.Items {
			all = append(all, event.InvolvedObject.Kind+" "+event.InvolvedObject.Name+": "+event.Reason+": "+event.Message)
			found = found || event.InvolvedObject.UID == stuck.UID && event.Type == corev1.EventTypeWarning && strings.Contains(event.Message, "synctarget.local/absent:1")
		}
		return found, strings.Join(all, "\n")
	})

	require.NoError(t, s.Delete(t.Context(), web))
	s.awaitGone(web)
	s.eventually("the copy is gone", func() (bool, string) {
		err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "web"}, &appsv1.Deployment{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// idleDeployment runs one pod that does nothing, with a ConfigMap and a Secret mounted.
func idleDeployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	mounts := []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "password", MountPath: "/password"}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers:                    []corev1.Container{{Name: "idle", Image: framework.PauseImage, VolumeMounts: mounts}},
					Volumes: []corev1.Volume{
						{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}},
						{Name: "password", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password"}}},
					},
				},
			},
		},
	}
}

// awaitAvailable waits until a Deployment's own status, upstream, tells of so many available replicas.
func (s *shop) awaitAvailable(d *appsv1.Deployment, replicas int32) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Deployment %s has %d available replicas", d.Name, replicas), func() (bool, string) {
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
			return false, err.Error()
		}
		return d.Status.AvailableReplicas == replicas && d.Status.Replicas == replicas && d.Status.ObservedGeneration == d.Generation,
			fmt.Sprintf("%+v %v", d.Status, d.Annotations)
	})
}

// TestSyncerIsKilled: killed at random during 200 changes, the syncer converges; nothing is lost and nothing left over.
func TestSyncerIsKilled(t *testing.T) {
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	ctx := t.Context()
	want, kills := map[string]map[string]string{}, 0
	for i := range 200 {
		if rand.IntN(12) == 0 {
			kills++
			_, err := env.ClusterKubectl(ctx, "cluster-1", "", "-n", n.namespaceOf("edge-1"), "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
			require.NoError(t, err)
		}
		name := fmt.Sprintf("c-%d", rand.IntN(40))
		switch _, exists := want[name]; {
		case !exists:
			want[name] = map[string]string{"at": fmt.Sprint(i)}
			n.eventually(name+" is created", func() (bool, string) { // an earlier one of the name may still be going
				err := s.Create(ctx, s.configMap(name, want[name]))
				return err == nil, fmt.Sprint(err)
			})
		case rand.IntN(3) == 0:
			require.NoError(t, s.Delete(ctx, s.configMap(name, nil)))
			delete(want, name)
		default:
			want[name] = map[string]string{"at": fmt.Sprint(i)}
			change(n, s.configMap(name, nil), func(c *corev1.ConfigMap) { c.Data = maps.Clone(want[name]) })
		}
	}
	t.Logf("killed %d times", kills)
	s.awaitExactly(want)
}

// awaitExactly waits until the copies of ConfigMaps are these and no others.
func (s *shop) awaitExactly(want map[string]map[string]string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("there are %d copies", len(want)), func() (bool, string) {
		var list corev1.ConfigMapList
		if err := s.there.List(s.t.Context(), &list, client.InNamespace(s.counterpart), client.MatchingLabels{workloadv1alpha1.LabelKey: s.target.Status.Key}); err != nil {
			return false, err.Error()
		}
		got := map[string]map[string]string{}
		for _, c := range list.Items {
			got[c.Name] = c.Data
		}
		return maps.EqualFunc(got, want, maps.Equal[map[string]string, map[string]string]), fmt.Sprintf("%d copies: %v", len(got), got)
	})
}

// TestSyncThroughPartition cuts the cluster off for longer than the threshold. What was deleted meanwhile goes, what was
// not stays and is not even made anew.
func TestSyncThroughPartition(t *testing.T) {
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	for _, name := range []string{"stays", "goes"} {
		s.create(s.configMap(name, map[string]string{"a": "1"}))
		s.awaitCopy(name, map[string]string{"a": "1"})
	}
	before, err := s.copyOf("stays")
	require.NoError(t, err)

	require.NoError(t, env.Partition(t.Context(), "cluster-1"))
	t.Cleanup(func() { _ = env.Heal(context.Background(), "cluster-1") })
	require.NoError(t, s.Delete(t.Context(), s.configMap("goes", nil)))
	s.create(s.configMap("comes", map[string]string{"a": "1"}))
	n.await("edge-1", "Ready", "Unhealthy")
	goes := s.configMap("goes", nil)
	require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(goes), goes), "it is held while its copy exists")

	require.NoError(t, env.Heal(t.Context(), "cluster-1"))
	n.await("edge-1", "Ready", "Ready")
	s.awaitExactly(map[string]map[string]string{"stays": {"a": "1"}, "comes": {"a": "1"}})
	s.awaitGone(goes)
	after, err := s.copyOf("stays")
	require.NoError(t, err)
	assert.Equal(t, before.UID, after.UID)
	assert.Equal(t, before.ResourceVersion, after.ResourceVersion, "what was right is not written again")
}

// TestDeleteTargetWithCopies: by policy the copies go or stay, and nothing of ours is left on the user's objects.
func TestDeleteTargetWithCopies(t *testing.T) {
	n := newTenant(t)
	deleting, orphaning, dead := n.openShop(n.register("edge-1"), "shop-1"), n.openShop(n.register("edge-2"), "shop-2"), n.openShop(n.register("edge-3"), "shop-3")
	for _, s := range []*shop{deleting, orphaning, dead} {
		s.create(s.configMap("config", map[string]string{"a": "1"}))
		s.awaitCopy("config", map[string]string{"a": "1"})
	}
	change(n, syncTarget("edge-2"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.DeletionPolicy = workloadv1alpha1.DeletionPolicyOrphan })
	none := int32(0)
	change(n, syncTarget("edge-3"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: &none} })
	n.eventually("no syncer runs for edge-3", func() (bool, string) {
		var pods corev1.PodList
		err := dead.there.List(t.Context(), &pods, client.InNamespace(n.namespaceOf("edge-3")))
		return err == nil && len(pods.Items) == 0, fmt.Sprint(len(pods.Items), err)
	})
	for _, s := range []*shop{deleting, orphaning, dead} {
		require.NoError(t, n.Delete(t.Context(), s.target))
	}
	for _, s := range []*shop{deleting, orphaning, dead} {
		n.awaitGone(s.target)
		s.requireFree()
	}
	for _, s := range []*shop{deleting, dead} {
		// Past the deadline, which this suite has before the threshold, Namespaces that are on their way out are not waited for.
		for _, namespace := range []string{s.counterpart, n.namespaceOf(s.target.Name)} {
			s.eventually("Namespace "+namespace+" is gone", func() (bool, string) {
				err := s.there.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{})
				return apierrors.IsNotFound(err), fmt.Sprint(err)
			})
		}
		requireNothingLeft(t, s.there, s.target.Status.Key)
		requireNothingLeft(t, n, s.target.Status.Key)
	}
	c, err := orphaning.copyOf("config")
	require.NoError(t, err)
	for name := range c.Labels {
		assert.False(t, strings.HasPrefix(name, workloadv1alpha1.GroupName), "label %s is left", name)
	}
	for name := range c.Annotations {
		assert.False(t, strings.HasPrefix(name, workloadv1alpha1.GroupName), "annotation %s is left", name)
	}
	requireNothingLeft(t, orphaning.there, orphaning.target.Status.Key)
	require.NoError(t, orphaning.there.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: orphaning.counterpart}}))
}

// TestDeleteWorkspaceWithCopies: a workspace that is deleted takes the syncer's identity along with everything else, and
// still neither a finalizer nor a copy is left, even if the syncer has no time to do its part.
func TestDeleteWorkspaceWithCopies(t *testing.T) {
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	for i := range 20 {
		s.create(s.configMap(fmt.Sprintf("config-%d", i), map[string]string{"a": "1"}))
	}
	s.awaitCopy("config-19", map[string]string{"a": "1"})
	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "-n", n.namespaceOf("edge-1"), "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
	require.NoError(t, err)

	root := kcpRoot(t)
	workspace := &tenancyv1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Name: n.path.Base()}}
	require.NoError(t, root.Delete(t.Context(), workspace))
	n.eventually("the workspace is gone", func() (bool, string) {
		err := root.Get(t.Context(), client.ObjectKeyFromObject(workspace), workspace)
		return apierrors.IsNotFound(err), fmt.Sprint(workspace.Status.Conditions)
	})
	requireNothingLeft(t, s.there, s.target.Status.Key)
	_, err = s.copyOf("config-0")
	assert.True(t, apierrors.IsNotFound(err), "a copy: %v", err)
}
