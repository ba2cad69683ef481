package synctarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

const (
	// namespaceWorkers is how many Namespaces of a target are looked after at the same time: the cluster may be far away, and a
	// pass is short.
	namespaceWorkers = 8
	// namespacesTime is their share of a pass. The next pass goes on with the rest of them.
	namespacesTime = pcluster.Budget / 2
	// namespaceTime is that of each: one that hangs in a webhook says nothing of the cluster, which has just answered.
	namespaceTime = 4 * time.Second
)

// admit lets the syncer into the assigned Namespaces of the workspace.
func (r *Reconciler) admit(ctx context.Context, s *scope, in installAttempt, plan namespacePlan) error {
	return forEachNamespace(plan.admitted(), func(n *assignedNamespace) error {
		if n.Message != "" {
			return nil // it is never synced any more
		}
		if !in.inspection.namespaces.isAdmitted(n.Name) || n.State == namespaceReopening {
			if err := n.setObstacle(grant(ctx, s, in.cfg, n.Name)); err != nil {
				return err
			}
			if n.Message == "" {
				in.inspection.namespaces.setAdmitted(n.Name)
			}
		}
		n.granted = n.Message == ""
		if s.pullMode() && n.Message == "" {
			n.State = namespaceOpen
		}
		return nil
	})
}

// grant gives the syncer its rights in a Namespace of the workspace, after what an earlier SyncTarget of this name left there.
func grant(ctx context.Context, s *scope, cfg agent.Config, namespace string) error {
	err := agent.Admission(ctx, s.upstream, cfg, namespace)
	var leftover *agent.LeftoverError
	if !errors.As(err, &leftover) {
		return err
	}
	waiting, done, err := agent.Revoke(ctx, s.upstream, s.target.Name, s.key, namespace)
	if err != nil {
		return err
	}
	if !done {
		return &agent.TerminatingError{Waiting: waiting}
	}
	return agent.Admission(ctx, s.upstream, cfg, namespace)
}

// ensureDownstreamNamespaces makes the downstream Namespaces of the opened ones, and keeps those that the syncer has yet to leave:
// with one that somebody deletes go its rights to see that nothing of its own is left. The error is errUnfinished where time runs
// out.
func (r *Reconciler) ensureDownstreamNamespaces(ctx context.Context, in installAttempt, plan *namespacePlan, cluster physicalCluster) error {
	todo := slices.DeleteFunc(plan.admitted(), func(n *assignedNamespace) bool { return n.Message != "" })
	for _, n := range plan.in(namespaceDraining) {
		todo = append(todo, &assignedNamespace{Name: n.Name, State: n.State}) // the message on it is about its end
	}
	ctx, cancel := context.WithTimeout(ctx, namespacesTime)
	defer cancel()
	var progress atomic.Bool
	err := forEachNamespace(todo, func(n *assignedNamespace) error {
		input := plan.downstreamInput(n.Name)
		if obstacle, known := in.inspection.namespaces.obstacle(n.Name, input); known && n.State != namespaceReopening {
			n.Message = obstacle
			n.openUnlessObstructed()
			return nil
		}
		if err := r.ensureDownstreamNamespace(ctx, in.cfg, cluster, n); err != nil {
			return err
		}
		in.inspection.namespaces.setDownstream(n.Name, input, n.Message)
		progress.Store(true)
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) && progress.Load() {
		err = errUnfinished
	}
	plan.awaitsDeletion = plan.awaitsDeletion || slices.ContainsFunc(todo, func(n *assignedNamespace) bool { return n.Message != "" })
	return err
}

// ensureDownstreamNamespace makes the downstream Namespace of one. Where something keeps this Namespace alone from being opened,
// its message says what.
func (r *Reconciler) ensureDownstreamNamespace(ctx context.Context, cfg agent.Config, cluster physicalCluster, n *assignedNamespace) error {
	objects := agent.DownstreamNamespace(cfg, n.Name)
	applying, cancel := context.WithTimeout(ctx, namespaceTime)
	defer cancel()
	err := r.applyDownstreamNamespace(applying, cfg, cluster, n.Name, objects)
	if errors.Is(err, context.DeadlineExceeded) && applying.Err() != nil && ctx.Err() == nil {
		n.Message = fmt.Sprintf("the physical cluster has not taken Namespace %q within %s; a webhook there may hang", objects[0].GetName(), namespaceTime)
	} else if err := n.setObstacle(err); err != nil {
		return err
	}
	n.Message = cluster.Clean(n.Message)
	n.openUnlessObstructed()
	return nil
}

// openUnlessObstructed opens a Namespace for which the rights on both sides have been given.
func (n *assignedNamespace) openUnlessObstructed() {
	if n.Message == "" && (n.State == namespaceOpening || n.State == namespaceReopening) {
		n.State = namespaceOpen
	}
}

// applyDownstreamNamespace applies what agent.DownstreamNamespace has built for a Namespace. The labels of one that the workspace
// does not show are not known: the downstream Namespace keeps those it has.
func (r *Reconciler) applyDownstreamNamespace(ctx context.Context, cfg agent.Config, cluster physicalCluster, namespace string, objects []client.Object) error {
	if _, known := cfg.NamespaceLabels[namespace]; !known {
		if err := agent.KeepCarriedLabels(ctx, cluster.Client(), objects[0]); err != nil {
			return err
		}
	}
	changed, err := agent.Apply(ctx, cluster.Client(), objects, workloadv1alpha1.FieldOwnerController)
	r.Metrics.applied(changed, err)
	return err
}

// forEachNamespace does something for each Namespace, a few at a time in this order. The failure of one does not stop the others.
func forEachNamespace(namespaces []*assignedNamespace, do func(*assignedNamespace) error) error {
	var group errgroup.Group
	group.SetLimit(namespaceWorkers)
	for _, n := range namespaces {
		group.Go(func() error { return do(n) })
	}
	return group.Wait()
}

// removeDownstreamNamespaces removes all of them, and returns what DownstreamNamespaces.Remove does. A cluster that has none is
// asked nothing more. Those that are being deleted already come last: there may be more than a pass has time for.
func (r *Reconciler) removeDownstreamNamespaces(ctx context.Context, s *scope, cluster physicalCluster) (waiting string, ended int, done bool, err error) {
	all, err := agent.DownstreamNamespaces{Client: cluster.Client(), Key: s.key}.List(ctx)
	if err != nil || len(all) == 0 {
		return "", 0, err == nil, err
	}
	going := func(n metav1.PartialObjectMetadata) bool { return n.DeletionTimestamp != nil }
	all = append(slices.DeleteFunc(slices.Clone(all), going), slices.DeleteFunc(all, func(n metav1.PartialObjectMetadata) bool { return !going(n) })...)
	var left []string
	orphan := s.target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan
	waiting, ended, done, err = downstreamNamespacesOf(ctx, s, cluster, &left).Remove(ctx, all, orphan)
	r.announceLeft(ctx, s, left)
	return waiting, ended, done, err
}

// downstreamNamespacesOf are those of a target, with what its cluster says may be in them. A sentence about each that stays is
// added to left.
func downstreamNamespacesOf(ctx context.Context, s *scope, cluster physicalCluster, left *[]string) agent.DownstreamNamespaces {
	c, resources, unknown := cluster.Serving(ctx)
	return agent.DownstreamNamespaces{
		Client: c, Key: s.key, Resources: resources, Unknown: unknown, Clean: cluster.Clean,
		Left: func(sentence string) { *left = append(*left, sentence) },
	}
}

// announceLeft reports all Namespaces that one pass leaves standing in one Event: of many, client-go's recorder folds or drops some.
func (r *Reconciler) announceLeft(ctx context.Context, s *scope, sentences []string) {
	if len(sentences) > 0 {
		log.FromContext(ctx).Info("Namespaces are left in the physical cluster", "namespaces", sentences)
		r.Events.Event(s.clusterName, s.target, corev1.EventTypeNormal, workloadv1alpha1.ReasonNamespaceLeft, paragraph(sentences, maxMessage))
	}
}
