package placement

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// workspaces holds what is remembered of each workspace while it is engaged.
type workspaces struct {
	mu     sync.Mutex
	byName map[multicluster.ClusterName]*workspace
}

// workspace is what is remembered of one. The queue makes one pass of a workspace at a time; the metrics are read at any time.
type workspace struct {
	// end ends the watches of the workspace.
	end context.CancelFunc

	mu sync.Mutex
	// reported is when statuses and annotations were last written.
	reported time.Time
	// hidden are the Namespaces that a live read has not shown, though they are not known to be gone, and when that was.
	hidden map[types.UID]time.Time
	// ended are Assignments that are not there, and of which a live read has shown that the rights are gone, too.
	ended sets.Set[string]
	// available are the Assignments of which it is known that everything runs, by UID.
	available map[types.UID]availability
	// pending are the Namespaces without a SyncTarget, and since when that is known.
	pending map[string]time.Time
}

func newWorkspaces() *workspaces {
	return &workspaces{byName: map[multicluster.ClusterName]*workspace{}}
}

// begin replaces the engagement of a workspace. The watches of the one before end.
func (w *workspaces) begin(name multicluster.ClusterName, end context.CancelFunc) *workspace {
	w.mu.Lock()
	defer w.mu.Unlock()
	begun := &workspace{end: end, hidden: map[types.UID]time.Time{}}
	if before := w.byName[name]; before != nil {
		before.end()
	}
	w.byName[name] = begun
	return begun
}

// end drops an engagement, unless it was replaced.
func (w *workspaces) end(name multicluster.ClusterName, ended *workspace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byName[name] == ended {
		delete(w.byName, name)
	}
}

// get returns what is remembered of a workspace; nil if it is not engaged.
func (w *workspaces) get(name multicluster.ClusterName) *workspace {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byName[name]
}

// oldestPending is since when the Namespace has no SyncTarget that is without one for the longest time; zero if there is none.
func (w *workspaces) oldestPending() (oldest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, workspace := range w.byName {
		workspace.mu.Lock()
		for _, since := range workspace.pending {
			if oldest.IsZero() || since.Before(oldest) {
				oldest = since
			}
		}
		workspace.mu.Unlock()
	}
	return oldest
}

// availability is what a syncer has reported of an Assignment, and when this process first saw it. The clock of the syncer's cluster
// may be another.
type availability struct {
	epoch    int64
	reported metav1.Time
	seen     time.Time
}

// availableSince tells since when it is known of Assignments that everything runs there, and forgets the others.
func (w *workspace) availableSince(assignments []workloadv1alpha1.Assignment, now time.Time) map[types.UID]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	available, since := map[types.UID]availability{}, map[types.UID]time.Time{}
	for i := range assignments {
		a := &assignments[i]
		condition := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAvailable)
		if condition == nil || condition.Status != metav1.ConditionTrue || a.Status.ObservedEpoch != a.Spec.Epoch {
			continue
		}
		known, ok := w.available[a.UID]
		if !ok || known.epoch != a.Spec.Epoch || !known.reported.Equal(&condition.LastTransitionTime) {
			known = availability{epoch: a.Spec.Epoch, reported: condition.LastTransitionTime, seen: now}
		}
		available[a.UID], since[a.UID] = known, known.seen
	}
	w.available = available
	return since
}

// untilReport is how long a report has to wait; zero if it is due.
func (w *workspace) untilReport(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, reportInterval-now.Sub(w.reported))
}

// report notes that statuses are written.
func (w *workspace) report(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reported = now
}

// setPending notes which Namespaces have no SyncTarget.
func (w *workspace) setPending(names []string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending := make(map[string]time.Time, len(names))
	for _, name := range names {
		pending[name] = now
		if since, known := w.pending[name]; known {
			pending[name] = since
		}
	}
	w.pending = pending
}

// hiddenSince tells when a Namespace was last found to be hidden; zero for never.
func (w *workspace) hiddenSince(uid types.UID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hidden[uid]
}

// setHidden replaces the record of hidden Namespaces.
func (w *workspace) setHidden(hidden map[types.UID]time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hidden = hidden
}

// Start implements multicluster-runtime's Runnable. There is nothing to run.
func (r *Reconciler) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Engage implements multicluster.Aware: it watches the workspace until ctx ends.
func (r *Reconciler) Engage(ctx context.Context, name multicluster.ClusterName, cl cluster.Cluster) error {
	watching, end := context.WithCancel(ctx)
	begun := r.workspaces.begin(name, end)
	context.AfterFunc(ctx, func() {
		end()
		r.workspaces.end(name, begun)
	})
	return r.watches.Engage(watching, name, cl)
}
