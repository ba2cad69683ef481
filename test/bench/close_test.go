//go:build bench

package bench

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// closingQPS is spec.syncer.kubeAPIQPS where many Namespaces are closed together: few enough that they wait for one another.
	closingQPS = 40
	// busyPace is the time between two changes in the Namespace that stays open meanwhile. Each costs a write on each side.
	busyPace = 100 * time.Millisecond
	// busyObjects are the ones that change there.
	busyObjects = 50
	// closedObjects are the objects in each Namespace that is closed.
	closedObjects = 2
)

// TestCloseTogether closes many Namespaces together while the objects of another one change. All of them end.
func TestCloseTogether(t *testing.T) {
	count := size(t, "BENCH_CLOSED", 300)
	s := newInstalled(t, closingSyncer(), (*tenant).bindCompute)
	out := newTable("%d Namespaces of %d objects are closed together, at kubeAPIQPS %d, while another one changes every %s", count, closedObjects, closingQPS, busyPace)
	began := time.Now()
	busy, closes := s.open("busy", 1), s.open("closes", count)
	out.row("from creating the Namespaces until all are open", time.Since(began))
	s.fill(busy, busyObjects, 64)
	s.fill(closes, closedObjects*count, 64)
	out.row("memory (RSS) of the syncer, all open", mebibytes(s.memory()))

	stop := s.keepBusy(busy[0])
	sleep(t, 5*time.Second)
	pid, err := s.process()
	require.NoError(t, err)
	closed := time.Now()
	s.closeNamespaces(closes)
	s.within(2*longPatience, time.Second, "all Namespaces have ended", func() (bool, string) {
		assignments, err := s.assignments()
		return err == nil && len(assignments) == 1, fmt.Sprint(len(assignments), " are left, ", err)
	})
	took := time.Since(closed)
	changes := stop()
	accepted, refused := s.statusWrites(closed)
	out.row("from closing them until the last has ended", took)
	out.row("changes in the other one meanwhile", changes)
	out.row("writes of the syncer to the Assignments, accepted and refused", fmt.Sprintf("%d and %d", accepted, refused))
	out.print()
	assert.Less(t, accepted+refused, 4*count, "writes to the Assignments: what is left, that nothing is left, and as often again")
	last, err := s.process()
	require.NoError(t, err)
	assert.Equal(t, pid, last, "the syncer's process has stayed the same")
	s.requireLeft(closes)
	s.requireEqual(busy[0], busyObjects)
}

// closingSyncer may send little, and use a GiB of memory: with the standard limit it is killed while so many Namespaces are opened.
func closingSyncer() *workloadv1alpha1.SyncerSpec {
	syncer := largeSyncer()
	syncer.KubeAPIQPS = ptr.To[int32](closingQPS)
	return syncer
}

// statusWrites are the syncer's writes to its Assignments.
func (s *installed) statusWrites(since time.Time) (accepted, refused int) {
	s.t.Helper()
	all, err := env.WritesBy("kcp", "system:serviceaccount:"+s.home+":"+agent.DeploymentName, since)
	require.NoError(s.t, err)
	for _, w := range all {
		switch {
		case w.Resource != "assignments."+workloadv1alpha1.GroupName+"/status":
		case w.Code < http.StatusMultipleChoices:
			accepted++
		default:
			refused++
		}
	}
	return accepted, refused
}

// keepBusy changes the ConfigMaps of a Namespace in turn until stop, which returns how many changes there were.
func (s *installed) keepBusy(namespace string) (stop func() int) {
	ctx, cancel := context.WithCancel(s.t.Context())
	changes, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(busyPace)
		defer ticker.Stop()
		for ; ctx.Err() == nil; changes++ {
			<-ticker.C
			c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("config-%d", changes%busyObjects)}}
			assert.NoError(s.t, s.Patch(s.t.Context(), c, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"data":{"n":"%d"}}`, changes))))
		}
	}()
	return func() int { cancel(); <-done; return changes }
}

// requireLeft requires that nothing of ours is left in Namespaces, on either side.
func (s *installed) requireLeft(namespaces []string) {
	s.t.Helper()
	key := s.target.Status.Key
	for _, namespace := range namespaces {
		var objects corev1.ConfigMapList
		require.NoError(s.t, s.List(s.t.Context(), &objects, client.InNamespace(namespace)))
		for i := range objects.Items {
			c := &objects.Items[i]
			assert.NotContains(s.t, c.Finalizers, workloadv1alpha1.SyncerFinalizer(key), "%s/%s", namespace, c.Name)
			assert.NotContains(s.t, c.Annotations, workloadv1alpha1.SyncAnnotation(key), "%s/%s", namespace, c.Name)
		}
		copies, err := s.there.CoreV1().ConfigMaps(s.counterpart(namespace)).List(s.t.Context(), metav1.ListOptions{LabelSelector: workloadv1alpha1.LabelKey + "=" + key})
		require.NoError(s.t, err)
		assert.Empty(s.t, copies.Items, "copies from %s", namespace)
	}
}

// requireEqual requires that so many ConfigMaps have copies, which are as they are.
func (s *installed) requireEqual(namespace string, count int) {
	s.t.Helper()
	lost, doubled := s.differences(namespace, patience)
	assert.Empty(s.t, lost, "objects without a copy that is like them")
	assert.Empty(s.t, doubled, "copies without an object")
	copies, _ := s.copies(namespace)
	delete(copies, "kube-root-ca.crt")
	assert.Len(s.t, copies, count)
}

// closingMemory is the mark of closing a large Namespace, in MiB: more than before.
const closingMemory = 32.0

// largeSyncer may use a GiB of memory.
func largeSyncer() *workloadv1alpha1.SyncerSpec {
	return &workloadv1alpha1.SyncerSpec{Resources: &workloadv1alpha1.ResourceRequirements{
		Limits: map[string]resource.Quantity{"memory": resource.MustParse("1Gi")},
	}}
}

// TestCloseLarge closes a Namespace in which most objects are kept from being synced, and measures the syncer's memory meanwhile.
// Whether anything of ours is left in it, only a list of all of them shows.
func TestCloseLarge(t *testing.T) {
	const ours, bytes = 1000, 4096
	count := size(t, "BENCH_LARGE", 20_000)
	// More than the standard limit, under which a syncer with so many objects is killed: closing is to be measured, not that.
	s := newInstalled(t, largeSyncer())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "large-1"}}
	require.NoError(t, s.Create(t.Context(), ns))
	s.namespaces = append(s.namespaces, ns.Name)
	s.sideBySide(count, func(i int) error {
		if i < ours {
			s.create(ns.Name, fmt.Sprintf("config-%d", i), bytes, nil)
		} else {
			s.create(ns.Name, fmt.Sprintf("other-%d", i), bytes, map[string]string{workloadv1alpha1.LabelSync: "false"})
		}
		return nil
	})
	out := newTable("A Namespace of %d ConfigMaps of 4 KiB is closed, of which %d have a copy", count, ours)
	out.row("memory (RSS) of the syncer without a Namespace", mebibytes(s.memory()))
	require.NoError(t, s.setPlaced(ns.Name, "true"))
	s.awaitOpen([]string{ns.Name})
	s.awaitReported([]string{ns.Name}, ours)

	sleep(t, time.Minute) // until what the lists have left behind is given back
	pid, err := s.process()
	require.NoError(t, err)
	before := memoryOf(t, pid, "VmRSS")
	out.row("  when it is open, at its highest", mebibytes(memoryOf(t, pid, "VmHWM")))
	out.row("  a minute later", mebibytes(before))
	heapBefore := heapGoal(s.requireMetrics())
	resetPeak(t, pid)
	closed := time.Now()
	s.closeNamespaces([]string{ns.Name})
	peak, heapPeak := 0.0, 0.0
	s.within(longPatience, time.Second, "it has ended", func() (bool, string) {
		if running, err := s.process(); err == nil && running == pid {
			peak = max(peak, memoryOf(t, pid, "VmHWM"))
		}
		if c, err := s.metrics(); err == nil {
			heapPeak = max(heapPeak, heapGoal(c))
		}
		assignments, err := s.assignments()
		return err == nil && len(assignments) == 0, fmt.Sprint(len(assignments), err)
	})
	out.row("  while it is being closed, at its highest", mebibytes(peak), fmt.Sprintf("%.0f MiB more", peak-before))
	out.row("heap at which the next collection begins, open", mebibytes(heapBefore))
	out.row("  while it is being closed, at its highest", mebibytes(heapPeak), fmt.Sprintf("%.0f MiB more", heapPeak-heapBefore))
	out.row("from closing it until it has ended", time.Since(closed))
	out.print()
	assert.LessOrEqual(t, peak-before, closingMemory, "MiB of the resident set more than before")
	assert.LessOrEqual(t, heapPeak-heapBefore, closingMemory, "MiB of the heap more than before")
	last, err := s.process()
	require.NoError(t, err)
	assert.Equal(t, pid, last, "the syncer's process has stayed the same")
	s.requireLeft([]string{ns.Name})
}
