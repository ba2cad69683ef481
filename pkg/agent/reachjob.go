package agent

import (
	"cmp"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

const (
	// reachJobName begins the name of the Job.
	reachJobName = "synctarget-check-"
	// reachJobDeadline is how long its Pod may run, in seconds.
	reachJobDeadline = 60
	// reachJobTTL is how long the Job stays if nobody deletes it, in seconds.
	reachJobTTL = 300
)

// SyncerPod returns the Pod that the syncer's Deployment makes, without what only its own Namespace has: ServiceAccount and
// credentials. Its name is generated.
func SyncerPod(c Config, namespace string) *corev1.Pod {
	spec := c.podSpec(cmp.Or(c.Target.Spec.Syncer, &workloadv1alpha1.SyncerSpec{}))
	spec.ServiceAccountName, spec.AutomountServiceAccountToken, spec.Volumes = "", ptr.To(false), nil
	for i := range spec.Containers {
		spec.Containers[i].VolumeMounts = nil
	}
	return &corev1.Pod{
		TypeMeta:   typeMeta("v1", "Pod"),
		ObjectMeta: metav1.ObjectMeta{GenerateName: reachJobName, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/name": "synctarget-check"}},
		Spec:       spec,
	}
}

// ReachJob returns a Job that tries, from inside the physical cluster, whether kcp answers where the syncer looks for it. It runs
// as the syncer does, but needs nothing of what is installed. Its name is generated.
func ReachJob(c Config, namespace string) *batchv1.Job {
	pod := SyncerPod(c, namespace)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	container := &pod.Spec.Containers[0]
	container.Args = []string{"--" + options.FlagCheckKcp + "=" + c.KcpURL}
	container.Env = append(container.Env, corev1.EnvVar{Name: options.EnvCheckKcpCA, Value: string(c.KcpCA)})
	container.Ports, container.LivenessProbe, container.ReadinessProbe, container.StartupProbe = nil, nil, nil, nil
	return &batchv1.Job{
		TypeMeta:   typeMeta(batchv1.SchemeGroupVersion.String(), "Job"),
		ObjectMeta: pod.ObjectMeta,
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](0), ActiveDeadlineSeconds: ptr.To[int64](reachJobDeadline), TTLSecondsAfterFinished: ptr.To[int32](reachJobTTL),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}
