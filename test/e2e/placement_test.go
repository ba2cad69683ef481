package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

// registerIn registers a cluster as a SyncTarget in a region.
func (n *tenant) registerIn(cluster, name, region string) *workloadv1alpha1.SyncTarget {
	n.t.Helper()
	there := *n
	there.cluster = cluster
	there.register(name)
	change(n, syncTarget(name), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.Cells = map[string]workloadv1alpha1.CellValue{"region": workloadv1alpha1.CellValue(region)}
	})
	return n.await(name, "Ready", "Ready")
}

// placementOf selects the Namespaces with the label tier.
func placementOf(tier string, mutate func(*workloadv1alpha1.PlacementSpec)) *workloadv1alpha1.Placement {
	p := &workloadv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: tier}}
	p.Spec.NamespaceSelector.MatchLabels = map[string]string{"tier": tier}
	if mutate != nil {
		mutate(&p.Spec)
	}
	return p
}

// createNamespace makes a Namespace with the label tier.
func (n *tenant) createNamespace(name, tier string) {
	n.t.Helper()
	require.NoError(n.t, n.Create(n.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"tier": tier}}}))
}

// awaitPlacement waits until a condition of a Placement has a reason, and its message these words.
func (n *tenant) awaitPlacement(name, condition, reason string, words ...string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("Placement %s has %s=%s %q", name, condition, reason, words), func() (bool, string) {
		p := &workloadv1alpha1.Placement{}
		if err := n.Get(n.t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(p.Status.Conditions, condition)
		return c != nil && c.Reason == reason && c.ObservedGeneration == p.Generation && containsAll(c.Message, words), fmt.Sprint(p.Status)
	})
}

// running are the names of the SyncTargets that a Namespace is on, sorted, by its Assignments with the intent Run.
func (n *tenant) running(namespace string) ([]string, error) {
	var list workloadv1alpha1.AssignmentList
	if err := n.List(n.t.Context(), &list); err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		if a := &list.Items[i]; a.Spec.Namespace.Name == namespace && a.Spec.Intent == workloadv1alpha1.IntentRun {
			names = append(names, a.Annotations[workloadv1alpha1.AnnotationSyncTarget])
		}
	}
	slices.Sort(names)
	return names, nil
}

// awaitOnly waits until a Namespace has Assignments to these SyncTargets and to no others.
func (n *tenant) awaitOnly(namespace string, targets ...string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("Namespace %s is on %q", namespace, targets), func() (bool, string) {
		var list workloadv1alpha1.AssignmentList
		if err := n.List(n.t.Context(), &list); err != nil {
			return false, err.Error()
		}
		var names, all []string
		for i := range list.Items {
			if a := &list.Items[i]; a.Spec.Namespace.Name == namespace {
				names = append(names, a.Annotations[workloadv1alpha1.AnnotationSyncTarget])
				all = append(all, fmt.Sprint(a.Namespace, a.Spec, a.Status))
			}
		}
		slices.Sort(names)
		return slices.Equal(names, targets), strings.Join(all, "\n")
	})
}

// TestPlacement: a Namespace is placed by cells, on two SyncTargets at once, and stays when its SyncTarget is cordoned; who waits
// for Available finds everything running, and what cannot be placed says why.
func TestPlacement(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	east, west := n.registerIn("cluster-1", "east", "eu-east"), n.registerIn("cluster-1", "west", "eu-west")

	t.Log("a wrong Placement is refused, with what to correct")
	err := n.Create(t.Context(), placementOf("wrong", func(p *workloadv1alpha1.PlacementSpec) {
		p.Tolerations = []workloadv1alpha1.PlacementToleration{{Effect: workloadv1alpha1.TaintNoExecute}}
	}))
	require.ErrorContains(t, err, "a toleration without key needs the operator Exists")

	t.Log("by cells")
	require.NoError(t, n.Create(t.Context(), placementOf("web", func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{Required: []workloadv1alpha1.ClusterSelectorTerm{
			{MatchCells: map[string]workloadv1alpha1.CellValue{"region": "eu-west"}},
		}}
	})))
	n.awaitPlacement("web", "Scheduled", "NoNamespaces")
	n.createNamespace("shop", "web")
	n.awaitOnly("shop", "west")
	shop := n.shopIn(west, "shop")
	web := idleDeployment("shop", "web")
	shop.create(web)
	shop.awaitAvailable(web, 1)
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "wait", "placement/web", "--for=condition=Available", "--timeout=100s")
	require.NoError(t, err)
	namespace := &corev1.Namespace{}
	require.NoError(t, n.Get(t.Context(), client.ObjectKey{Name: "shop"}, namespace))
	assert.Contains(t, namespace.Annotations[workloadv1alpha1.AnnotationPlacement], `"west"`)

	t.Log("a Placement that loses says so, and one that fits nowhere says why")
	require.NoError(t, n.Create(t.Context(), func() *workloadv1alpha1.Placement {
		p := placementOf("web", func(p *workloadv1alpha1.PlacementSpec) { p.Priority = -1 })
		p.Name = "loser"
		return p
	}()))
	n.awaitPlacement("loser", "Scheduled", "Conflict", `"web"`)
	require.NoError(t, n.Create(t.Context(), placementOf("nowhere", func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"north"}}
	})))
	n.createNamespace("lost", "nowhere")
	n.awaitPlacement("nowhere", "Scheduled", "Unschedulable", "0/2 clusters", "lost")

	t.Log("on two SyncTargets, of which one runs the Job")
	require.NoError(t, n.Create(t.Context(), placementOf("both", func(p *workloadv1alpha1.PlacementSpec) {
		p.NumberOfClusters = 2
		p.SpreadConstraints = []workloadv1alpha1.SpreadConstraint{{TopologyKey: "region"}}
	})))
	n.createNamespace("twice", "both")
	n.awaitOnly("twice", "east", "west")
	n.runsOnBoth(n.shopIn(east, "twice"), n.shopIn(west, "twice"))

	t.Log("what is there stays when its SyncTarget is cordoned")
	pod := shop.podOf("web")
	change(n, syncTarget("west"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Unschedulable = true })
	n.createNamespace("later", "web")
	n.awaitPlacement("web", "Scheduled", "Unschedulable", "1 cordoned", "later")
	assert.Equal(t, pod.UID, shop.podOf("web").UID)
	n.awaitOnly("shop", "west")
	change(n, syncTarget("west"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Unschedulable = false })
	n.awaitOnly("later", "west")

	t.Log("a Placement that is deleted leaves nothing")
	placement := placementOf("web", nil)
	require.NoError(t, n.Delete(t.Context(), &workloadv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: "loser"}}))
	require.NoError(t, n.Delete(t.Context(), placement))
	n.awaitGone(placement)
	shop.awaitLeft()
	n.awaitOnly("twice", "east", "west")
}

// runsOnBoth expects that a Deployment runs for both shops, which are the same Namespace, and a Job for one.
func (n *tenant) runsOnBoth(one, other *shop) {
	n.t.Helper()
	web := idleDeployment(one.namespace, "web")
	one.create(web)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: one.namespace, Name: "once"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{Name: "idle", Image: framework.PauseImage}},
		}}},
	}
	one.create(job)
	one.awaitAvailable(web, 1)
	for _, s := range []*shop{one, other} {
		s.eventually("a copy of the Deployment is available on "+s.target.Name, func() (bool, string) {
			c := &appsv1.Deployment{}
			err := s.there.Get(s.t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "web"}, c)
			return err == nil && c.Status.AvailableReplicas == 1, fmt.Sprint(err, c.Status)
		})
	}
	n.eventually("one of the SyncTargets runs the Job, and the other says why it does not", func() (bool, string) {
		jobs, elsewhere := 0, 0
		for _, s := range []*shop{one, other} {
			if s.there.Get(s.t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "once"}, &batchv1.Job{}) == nil {
				jobs++
			}
			if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(job), job); err != nil {
				return false, err.Error()
			}
			if strings.Contains(job.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)], "another") {
				elsewhere++
			}
		}
		return jobs == 1 && elsewhere == 1, fmt.Sprint(jobs, elsewhere, job.Annotations)
	})
}
