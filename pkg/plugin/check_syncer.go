package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
)

// admissionFindings have the server check, without creating anything, a Deployment and a Pod like the syncer's.
func admissionFindings(ctx context.Context, cluster *connection, config agent.Config, namespace string) []finding {
	pod := agent.SyncerPod(config, namespace)
	deployment := &appsv1.Deployment{
		ObjectMeta: pod.ObjectMeta,
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: *pod.Spec.DeepCopy()},
		},
	}
	objects := []client.Object{deployment}
	// The service needs no right to create Pods, and to its own kubeconfig the answer would say nothing about policies.
	rights := []authorizationv1.ResourceAttributes{{Namespace: namespace, Resource: "pods", Verb: "create"}}
	if missing, err := missingRights(ctx, cluster, rights); err == nil && len(missing) == 0 {
		objects = append(objects, pod)
	}
	var out []finding
	for _, object := range objects {
		err := cluster.Create(ctx, object, client.DryRunAll, client.FieldOwner(fieldOwner))
		out = append(out, admissionFinding(cluster.kind(object), namespace, err))
	}
	return out
}

// admissionFinding judges the answer of the server to an object like the syncer's.
func admissionFinding(kind, namespace string, err error) finding {
	what := fmt.Sprintf("the cluster accepts the %s of the syncer in Namespace %q", kind, namespace)
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return finding{passed, what, ""}
	case !errors.As(err, &status):
		return finding{wrong, what + ": it does not answer: " + err.Error(), describe(err).next}
	}
	return finding{wrong, fmt.Sprintf("the cluster refuses the %s of the syncer in Namespace %q: %v", kind, namespace, err),
		"change the policy or quota that the message names, or spec.syncer of the SyncTarget"}
}

// reachFinding tries kcp from inside the cluster.
func (c *check) reachFinding(ctx context.Context, cluster *connection, config agent.Config, namespace string) (finding, error) {
	job := agent.ReachJob(config, namespace)
	if err := cluster.Create(ctx, job, client.FieldOwner(fieldOwner)); err != nil {
		return finding{wrong, fmt.Sprintf("kcp cannot be tried from inside the cluster: creating a Job in Namespace %q: %v", namespace, err), describe(err).next}, nil
	}
	defer func() {
		// Also after an interrupt; what cannot be deleted goes by its ttlSecondsAfterFinished.
		_ = cluster.Delete(context.WithoutCancel(ctx), job, client.PropagationPolicy(metav1.DeletePropagationBackground))
	}()
	var found finding
	err := c.poll(ctx, fmt.Sprintf("Job %q", namespace+"/"+job.Name), c.timeout, "", func(ctx context.Context) (observation, error) {
		var pods corev1.PodList
		if err := cluster.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
			return observation{}, fmt.Errorf("listing the Pods of Job %q in %s: %w", job.Name, cluster.name, err)
		}
		done, waiting := judgePods(pods.Items, config, &found)
		return observation{done: done, waiting: waiting}, nil
	})
	if f := (*failure)(nil); errors.As(err, &f) && f.code == exitTimeout {
		return finding{wrong, "kcp was not tried from inside the cluster: " + f.message, "see the events of the Job's Namespace: kubectl --context=CLUSTER -n " + namespace + " events"}, nil
	}
	return found, err
}

// judgePods says what the Pod of the Job has found, or what it waits for.
func judgePods(pods []corev1.Pod, config agent.Config, found *finding) (done bool, waiting string) {
	if len(pods) == 0 {
		return false, "it has no Pod yet"
	}
	for _, container := range pods[0].Status.ContainerStatuses {
		switch state := container.State; {
		case state.Terminated != nil:
			*found = reached(state.Terminated, config.KcpURL)
			return true, ""
		case state.Waiting != nil:
			return false, fmt.Sprintf("its Pod waits: %s %s", state.Waiting.Reason, state.Waiting.Message)
		}
	}
	return false, "its Pod has not finished yet"
}

// reached judges the end of the container that has tried kcp.
func reached(end *corev1.ContainerStateTerminated, url string) finding {
	switch end.ExitCode {
	case 0:
		return finding{passed, fmt.Sprintf("kcp answers at %s from inside the cluster", url), ""}
	case exitUsage:
		return finding{skipped, "kcp was not tried from inside the cluster: the image of the syncer is older than this check", "name a newer image: --syncer-image"}
	}
	return finding{wrong, fmt.Sprintf("kcp cannot be reached at %s from inside the cluster: %s", url, strings.TrimSpace(end.Message)),
		"let the Pods of the cluster connect to that address; where it is the wrong one, the operator of the service sets --kcp-external-url"}
}
