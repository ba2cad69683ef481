//go:build bench

package bench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// simulatedNode is the name of a Node of cluster-1 without a machine, and the value of its label.
const simulatedNode = "bench-node"

// onSimulatedNode is a nodeSelector.
var onSimulatedNode = map[string]workloadv1alpha1.LabelValue{"bench.workload.kcp.io/node": simulatedNode}

// simulateNode runs, until the test ends, what a kubelet does for the API: it renews the Lease of its Node, says that each of its Pods
// is ready, and removes the Pods that are deleted. No container runs.
func simulateNode(t *testing.T) {
	t.Helper()
	c := downstream(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: simulatedNode, Labels: map[string]string{"bench.workload.kcp.io/node": simulatedNode}}}
	require.NoError(t, client.IgnoreAlreadyExists(c.Create(t.Context(), node)))
	t.Cleanup(func() { _ = c.Delete(context.Background(), node) })
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1000Gi"), corev1.ResourcePods: resource.MustParse("10000"),
	}
	before := client.MergeFrom(node.DeepCopy())
	node.Status.Capacity, node.Status.Allocatable = capacity, capacity
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Simulated", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}
	require.NoError(t, c.Status().Patch(t.Context(), node, before))
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: simulatedNode}}
	require.NoError(t, client.IgnoreAlreadyExists(c.Create(t.Context(), lease)))
	t.Cleanup(func() { _ = c.Delete(context.Background(), lease) })

	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			before := client.MergeFrom(lease.DeepCopy())
			lease.Spec.HolderIdentity, lease.Spec.RenewTime = ptr.To(simulatedNode), &metav1.MicroTime{Time: time.Now()}
			_ = c.Patch(ctx, lease, before) // the next one comes in a second
			runPods(ctx, c)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-stopped })
}

// runPods makes each Pod of the simulated Node what it is to be. What fails is tried again in the next round.
func runPods(ctx context.Context, c client.Client) {
	var pods corev1.PodList
	if c.List(ctx, &pods, client.MatchingFields{"spec.nodeName": simulatedNode}) != nil {
		return
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		switch {
		case pod.DeletionTimestamp != nil:
			_ = c.Delete(ctx, pod, client.GracePeriodSeconds(0))
		case pod.Status.Phase != corev1.PodRunning:
			before := client.MergeFrom(pod.DeepCopy())
			pod.Status.Phase = corev1.PodRunning
			for _, condition := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
				pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
					Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
				})
			}
			_ = c.Status().Patch(ctx, pod, before)
		}
	}
}
