package agent

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Status says how a rollout fares.
type Status struct {
	// Ready: the Deployment is what it should be and all its pods serve.
	Ready bool
	// Message says in a sentence what is waited for, if not Ready.
	Message string
}

// Rollout reads how the syncer's Deployment fares and, if it is stuck, what on.
func Rollout(ctx context.Context, c client.Client, namespace string) (Status, error) {
	deployment := &appsv1.Deployment{TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: DeploymentName}}
	what := describe(deployment)
	found, err := get(ctx, c, deployment, deployment)
	if err != nil {
		return Status{}, err
	}
	if !found {
		return Status{Message: what + " is missing"}, nil
	}
	deployment.TypeMeta = typeMeta("apps/v1", "Deployment")
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(deployment)
	if err != nil {
		return Status{}, fmt.Errorf("encoding %s: %w", what, err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return Status{}, fmt.Errorf("judging %s: %w", what, err)
	}
	if result.Status == status.CurrentStatus {
		return Status{Ready: true}, nil
	}
	for _, condition := range deployment.Status.Conditions {
		// Quotas, admission: the pods are not even created.
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return Status{Message: fmt.Sprintf("%s cannot create pods: %s", what, oneLine(condition.Message))}, nil
		}
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels)); err != nil {
		return Status{}, fmt.Errorf("listing the pods of %s: %w", what, err)
	}
	if stuck := stuckOn(&pods, deployment.Labels[workloadv1alpha1.LabelUID]); stuck != "" {
		return Status{Message: what + ": " + stuck}, nil
	}
	return Status{Message: what + " is rolling out"}, nil
}

// stuckOn says what the pods wait for: the worst that any of them reports.
func stuckOn(pods *corev1.PodList, uid string) string {
	var scheduling, waiting, unready string
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp != nil || pod.Labels[workloadv1alpha1.LabelUID] != uid {
			continue
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable {
				scheduling = "no node takes the pod: " + oneLine(condition.Message)
			}
		}
		for _, container := range pod.Status.ContainerStatuses {
			if message := containerStuckOn(&container); message != "" {
				waiting = message
			} else if container.State.Running != nil && !container.Ready {
				unready = "the syncer runs but is not ready yet; its log says why if this lasts"
			}
		}
	}
	for _, message := range []string{waiting, scheduling, unready} {
		if message != "" {
			return message
		}
	}
	return ""
}

func containerStuckOn(container *corev1.ContainerStatus) string {
	if waiting := container.State.Waiting; waiting != nil {
		switch waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
			return fmt.Sprintf("image %q cannot be pulled (%s); correct spec.syncer.image or its imagePullSecrets", container.Image, pullReason(waiting.Reason))
		case "CrashLoopBackOff":
			return crashed(container.LastTerminationState.Terminated)
		case "", "ContainerCreating", "PodInitializing":
			return ""
		default:
			return fmt.Sprintf("the container cannot start (%s): %s", waiting.Reason, oneLine(waiting.Message))
		}
	}
	if terminated := container.State.Terminated; terminated != nil && terminated.ExitCode != 0 {
		return crashed(terminated)
	}
	return ""
}

// pullReason keeps the message from flapping between the two names of one fault.
func pullReason(reason string) string {
	if reason == "ErrImagePull" {
		return "ImagePullBackOff"
	}
	return reason
}

func crashed(last *corev1.ContainerStateTerminated) string {
	if last == nil {
		return "the syncer keeps crashing; see its log"
	}
	return fmt.Sprintf("the syncer keeps crashing (exit code %d, %s); see its log", last.ExitCode, last.Reason)
}

// oneLine bounds and cleans words that come from the physical cluster.
func oneLine(text string) string {
	const limit = 256
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}
