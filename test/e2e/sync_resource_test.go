package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncOfEveryDefaultResource: what every workspace can have travels, as far as the two schemas are concerned, and
// fares as it would if it had been made in the physical cluster.
func TestSyncOfEveryDefaultResource(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	for _, r := range workloadv1alpha1.DefaultSyncedResources() {
		s.awaitTold(r.Resource, "accepted without reserve", func(r workloadv1alpha1.SyncedResourceStatus) bool {
			return r.State == workloadv1alpha1.ResourceAccepted && r.Message == ""
		})
	}

	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	labels := map[string]string{"app": "other"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: idleDeployment("", "").Spec.Template.Spec}
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
		{&corev1.PersistentVolumeClaim{ObjectMeta: meta("disk"), Spec: claim}, []string{`"ready":"InProgress"`}},
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

	runsOnce(s, run)
	furnishesAccount(s)

	t.Log("replicas that an autoscaler sets stay")
	scaled := idleDeployment("shop", "scaled")
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
	s.awaitReport(scaled, `"ready":"Differs"`, `spec.replicas is owned by \"autoscaler\"`, workloadv1alpha1.AnnotationTakeOver)
	change(n, scaled, func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{workloadv1alpha1.AnnotationTakeOver: "true"}
	})
	s.eventually("they are taken over on demand", func() (bool, string) {
		require.NoError(t, s.there.Get(t.Context(), client.ObjectKeyFromObject(there), there))
		return *there.Spec.Replicas == 1, fmt.Sprint(*there.Spec.Replicas)
	})
}

// runsOnce: a Job that has ended is not run again by whoever clears it away in the physical cluster.
func runsOnce(s *shop, run corev1.PodTemplateSpec) {
	t := s.t
	t.Log("a Job that has ended is not run again")
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "short"}, Spec: batchv1.JobSpec{
		Template: run, ActiveDeadlineSeconds: ptr.To[int64](1), TTLSecondsAfterFinished: ptr.To[int32](0),
	}}
	s.create(job)
	s.awaitReport(job, `"ready":"Failed"`)
	there := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.counterpart, Name: "short"}}
	require.NoError(t, s.there.Get(t.Context(), client.ObjectKeyFromObject(there), there), "no other has cleared it away")
	require.NoError(t, s.there.Delete(t.Context(), there, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	s.awaitReport(job, `"ready":"Failed"`, "runs once")
	assert.Empty(t, job.Finalizers, "there is no copy to hold it for")
	assert.True(t, apierrors.IsNotFound(s.there.Get(t.Context(), client.ObjectKeyFromObject(there), there)), "it is not made anew")
}

// furnishesAccount: what a workspace's ServiceAccount "default" names for its Pods is there for them, beside what is the
// cluster's own, and as long as it is wanted.
func furnishesAccount(s *shop) {
	t := s.t
	t.Log("the ServiceAccount of a Namespace is shared")
	name := client.ObjectKey{Namespace: s.counterpart, Name: "default"}
	before, there := &corev1.ServiceAccount{}, &corev1.ServiceAccount{}
	s.eventually("the cluster has made it", func() (bool, string) {
		err := s.there.Get(t.Context(), name, before)
		return err == nil, fmt.Sprint(err)
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "default"}}
	s.eventually("the workspace has made its own", func() (bool, string) {
		err := s.Get(t.Context(), client.ObjectKeyFromObject(account), account)
		return err == nil, fmt.Sprint(err)
	})
	change(s.tenant, account, func(a *corev1.ServiceAccount) { a.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}} })
	s.awaitReport(account, `"ready":"Current"`)
	require.NoError(t, s.there.Get(t.Context(), name, there))
	assert.Equal(t, account.ImagePullSecrets, there.ImagePullSecrets)

	change(s.tenant, account, func(a *corev1.ServiceAccount) { a.ImagePullSecrets = nil })
	s.eventually("it is held no longer", func() (bool, string) {
		require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(account), account))
		return len(account.Finalizers) == 0, fmt.Sprint(account.Finalizers)
	})
	require.NoError(t, s.there.Get(t.Context(), name, there))
	assert.Empty(t, there.ImagePullSecrets)
	assert.Empty(t, there.Labels, "nothing of ours is left on it")
	assert.Equal(t, before.UID, there.UID, "it is given back, not deleted")
}
