package synctarget

import (
	"context"
	"errors"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// engagements records which workspaces are engaged, and of which SyncTargets in them events were seen. After a workspace
// is disengaged no event says that its SyncTargets are gone, so this record says of which the state has to be dropped.
type engagements struct {
	mu          sync.Mutex
	byWorkspace map[multicluster.ClusterName]*engagement
}

// engagement is the time from one call of Engage for a workspace until its context ends, or until the next call.
type engagement struct {
	// end ends the watches of the workspace.
	end context.CancelFunc
	// names of the SyncTargets, by UID.
	names map[types.UID]string
}

func newEngagements() *engagements {
	return &engagements{byWorkspace: map[multicluster.ClusterName]*engagement{}}
}

// begin replaces the engagement of a workspace. The new one knows the SyncTargets of the one before, whose watches end.
func (e *engagements) begin(workspace multicluster.ClusterName, end context.CancelFunc) *engagement {
	e.mu.Lock()
	defer e.mu.Unlock()
	begun := &engagement{end: end, names: map[types.UID]string{}}
	if before := e.byWorkspace[workspace]; before != nil {
		before.end()
		begun.names = before.names
	}
	e.byWorkspace[workspace] = begun
	return begun
}

// end removes an engagement and returns the SyncTargets that were seen in it; none if it was replaced.
func (e *engagements) end(workspace multicluster.ClusterName, ended *engagement) map[types.UID]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byWorkspace[workspace] != ended {
		return nil
	}
	delete(e.byWorkspace, workspace)
	return ended.names
}

// observe records a SyncTarget and calls take, unless its workspace is not engaged. What take records cannot be left
// behind: the engagement does not end meanwhile.
func (e *engagements) observe(workspace multicluster.ClusterName, target *workloadv1alpha1.SyncTarget, take func(*workloadv1alpha1.SyncTarget)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.byWorkspace[workspace]; found != nil {
		found.names[target.UID] = target.Name
		take(target)
	}
}

// has tells whether a SyncTarget of this name and UID was seen in a workspace.
func (e *engagements) has(workspace multicluster.ClusterName, uid types.UID, name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.byWorkspace[workspace]
	return found != nil && found.names[uid] == name
}

// remove drops a SyncTarget from the record.
func (e *engagements) remove(workspace multicluster.ClusterName, uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.byWorkspace[workspace]; found != nil {
		delete(found.names, uid)
	}
}

// Start implements multicluster-runtime's Runnable. There is nothing to run.
func (r *Reconciler) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Engage implements multicluster.Aware: it watches the workspace. When ctx ends, the watches end, and the state of all SyncTargets
// of the workspace is dropped.
func (r *Reconciler) Engage(ctx context.Context, workspace multicluster.ClusterName, cl cluster.Cluster) error {
	watching, end := context.WithCancel(ctx)
	begun := r.engagements.begin(workspace, end)
	context.AfterFunc(ctx, func() {
		end()
		for uid, name := range r.engagements.end(workspace, begun) {
			target := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
			r.forget(&scope{clusterName: workspace, target: target})
		}
	})
	return r.workspaceWatches.Engage(watching, workspace, cl)
}

// isGone tells whether the SyncTarget of a pass left while the pass ran: it was deleted, another one has its name, or its
// workspace was disengaged.
func (r *Reconciler) isGone(ctx context.Context, req mcreconcile.Request, uid types.UID) bool {
	workspace, err := r.Workspaces.GetCluster(ctx, req.ClusterName)
	if err != nil {
		return errors.Is(err, multicluster.ErrClusterNotFound)
	}
	var target workloadv1alpha1.SyncTarget
	err = workspace.GetCache().Get(ctx, req.NamespacedName, &target)
	return client.IgnoreNotFound(err) == nil && target.UID != uid
}
