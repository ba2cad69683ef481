package agent

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// revisionAnnotation ties a Deployment to its newest ReplicaSet; the Deployment controller writes it on both.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// Status says how a rollout fares.
type Status struct {
	// Ready: the Deployment is what it should be and all its pods serve.
	Ready bool
	// Stuck: the physical cluster sees no progress within the Deployment's deadline.
	Stuck bool
	// Message says in a sentence what is waited for, if not Ready.
	Message string
}

// Deployment names the syncer's Deployment of the SyncTarget of this name and key.
func Deployment(name, key string) client.Object {
	return reference(appsv1.SchemeGroupVersion.WithKind("Deployment"), workloadv1alpha1.SyncerNamespace(name, key), DeploymentName)
}

// Rollout reads how the syncer's Deployment fares and, if it is stuck, what on. One that is rolled out costs one
// request.
func Rollout(ctx context.Context, c client.Client, namespace string) (Status, error) {
	live, err := get(ctx, c, reference(appsv1.SchemeGroupVersion.WithKind("Deployment"), namespace, DeploymentName))
	if err != nil {
		return Status{}, err
	}
	if live == nil {
		return Status{Message: fmt.Sprintf("Deployment %q is missing", namespace+"/"+DeploymentName)}, nil
	}
	result, err := status.Compute(live)
	if err != nil {
		return Status{}, fmt.Errorf("judging %s: %w", describe(live), err)
	}
	switch result.Status {
	case status.CurrentStatus:
		return Status{Ready: true}, nil
	case status.TerminatingStatus:
		return Status{Message: terminating(live)}, nil
	}
	r := rollout{failed: result.Status == status.FailedStatus}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &r.deployment); err != nil {
		return Status{}, fmt.Errorf("decoding %s: %w", describe(live), err)
	}
	if err := r.read(ctx, c); err != nil {
		return Status{}, err
	}
	return Status{Message: r.diagnose(), Stuck: r.failed}, nil
}

// rollout is what is known of a Deployment that is not rolled out.
type rollout struct {
	deployment appsv1.Deployment
	// failed: no progress within the Deployment's deadline.
	failed bool
	// newest is the ReplicaSet of the Deployment's present revision; nil before there is one.
	newest *appsv1.ReplicaSet
	// pods are those of newest that are not being deleted.
	pods []corev1.Pod
	// blind: the kubeconfig may not list what explains the Deployment.
	blind bool
}

// read fetches what explains the Deployment. Where that is forbidden, the Deployment's own words must do.
func (r *rollout) read(ctx context.Context, c client.Client) error {
	err := r.list(ctx, c)
	if apierrors.IsForbidden(err) {
		r.blind = true
		return nil
	}
	return err
}

func (r *rollout) list(ctx context.Context, c client.Client) error {
	namespace, labels := client.InNamespace(r.deployment.Namespace), client.MatchingLabels(r.deployment.Spec.Selector.MatchLabels)
	var replicaSets appsv1.ReplicaSetList
	if err := c.List(ctx, &replicaSets, namespace, labels); err != nil {
		return fmt.Errorf("listing the ReplicaSets of Namespace %q: %w", r.deployment.Namespace, err)
	}
	for i := range replicaSets.Items {
		rs := &replicaSets.Items[i]
		if metav1.IsControlledBy(rs, &r.deployment) && rs.Annotations[revisionAnnotation] == r.deployment.Annotations[revisionAnnotation] {
			r.newest = rs
		}
	}
	if r.newest == nil {
		return nil
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, namespace, labels); err != nil {
		return fmt.Errorf("listing the Pods of Namespace %q: %w", r.deployment.Namespace, err)
	}
	for _, pod := range pods.Items {
		if metav1.IsControlledBy(&pod, r.newest) && pod.DeletionTimestamp == nil {
			r.pods = append(r.pods, pod)
		}
	}
	return nil
}
