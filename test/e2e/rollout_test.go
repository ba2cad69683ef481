package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/rollout"
)

// TestRolloutInWaves starts the controller with another syncer image: three targets get it one at a time. An image that cannot be
// pulled halts the rollout after the first, which the others are told; with an image that can, it ends.
func TestRolloutInWaves(t *testing.T) {
	t.Parallel()
	own := newOwnService(t, "rollout")
	n := own.newTenant(t)
	names := []string{"edge-1", "edge-2", "edge-3"}
	ready := map[string]string{}
	for _, name := range names {
		target := n.register(name)
		ready[name] = meta.FindStatusCondition(target.Status.Conditions, "Ready").LastTransitionTime.String()
	}

	good := syncerImageAs(t, "next")
	own.restart(t, "--syncer-image="+good)
	for i := range names {
		n.eventually(fmt.Sprintf("%d have the new image", i+1), func() (bool, string) {
			updated := 0
			for _, name := range names {
				if n.syncerDeployment(name).Spec.Template.Spec.Containers[0].Image == good {
					updated++
				}
			}
			return updated > i, fmt.Sprint(updated)
		})
	}
	var begun []time.Time
	for _, name := range names {
		at, err := time.Parse(time.RFC3339, n.syncerDeployment(name).Annotations[workloadv1alpha1.AnnotationRolledOut])
		require.NoError(t, err, name)
		begun = append(begun, at)
		n.await(name, "Deployed", "Deployed")
	}
	slices.SortFunc(begun, time.Time.Compare)
	for i := range begun[1:] {
		assert.GreaterOrEqual(t, begun[i+1].Sub(begun[i]), rollout.PodGrace, "one begins when the one before was heard: %s", begun)
	}
	requireReadySince(n, ready)

	own.restart(t, "--syncer-image=synctarget.local/no-such-syncer:e2e")
	n.eventually("one fails, and the others are told", func() (bool, string) {
		reasons := n.deployedReasons(names)
		slices.Sort(reasons)
		return slices.Equal(reasons, []string{"RollingOut", "RolloutHalted", "RolloutHalted"}), fmt.Sprint(reasons)
	})
	for i, reason := range n.deployedReasons(names) {
		target := n.await(names[i], "Ready", "Ready")
		image := n.syncerDeployment(names[i]).Spec.Template.Spec.Containers[0].Image
		if reason != "RolloutHalted" {
			assert.NotEqual(t, good, image)
			continue
		}
		assert.Equal(t, good, image)
		n.await(names[i], "Deployed", "RolloutHalted", "one SyncTarget of the service did not become Ready", "no-such-syncer", good)
		n.eventually("there is an Event", func() (bool, string) {
			events := n.events(target)
			return slices.ContainsFunc(events, func(event string) bool { return strings.HasPrefix(event, "Warning RolloutHalted") }), fmt.Sprint(events)
		})
	}

	own.restart(t, "--syncer-image="+good)
	for _, name := range names {
		n.await(name, "Deployed", "Deployed")
		assert.Equal(t, good, n.syncerDeployment(name).Spec.Template.Spec.Containers[0].Image, name)
	}
	requireReadySince(n, ready)
}

// syncerImageAs is the syncer's image under another tag.
func syncerImageAs(t *testing.T, tag string) string {
	t.Helper()
	binary, err := env.BuildProgram(t.Context(), "./cmd/syncer")
	require.NoError(t, err)
	image := "synctarget.local/syncer-" + tag + ":e2e"
	archive, err := env.BuildImage(t.Context(), image, binary)
	require.NoError(t, err)
	require.NoError(t, env.Import(t.Context(), archive))
	return image
}

// syncerDeployment is that of a target.
func (n *tenant) syncerDeployment(name string) *appsv1.Deployment {
	n.t.Helper()
	deployment := &appsv1.Deployment{}
	require.NoError(n.t, n.physical().Get(n.t.Context(), client.ObjectKey{Namespace: n.namespaceOf(name), Name: agent.DeploymentName}, deployment))
	return deployment
}

// deployedReasons are the reasons of the condition Deployed.
func (n *tenant) deployedReasons(names []string) (reasons []string) {
	n.t.Helper()
	for _, name := range names {
		var target workloadv1alpha1.SyncTarget
		require.NoError(n.t, n.Get(n.t.Context(), client.ObjectKey{Name: name}, &target))
		reasons = append(reasons, meta.FindStatusCondition(target.Status.Conditions, "Deployed").Reason)
	}
	return reasons
}

// requireReadySince fails unless the targets have been Ready since these times.
func requireReadySince(n *tenant, since map[string]string) {
	n.t.Helper()
	for name, at := range since {
		target := n.await(name, "Ready", "Ready")
		require.Equal(n.t, at, meta.FindStatusCondition(target.Status.Conditions, "Ready").LastTransitionTime.String(), "%s has not been Ready all the time", name)
	}
}
