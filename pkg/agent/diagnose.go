package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// diagnose says in one sentence what a rollout waits for: the first of the causes, the most telling first, that any
// pod shows. Nothing in it changes while the cause does not.
func (r *rollout) diagnose() string {
	what := describe(&r.deployment)
	if r.deployment.Status.ObservedGeneration < r.deployment.Generation {
		return "the physical cluster has not taken up " + what + " yet"
	}
	image := ""
	if containers := r.deployment.Spec.Template.Spec.Containers; len(containers) > 0 {
		image = containers[0].Image
	}
	for _, message := range []string{
		r.worst(func(p *corev1.Pod) string { return notStarted(p, image) }),
		r.worst(func(p *corev1.Pod) string { return crashing(p, what) }),
		r.notCreated(),
		r.worst(unschedulable),
		r.worst(rejected),
		r.worst(func(p *corev1.Pod) string { return notReady(p, what) }),
	} {
		if message != "" {
			return message
		}
	}
	switch {
	case r.failed:
		return what + " makes no progress; see its events and those of its Pods"
	case len(r.pods) == 0 && !r.blind:
		return what + " has no Pod yet"
	case r.deployment.Status.Replicas > r.deployment.Status.UpdatedReplicas:
		return "waiting for the previous Pod of " + what + " to stop"
	default:
		return what + " is rolling out; if this lasts, see the events of its Pods"
	}
}

// worst is one message of those that the pods give, the same one however the pods are ordered.
func (r *rollout) worst(check func(*corev1.Pod) string) string {
	worst := ""
	for i := range r.pods {
		if message := check(&r.pods[i]); message != "" && (worst == "" || message < worst) {
			worst = message
		}
	}
	return worst
}

// notCreated says why the API server refuses the pods: quota, admission.
func (r *rollout) notCreated() string {
	if r.newest != nil {
		for _, condition := range r.newest.Status.Conditions {
			if condition.Type == appsv1.ReplicaSetReplicaFailure && condition.Status == corev1.ConditionTrue {
				return "the Pod of the syncer cannot be created: " + oneLine(withoutPodName(condition.Message))
			}
		}
	}
	for _, condition := range r.deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return "the Pod of the syncer cannot be created: " + oneLine(withoutPodName(condition.Message))
		}
	}
	return ""
}

// notStarted says why kubelet does not start a container. The reasons are those of k8s.io/kubernetes/pkg/kubelet's
// images and container packages.
func notStarted(pod *corev1.Pod, image string) string {
	for _, container := range containerStatuses(pod) {
		waiting := container.State.Waiting
		if waiting == nil {
			continue
		}
		switch waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "InvalidImageName", "RegistryUnavailable", "SignatureValidationFailed":
			return withDetail(fmt.Sprintf("image %q cannot be pulled", cmp.Or(container.Image, image)), pullFailure(waiting.Message))
		case "", "ContainerCreating", "PodInitializing", "CrashLoopBackOff":
			// Nothing wrong yet, or told by crashing.
		default:
			return withDetail(fmt.Sprintf("the syncer's container cannot be started (%s)", oneLine(waiting.Reason)), oneLine(waiting.Message))
		}
	}
	return ""
}

// crashing recognises a container that ends again and again in each of the states it goes through meanwhile, so that
// the verdict does not come and go with them.
func crashing(pod *corev1.Pod, what string) string {
	for _, container := range containerStatuses(pod) {
		last := container.State.Terminated
		if last == nil {
			last = container.LastTerminationState.Terminated
		}
		if last == nil || container.Ready || container.State.Running != nil && container.RestartCount < 2 {
			// All is well, or a first restart may mend it.
			continue
		}
		ended := fmt.Sprintf("exit code %d", last.ExitCode)
		if last.Reason != "" && last.Reason != "Error" && last.Reason != "Completed" {
			ended += ", " + oneLine(last.Reason)
		}
		return withDetail(fmt.Sprintf("the syncer keeps crashing (%s)", ended), lastWords(last.Message)) + "; see the logs of " + what
	}
	return ""
}

func unschedulable(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return withDetail("no node takes the Pod of the syncer", schedulerWords(condition.Message))
		}
	}
	return ""
}

// rejected tells of a pod that a node turned away or threw out.
func rejected(pod *corev1.Pod) string {
	if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason == "" {
		return ""
	}
	return withDetail(fmt.Sprintf("the Pod of the syncer failed (%s)", oneLine(pod.Status.Reason)), oneLine(pod.Status.Message))
}

func notReady(pod *corev1.Pod, what string) string {
	for _, container := range containerStatuses(pod) {
		if container.State.Running != nil && !container.Ready {
			return "the syncer runs but is not ready; if this lasts, see the logs of " + what
		}
	}
	return ""
}

func containerStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

func withDetail(message, detail string) string {
	if detail = strings.TrimSpace(detail); detail == "" {
		return message
	}
	return message + ": " + detail
}
