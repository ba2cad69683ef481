package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
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

// TestSyncIsFaithful: a copy is what its object says, whatever it said before and whoever changed the copy since. Where it cannot
// be, the object says so, and is not Current.
func TestSyncIsFaithful(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	s.dependsOnNoHistory()
	s.keepsWhatUsersWrite()
	s.restoresWhatIsRemoved()
	s.sharesFields()
	s.saysWhyFirst()
	s.orphansPods()
}

// awaitThere waits until an object of the counterpart is as it should be.
func (s *shop) awaitThere(object client.Object, what string, is func() bool) {
	s.t.Helper()
	s.eventually(what, func() (bool, string) {
		err := s.there.Get(s.t.Context(), client.ObjectKeyFromObject(object), object)
		text, _ := json.Marshal(object)
		return err == nil && is(), fmt.Sprint(err, string(text))
	})
}

// inCounterpart is the key of the copy of an object.
func (s *shop) inCounterpart(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: s.counterpart, Name: name}
}

// dependsOnNoHistory: what the API server has derived from a field goes with it.
func (s *shop) dependsOnNoHistory() {
	s.t.Log("a copy does not depend on what its object said before")
	web := idleDeployment(s.namespace, "web")
	container := &web.Spec.Template.Spec.Containers[0]
	container.LivenessProbe = &corev1.Probe{InitialDelaySeconds: 3600, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}
	web.Spec.Template.Spec.ServiceAccountName = "robot"
	web.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "data"}, Optional: ptr.To(true),
	}}}}
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "robot"}})
	s.create(web)
	s.awaitAvailable(web, 1)
	there := &appsv1.Deployment{ObjectMeta: s.inCounterpart("web")}
	for _, step := range []struct {
		what   string
		change func(*appsv1.Deployment)
		is     func() bool
	}{
		{"the strategy is Recreate, without rollingUpdate", func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, func() bool {
			return there.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && there.Spec.Strategy.RollingUpdate == nil
		}},
		{"and RollingUpdate again, with its defaults", func(d *appsv1.Deployment) { d.Spec.Strategy = appsv1.DeploymentStrategy{} }, func() bool {
			return there.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType && there.Spec.Strategy.RollingUpdate != nil
		}},
		{"the strategy is Recreate once more", func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, func() bool {
			return there.Spec.Strategy.RollingUpdate == nil
		}},
		{"the Pods have the default account", func(d *appsv1.Deployment) { d.Spec.Template.Spec.ServiceAccountName = "" }, func() bool {
			return there.Spec.Template.Spec.ServiceAccountName == "" && there.Spec.Template.Spec.DeprecatedServiceAccount == ""
		}},
		{"the probe is another", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].LivenessProbe.ProbeHandler = corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}
		}, func() bool {
			probe := there.Spec.Template.Spec.Containers[0].LivenessProbe
			return probe.TCPSocket != nil && probe.HTTPGet == nil
		}},
		{"the volume is another", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "data", Optional: ptr.To(true)}}
		}, func() bool {
			volume := there.Spec.Template.Spec.Volumes[0]
			return volume.Secret != nil && volume.ConfigMap == nil
		}},
	} {
		change(s.tenant, web, step.change)
		s.awaitThere(there, step.what, step.is)
	}
	s.awaitReport(web, `"ready":"Current"`)
	assert.NotContains(s.t, web.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)], "refused")

	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "closed"}}
	s.create(policy)
	s.awaitReport(policy, `"ready":"Current"`)
	change(s.tenant, policy, func(p *networkingv1.NetworkPolicy) {
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromInt32(443))}}}}
	})
	limited := &networkingv1.NetworkPolicy{ObjectMeta: s.inCounterpart("closed")}
	s.awaitThere(limited, "egress is restricted too", func() bool { return len(limited.Spec.PolicyTypes) == 2 && len(limited.Spec.Egress) == 1 })
}

// keepsWhatUsersWrite: what a cluster could allocate, and the user has written, is the user's; what the cluster has allocated is told.
func (s *shop) keepsWhatUsersWrite() {
	s.t.Log("what users write is kept, what the cluster allocates is reported")
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: s.namespace, Name: name} }
	port := corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}
	given := &corev1.Service{ObjectMeta: meta("given"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{port}}}
	s.create(given)
	s.awaitReport(given, `"allocated":{`, `"spec.ports[http].nodePort":"3`, `"spec.clusterIP":"`)
	there := &corev1.Service{ObjectMeta: s.inCounterpart("given")}
	require.NoError(s.t, s.there.Get(s.t.Context(), client.ObjectKeyFromObject(there), there))
	nodePort := there.Spec.Ports[0].NodePort
	require.NoError(s.t, s.Delete(s.t.Context(), given))
	s.eventually("its node port is free", func() (bool, string) {
		err := s.there.Get(s.t.Context(), client.ObjectKeyFromObject(there), there)
		return err != nil, fmt.Sprint(err)
	})

	port.NodePort = nodePort
	wanted := &corev1.Service{ObjectMeta: meta("wanted"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{port}}}
	s.create(wanted)
	copied := &corev1.Service{ObjectMeta: s.inCounterpart("wanted")}
	s.awaitThere(copied, "it has the node port that was written", func() bool { return copied.Spec.Ports[0].NodePort == nodePort })
	taken := &corev1.Service{ObjectMeta: meta("taken"), Spec: *wanted.Spec.DeepCopy()}
	s.create(taken)
	s.awaitReport(taken, `"refused":"`, "provided port is already allocated")
	s.awaitWarning(taken, "SyncRefused", "provided port is already allocated")

	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("disk"), Spec: corev1.PersistentVolumeClaimSpec{
		VolumeName: "the-one", StorageClassName: ptr.To(""), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: apiresource.MustParse("1Gi")}},
	}}
	s.create(claim)
	disk := &corev1.PersistentVolumeClaim{ObjectMeta: s.inCounterpart("disk")}
	s.awaitThere(disk, "it names the volume that was written", func() bool { return disk.Spec.VolumeName == "the-one" })
}

// awaitWarning waits for a Warning about an object.
func (s *shop) awaitWarning(object client.Object, reason, words string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("a Warning %s on %s", reason, object.GetName()), func() (bool, string) {
		var events corev1.EventList
		require.NoError(s.t, s.List(s.t.Context(), &events, client.InNamespace(object.GetNamespace())))
		var found []string
		for _, e := range events.Items {
			if e.InvolvedObject.UID != object.GetUID() {
				continue
			}
			if found = append(found, e.Reason+": "+e.Message); e.Reason == reason && e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, words) {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%q", found)
	})
}

// restoresWhatIsRemoved: false, an empty key and an empty label are values like any other.
func (s *shop) restoresWhatIsRemoved() {
	s.t.Log("what is removed from a copy is restored")
	meta := metav1.ObjectMeta{Namespace: s.namespace, Name: "empty", Labels: map[string]string{"empty": ""}}
	account := &corev1.ServiceAccount{ObjectMeta: meta, AutomountServiceAccountToken: ptr.To(false)}
	config := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"empty": ""}}
	web := idleDeployment(s.namespace, "empty")
	web.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
	for _, object := range []client.Object{account, config, web} {
		s.create(object)
		s.awaitReport(object, `"ready":"Current"`)
	}
	remove := func(object client.Object, kind types.PatchType, patch string) {
		s.t.Helper()
		require.NoError(s.t, s.there.Patch(s.t.Context(), object, client.RawPatch(kind, []byte(patch))))
	}
	accountThere := &corev1.ServiceAccount{ObjectMeta: s.inCounterpart("empty")}
	remove(accountThere, types.MergePatchType, `{"automountServiceAccountToken":null}`)
	s.awaitThere(accountThere, "automountServiceAccountToken is false again", func() bool { return accountThere.AutomountServiceAccountToken != nil })

	configThere := &corev1.ConfigMap{ObjectMeta: s.inCounterpart("empty")}
	remove(configThere, types.MergePatchType, `{"data":{"empty":null},"metadata":{"labels":{"empty":null}}}`)
	s.awaitThere(configThere, "the empty key and the empty label are there again", func() bool {
		_, key := configThere.Data["empty"]
		_, label := configThere.Labels["empty"]
		return key && label
	})

	webThere := &appsv1.Deployment{ObjectMeta: s.inCounterpart("empty")}
	remove(webThere, types.JSONPatchType, `[{"op":"remove","path":"/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation"}]`)
	s.awaitThere(webThere, "allowPrivilegeEscalation is false again", func() bool {
		security := webThere.Spec.Template.Spec.Containers[0].SecurityContext
		return security != nil && security.AllowPrivilegeEscalation != nil
	})
}

// sharesFields: a restart by the administrator there and one by the tenant here do not stop the Deployment from being synced.
func (s *shop) sharesFields() {
	s.t.Log("one field in conflict does not hold up the others")
	const restartedAt = "kubectl.kubernetes.io/restartedAt"
	web := idleDeployment(s.namespace, "shared")
	s.create(web)
	s.awaitAvailable(web, 1)
	there := &appsv1.Deployment{ObjectMeta: s.inCounterpart("shared")}
	restart := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:"there"}}}}}`, restartedAt)
	require.NoError(s.t, s.there.Patch(s.t.Context(), there, client.RawPatch(types.MergePatchType, []byte(restart)), client.FieldOwner("kubectl-rollout")))
	change(s.tenant, web, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{restartedAt: "here"}
		d.Spec.MinReadySeconds = 1
	})
	s.awaitThere(there, "the rest is applied", func() bool { return there.Spec.MinReadySeconds == 1 })
	assert.Equal(s.t, "there", there.Spec.Template.Annotations[restartedAt], "what the administrator has set")
	s.awaitReport(web, `"ready":"Differs"`, restartedAt, "kubectl-rollout", workloadv1alpha1.AnnotationTakeOver)
	s.await(s.target.Name, workloadv1alpha1.ConditionSynced, workloadv1alpha1.ReasonNotSynced, "deployments.apps")
	change(s.tenant, web, func(d *appsv1.Deployment) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, workloadv1alpha1.AnnotationTakeOver, "true")
	})
	s.awaitThere(there, "it is taken over on demand", func() bool { return there.Spec.Template.Annotations[restartedAt] == "here" })
	s.awaitReport(web, `"ready":"Current"`)
}

// saysWhyFirst: of a long refusal the reason is told.
func (s *shop) saysWhyFirst() {
	s.t.Log("a refusal begins with the reason")
	template := idleDeployment("", "").Spec.Template
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	for i := range 40 {
		template.Spec.Containers[0].Env = append(template.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("x", 50)})
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "once"}, Spec: batchv1.JobSpec{Template: template}}
	s.create(job)
	s.awaitReport(job, `"ready":"`)
	change(s.tenant, job, func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Env[0].Value = "y" })
	s.awaitReport(job, `"refused":"invalid: spec.template: `, "field is immutable")
	s.awaitWarning(job, "SyncRefused", "field is immutable")
}

// orphansPods: `kubectl delete --cascade=orphan` is the usual way to change what cannot be changed, without downtime.
func (s *shop) orphansPods() {
	s.t.Log("kubectl delete --cascade=orphan leaves the Pods running, and the next StatefulSet adopts them")
	pod := idleDeployment("", "").Spec.Template
	pod.Labels = map[string]string{"app": "db"}
	db := func() *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "db"}, Spec: appsv1.StatefulSetSpec{
			ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod,
		}}
	}
	first := db()
	s.create(first)
	s.awaitReport(first, `"ready":"Current"`)
	running := &corev1.Pod{ObjectMeta: s.inCounterpart("db-0")}
	require.NoError(s.t, s.there.Get(s.t.Context(), client.ObjectKeyFromObject(running), running))
	uid := running.UID

	remove := func(more ...string) {
		s.t.Helper()
		arguments := append([]string{"-n", s.namespace, "delete", "statefulset", "db", "--timeout=60s"}, more...)
		_, err := env.Kubectl(s.t.Context(), s.path.String(), "", arguments...)
		require.NoError(s.t, err)
	}
	runsOn := func() {
		s.t.Helper()
		require.NoError(s.t, s.there.Get(s.t.Context(), client.ObjectKeyFromObject(running), running))
		assert.Equal(s.t, uid, running.UID, "the Pod runs on")
		assert.Nil(s.t, running.DeletionTimestamp, "the Pod runs on")
	}
	remove("--cascade=orphan")
	runsOn()

	next := db()
	next.Spec.PodManagementPolicy = appsv1.ParallelPodManagement // which cannot be changed
	next.Annotations = map[string]string{workloadv1alpha1.AnnotationCascade: "Orphan"}
	s.create(next)
	s.awaitReport(next, `"ready":"Current"`)
	runsOn()
	assert.NotNil(s.t, metav1.GetControllerOf(running), "the Pod is adopted")

	s.t.Log("so does the annotation, for clients that cannot ask for it; --cascade=foreground waits for the Pods")
	remove()
	runsOn()
	last := db()
	s.create(last)
	s.awaitReport(last, `"ready":"Current"`)
	runsOn()
	remove("--cascade=foreground")
	err := s.there.Get(s.t.Context(), client.ObjectKeyFromObject(running), running)
	assert.True(s.t, apierrors.IsNotFound(err), "the Pod has ended before the StatefulSet: %v", err)
}
