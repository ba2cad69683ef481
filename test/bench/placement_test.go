//go:build bench

package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// admissionLimit is how much longer than the bare writes it may take until a new Namespace is admitted, at the median.
	admissionLimit = 50 * time.Millisecond
	// scheduleLimit is how long it may take until 1,000 new Namespaces have Assignments, and scheduleWrites how many writes of the
	// scheduler each may cost.
	scheduleLimit  = 20 * time.Second
	scheduleWrites = 3.0
)

// TestPlacementLatency measures how long it takes from the creation of a Namespace until the syncer is admitted to it, beside a bare
// client that makes the same writes one after the other.
func TestPlacementLatency(t *testing.T) {
	pairs := size(t, "BENCH_PAIRS", 40)
	s := newInstalled(t, nil)
	assignments := follow(t, s.tenant, &workloadv1alpha1.AssignmentList{}, assignmentFacts, client.InNamespace(s.home))
	out := newTable("From the creation of a Namespace until its Assignment is admitted, and the bare writes, %d pairs", pairs)
	var scheduled, admitted, bare []time.Duration
	for i := range pairs {
		bare = append(bare, s.bareWrites(numbered("bare", i)))
		name, start := numbered("placed", i), time.Now()
		require.NoError(t, s.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: placed}}))
		s.namespaces = append(s.namespaces, name)
		scheduled = append(scheduled, assignments.await("assigned "+name).Sub(start))
		admitted = append(admitted, assignments.await("admitted "+name).Sub(start))
	}
	out.row("", "p50", "p99")
	out.row("bare writes: Namespace, Assignment, RoleBinding, downstream Namespace, RoleBinding, status", percentile(bare, 50), percentile(bare, 99))
	out.row("until the Assignment is there", percentile(scheduled, 50), percentile(scheduled, 99))
	out.row("until it is admitted", percentile(admitted, 50), percentile(admitted, 99))
	out.print()
	assert.LessOrEqual(t, percentile(admitted, 50)-percentile(bare, 50), admissionLimit, "admitted later than the bare writes, p50")
}

// assignmentFacts names what is true of an Assignment.
func assignmentFacts(o client.Object) []string {
	a, ok := o.(*workloadv1alpha1.Assignment)
	if !ok {
		return nil
	}
	facts := []string{"assigned " + a.Spec.Namespace.Name}
	if meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted) {
		facts = append(facts, "admitted "+a.Spec.Namespace.Name)
	}
	if meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAvailable) {
		facts = append(facts, "available "+a.Spec.Namespace.Name)
	}
	return facts
}

// bareWrites makes the writes by which a Namespace is placed and its syncer admitted, without the service, and returns how long they
// took.
func (s *installed) bareWrites(name string) time.Duration {
	s.t.Helper()
	binding := func(namespace string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bare"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "bare"},
		}
	}
	assignment := &workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "bare"},
		Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: name, UID: "bare"}, Placement: workloadv1alpha1.ObjectReference{Name: "bare", UID: "bare"},
			Epoch: 1, Intent: workloadv1alpha1.IntentRun, Reason: workloadv1alpha1.AssignmentScheduled,
		},
	}
	there := "bench-" + name + "-" + s.target.Status.Key
	start := time.Now()
	require.NoError(s.t, s.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	require.NoError(s.t, s.Create(s.t.Context(), assignment))
	require.NoError(s.t, s.Create(s.t.Context(), binding(name)))
	_, err := s.there.CoreV1().Namespaces().Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: there}}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	_, err = s.there.RbacV1().RoleBindings(there).Create(s.t.Context(), binding(there), metav1.CreateOptions{})
	require.NoError(s.t, err)
	assignment.Status.ObservedEpoch = 1
	require.NoError(s.t, s.Status().Update(s.t.Context(), assignment))
	took := time.Since(start)
	s.t.Cleanup(func() { _ = s.there.CoreV1().Namespaces().Delete(context.Background(), there, metav1.DeleteOptions{}) })
	return took
}

// TestScheduleMany measures how long it takes until 1,000 new Namespaces have Assignments to 20 SyncTargets, and how many writes of the
// controller that are. The SyncTargets are in pull mode without a syncer: what is measured is the scheduler. Their heartbeats come
// from this process.
func TestScheduleMany(t *testing.T) {
	targets, count := 20, size(t, "BENCH_NAMESPACES", 1000)
	n := newPulledTenant(t, targets)
	var create errgroup.Group
	create.SetLimit(16)
	for i := range count {
		create.Go(func() error {
			return n.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: numbered("many", i), Labels: placed}})
		})
	}
	require.NoError(t, create.Wait())
	out := newTable("%d Namespaces are placed on %d SyncTargets", count, targets)
	start := time.Now()
	require.NoError(t, n.Create(t.Context(), &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: "many"},
		Spec:       workloadv1alpha1.PlacementSpec{NamespaceSelector: metav1.LabelSelector{MatchLabels: placed}},
	}))
	perTarget := map[string]int{}
	n.within(longPatience, 200*time.Millisecond, "all Namespaces have Assignments", func() (bool, string) {
		var list workloadv1alpha1.AssignmentList
		err := n.List(t.Context(), &list)
		clear(perTarget)
		for i := range list.Items {
			perTarget[list.Items[i].Namespace]++
		}
		return len(list.Items) == count, fmt.Sprint(len(list.Items), err)
	})
	took := time.Since(start)
	n.within(longPatience, time.Second, "the Placement counts all of them", func() (bool, string) {
		p := &workloadv1alpha1.Placement{}
		err := n.Get(t.Context(), client.ObjectKey{Name: "many"}, p)
		return err == nil && p.Status.Summary != nil && int(p.Status.Summary.Placed) == count, fmt.Sprint(p.Status.Summary, err)
	})
	writes := n.schedulerWrites(start)
	least, most := count, 0
	for _, assigned := range perTarget {
		least, most = min(least, assigned), max(most, assigned)
	}
	out.row("until all have an Assignment", took)
	out.row("Assignments of a SyncTarget, least and most", fmt.Sprintf("%d and %d", least, most))
	out.row("writes of the scheduler for each", fmt.Sprintf("%.2f", float64(writes)/float64(count)))
	out.print()
	assert.LessOrEqual(t, took, scheduleLimit, "until all have an Assignment")
	assert.LessOrEqual(t, float64(writes)/float64(count), scheduleWrites, "writes of the scheduler for each Namespace")
}

// newPulledTenant makes a workspace with so many SyncTargets in pull mode, all Ready, without a syncer: their heartbeats come from this
// process.
func newPulledTenant(t *testing.T, targets int) *tenant {
	t.Helper()
	n := newTenant(t)
	ready := follow(t, n, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	for i := range targets {
		target := syncTarget(numbered("edge", i), "")
		target.Spec.Cluster, target.Spec.KubeconfigSecretRef = target.Name, nil
		require.NoError(t, n.Create(t.Context(), target))
		n.beat(target.Name)
		ready.await(has(target.Name, workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady))
	}
	t.Cleanup(n.abandonAll)
	return n
}

// abandonAll has the SyncTargets deleted without waiting for syncers, which there are none of, and waits until they are gone.
func (n *tenant) abandonAll() {
	ctx, cancel := context.WithTimeout(context.Background(), longPatience)
	defer cancel()
	var all workloadv1alpha1.SyncTargetList
	require.NoError(n.t, n.List(ctx, &all))
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"true"}}}`, workloadv1alpha1.AnnotationAbandon)
	for i := range all.Items {
		assert.NoError(n.t, n.Patch(ctx, &all.Items[i], client.RawPatch(types.MergePatchType, patch)))
	}
	assert.NoError(n.t, n.DeleteAllOf(ctx, &workloadv1alpha1.SyncTarget{}))
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := n.List(ctx, &all)
		return err == nil && len(all.Items) == 0, nil
	})
	assert.NoError(n.t, err, "%d SyncTargets are left", len(all.Items))
}

// schedulerWrites counts what the scheduler has written in the workspace: Assignments, Placements, annotations of Namespaces, and the
// status of SyncTargets. What the controller writes to admit a syncer is not among it.
func (n *tenant) schedulerWrites(since time.Time) (count int) {
	n.t.Helper()
	all, err := env.WritesBy("kcp", "system:serviceaccount:synctarget-system:synctarget-controller", since)
	require.NoError(n.t, err)
	for _, w := range all {
		if w.Cluster != n.clusterName {
			continue
		}
		switch w.Resource {
		case "assignments.workload.kcp.io", "placements.workload.kcp.io", "placements.workload.kcp.io/status", "namespaces", "synctargets.workload.kcp.io/status":
			count++
		}
	}
	return count
}

// beat sends heartbeats for a SyncTarget in pull mode until the test ends, as a syncer without a Lease does.
func (n *tenant) beat(name string) {
	n.t.Helper()
	send := func(ctx context.Context) error {
		patch := fmt.Appendf(nil, `{"status":{"lastHeartbeatTime":%q,"syncer":{"version":"bench","clusterID":%q,"nodes":1}}}`,
			time.Now().UTC().Format(time.RFC3339), "cluster-of-"+name)
		target := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
		return n.Status().Patch(ctx, target, client.RawPatch("application/merge-patch+json", patch))
	}
	require.NoError(n.t, send(n.t.Context()))
	go func() {
		ticker := time.NewTicker(10 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-n.t.Context().Done():
				return
			case <-ticker.C:
				_ = send(n.t.Context()) // the next one follows
			}
		}
	}()
}

// drainedObjects are the ConfigMaps in each Namespace that is drained.
const drainedObjects = 10

// TestDrainMany measures how long a drain of 100 Namespaces takes that all may move at once, and what of that the copies take: a bare
// client creates as many Namespaces and objects, and deletes as many, in the same physical cluster.
func TestDrainMany(t *testing.T) {
	count := size(t, "BENCH_DRAINED", 100)
	s := newInstalled(t, largeSyncer())
	namespaces := s.open("drained", count)
	s.fill(namespaces, drainedObjects*count, 64)
	other := s.addTarget("edge-2")

	out := newTable("A drain of %d Namespaces of %d objects, all at once", count, drainedObjects)
	create, remove := s.bareCopies(count, drainedObjects)
	arriving := follow(t, s.tenant, &workloadv1alpha1.AssignmentList{}, assignmentFacts, client.InNamespace(workloadv1alpha1.SyncerNamespace(other.Name, other.Status.Key)))
	leaving := follow(t, s.tenant, &workloadv1alpha1.AssignmentList{}, assignmentFacts, client.InNamespace(s.home))
	left, err := s.assignments()
	require.NoError(t, err)
	all := fmt.Sprintf(`{"spec":{"move":{"maxUnavailable":%d}}}`, count)
	require.NoError(t, s.Patch(t.Context(), &workloadv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}, client.RawPatch(types.MergePatchType, []byte(all))))
	start := time.Now()
	drain := fmt.Sprintf(`{"spec":{"drain":{"maxConcurrent":%d}}}`, count)
	require.NoError(t, s.Patch(t.Context(), s.target.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(drain))))
	var assigned, arrived, ended time.Time
	for _, namespace := range namespaces {
		assigned = later(assigned, arriving.await("assigned "+namespace))
		arrived = later(arrived, arriving.await("available "+namespace))
	}
	for _, namespace := range namespaces {
		ended = later(ended, leaving.await(gone(left[namespace].Name)))
	}
	out.row("", "after the start")
	out.row("the last Namespace has its new Assignment", assigned.Sub(start))
	out.row("the last is available there", arrived.Sub(start))
	out.row("the last has left", ended.Sub(start))
	out.row("a bare client creates as many copies", create)
	out.row("a bare client deletes as many Namespaces with their copies", remove)
	out.print()
	s.requireLeft(namespaces)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// addTarget registers cluster-1 once more.
func (s *installed) addTarget(name string) *workloadv1alpha1.SyncTarget {
	s.t.Helper()
	targets := follow(s.t, s.tenant, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	target := syncTarget(name, "cluster-1")
	target.Spec.Syncer = s.target.Spec.Syncer
	require.NoError(s.t, s.Create(s.t.Context(), target))
	targets.await(has(name, workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady))
	targets.await(has(name, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed))
	require.NoError(s.t, s.Get(s.t.Context(), client.ObjectKeyFromObject(target), target))
	return target
}

// bareCopies creates Namespaces with ConfigMaps in the physical cluster, as many at once as a syncer does, and deletes them.
func (s *installed) bareCopies(namespaces, objects int) (create, remove time.Duration) {
	s.t.Helper()
	name := func(i int) string { return numbered("bench-drain", i) }
	start := time.Now()
	s.sideBySide(namespaces, func(i int) error {
		if _, err := s.there.CoreV1().Namespaces().Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		for j := range objects {
			c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("config-%d", j)}, Data: map[string]string{"d": "x"}}
			if _, err := s.there.CoreV1().ConfigMaps(name(i)).Create(s.t.Context(), c, metav1.CreateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	create = time.Since(start)
	start = time.Now()
	s.sideBySide(namespaces, func(i int) error {
		return s.there.CoreV1().Namespaces().Delete(s.t.Context(), name(i), metav1.DeleteOptions{})
	})
	s.within(longPatience, tick, "the Namespaces are gone", func() (bool, string) {
		list, err := s.there.CoreV1().Namespaces().List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		left := 0
		for _, namespace := range list.Items {
			if strings.HasPrefix(namespace.Name, "bench-drain") {
				left++
			}
		}
		return left == 0, fmt.Sprint(left, " are left")
	})
	return create, time.Since(start)
}
