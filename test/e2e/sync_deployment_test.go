package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/test/framework"
)

// TestSyncOfDeployment: the workload that everybody means runs in the physical cluster, mounts what it needs, scales, and
// reports upstream in terms of what the user wrote.
func TestSyncOfDeployment(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "password"}, StringData: map[string]string{"p": "x"}})
	web := mounting(idleDeployment("shop", "web"))
	s.create(web)
	s.awaitAvailable(web, 1)

	t.Log("kubectl tells of the rollout as in any cluster")
	change(n, web, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
	s.kubectl("", "rollout", "status", "deployment/web", "--timeout=100s")
	s.awaitAvailable(web, 2)
	change(n, web, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"again": "true"} })
	s.kubectl("", "rollout", "status", "deployment/web", "--timeout=100s")
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

	s.runsWithKubectl()

	require.NoError(t, s.Delete(t.Context(), web))
	s.awaitGone(web)
	s.eventually("the copy is gone", func() (bool, string) {
		err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "web"}, &appsv1.Deployment{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// runsWithKubectl makes Deployments as users do, and waits for them as users do.
func (s *shop) runsWithKubectl() {
	t := s.t
	t.Log("kubectl creates and scales as in any cluster")
	s.kubectl("", "create", "deployment", "made", "--image="+framework.PauseImage)
	s.kubectl("", "wait", "deployment/made", "--for=condition=Available", "--timeout=100s")
	s.kubectl("", "scale", "deployment/made", "--replicas=2")
	s.kubectl("", "rollout", "status", "deployment/made", "--timeout=100s")
	s.awaitAvailable(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "made"}}, 2)

	t.Log("two owners of one Deployment bring a container each")
	for _, owner := range []string{"left", "right"} {
		s.kubectl(fmt.Sprintf(sharedDeployment, owner, framework.PauseImage), "apply", "--server-side", "--field-manager="+owner, "-f", "-")
	}
	s.kubectl("", "rollout", "status", "deployment/shared", "--timeout=100s")
	s.kubectl("", "wait", "deployment/shared", "--for=condition=Available", "--timeout=100s")
	shared := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "shared"}}
	s.awaitAvailable(shared, 1)
	assert.Equal(t, []string{"left", "right"}, containersOf(shared), "in the workspace")
	there := &appsv1.Deployment{}
	require.NoError(t, s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "shared"}, there))
	assert.Equal(t, []string{"left", "right"}, containersOf(there), "in the physical cluster")
}

const sharedDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shared}
spec:
  selector: {matchLabels: {app: shared}}
  template:
    metadata: {labels: {app: shared}}
    spec: {containers: [{name: %q, image: %q}]}
`

// containersOf are the names of a Deployment's containers, sorted.
func containersOf(d *appsv1.Deployment) []string {
	var names []string
	for _, c := range d.Spec.Template.Spec.Containers {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// kubectl runs in the Namespace, and has to succeed.
func (s *shop) kubectl(stdin string, args ...string) {
	s.t.Helper()
	_, err := env.Kubectl(s.t.Context(), s.path.String(), stdin, append([]string{"-n=" + s.namespace}, args...)...)
	require.NoError(s.t, err)
}

// idleDeployment runs one pod that does nothing.
func idleDeployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers:                    []corev1.Container{{Name: "idle", Image: framework.PauseImage}},
				},
			},
		},
	}
}

// mounting has a Deployment mount ConfigMap config and Secret password, without which its pods do not start.
func mounting(d *appsv1.Deployment) *appsv1.Deployment {
	pod := &d.Spec.Template.Spec
	pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "password", MountPath: "/password"}}
	pod.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}},
		{Name: "password", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password"}}},
	}
	return d
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
