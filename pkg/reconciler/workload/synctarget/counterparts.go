package synctarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

const (
	// furnishers is how many Namespaces of a target are looked after at the same time: the cluster may be far away, and a
	// pass is short.
	furnishers = 8
	// furnishTime is their share of a pass. The rest of them has its turn in the next.
	furnishTime = pcluster.Budget / 2
	// counterpartTime is that of each: one that hangs in a webhook says nothing of the cluster, which has just answered.
	counterpartTime = 4 * time.Second
)

// admit lets the syncer into the opened Namespaces of the workspace.
func (r *Reconciler) admit(ctx context.Context, s *scope, cfg agent.Config) error {
	return together(s.admitted(), func(_ int, n *openedNamespace) error {
		if _, done := s.round.admitted.Load(n.Name); !done {
			if err := n.obstructed(grant(ctx, s, cfg, n.Name)); err != nil {
				return err
			}
			if n.Message == "" {
				s.round.admitted.Store(n.Name, true)
			}
		}
		if s.pullMode() && n.Message == "" {
			n.State = workloadv1alpha1.NamespaceOpen
		}
		return nil
	})
}

// grant gives the syncer its rights in a Namespace of the workspace, after what an earlier SyncTarget of this name left there.
func grant(ctx context.Context, s *scope, cfg agent.Config, namespace string) error {
	err := agent.Admission(ctx, s.upstream, cfg, namespace)
	var residue *agent.ResidueError
	if !errors.As(err, &residue) {
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

// furnish makes the counterparts of the opened Namespaces in the physical cluster, and keeps those that the syncer has yet
// to leave: with one that somebody deletes go its rights to see that nothing of its own is left. It returns the bindings,
// each of which goes with its Namespace. Where time runs out, s.unfinished is set.
func (r *Reconciler) furnish(ctx context.Context, s *scope, cfg agent.Config, cluster physicalCluster) ([]client.Object, error) {
	todo := slices.DeleteFunc(s.admitted(), func(n *openedNamespace) bool { return n.Message != "" })
	for _, name := range s.draining {
		todo = append(todo, &openedNamespace{Name: name, State: workloadv1alpha1.NamespaceClosing})
	}
	ctx, cancel := context.WithTimeout(ctx, furnishTime)
	defer cancel()
	var progress atomic.Bool
	bindings := make([]client.Object, len(todo))
	err := together(todo, func(i int, n *openedNamespace) (err error) {
		if said, seen := s.round.seen.Load(n.Name); seen {
			if n.Message = said.(string); n.Message == "" {
				n.State, bindings[i] = workloadv1alpha1.NamespaceOpen, bindingOf(agent.Counterpart(cfg, n.Name))
			}
			return nil
		}
		if bindings[i], err = r.ensureCounterpart(ctx, cfg, cluster, n); err != nil {
			return err
		}
		s.round.seen.Store(n.Name, n.Message)
		progress.Store(true)
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) && progress.Load() {
		s.unfinished, err = true, nil
	}
	s.waiting = s.waiting || slices.Contains(bindings, nil)
	return slices.DeleteFunc(bindings, func(o client.Object) bool { return o == nil }), err
}

// ensureCounterpart makes the counterpart of a Namespace and returns its binding, which is watched from then on. Where
// this Namespace alone is obstructed, its message says why, and there is no binding.
func (r *Reconciler) ensureCounterpart(ctx context.Context, cfg agent.Config, cluster physicalCluster, n *openedNamespace) (client.Object, error) {
	objects := agent.Counterpart(cfg, n.Name)
	applying, cancel := context.WithTimeout(ctx, counterpartTime)
	defer cancel()
	err := r.applyCounterpart(applying, cfg, cluster, n.Name, objects)
	if errors.Is(err, context.DeadlineExceeded) && applying.Err() != nil && ctx.Err() == nil {
		n.Message = fmt.Sprintf("the physical cluster has not taken Namespace %q within %s; a webhook there may hang", objects[0].GetName(), counterpartTime)
	} else if err := n.obstructed(err); err != nil {
		return nil, err
	}
	if n.Message != "" {
		n.Message = cluster.Clean(n.Message)
		return nil, nil
	}
	if n.State == workloadv1alpha1.NamespaceOpening {
		n.State = workloadv1alpha1.NamespaceOpen
	}
	binding := bindingOf(objects)
	if err := cluster.Watch(binding); err != nil {
		return binding, fmt.Errorf("watching what is installed: %w", err)
	}
	return binding, nil
}

// bindingOf is the last object of a counterpart, which binds the syncer's rights there.
func bindingOf(counterpart []client.Object) client.Object { return counterpart[len(counterpart)-1] }

// applyCounterpart applies what agent.Counterpart has built for a Namespace. The labels of one that the workspace does not
// show are not known: the downstream Namespace keeps those it has.
func (r *Reconciler) applyCounterpart(ctx context.Context, cfg agent.Config, cluster physicalCluster, namespace string, objects []client.Object) error {
	if _, known := cfg.NamespaceLabels[namespace]; !known {
		if err := agent.KeepCarriedLabels(ctx, cluster.Client(), objects[0]); err != nil {
			return err
		}
	}
	changed, err := agent.Apply(ctx, cluster.Client(), objects, workloadv1alpha1.FieldOwnerController)
	r.Metrics.applied(changed, err)
	return err
}

// together does something for each Namespace, a few at a time in this order. One that fails keeps no other from it.
func together(namespaces []*openedNamespace, do func(int, *openedNamespace) error) error {
	var group errgroup.Group
	group.SetLimit(furnishers)
	for i, n := range namespaces {
		group.Go(func() error { return do(i, n) })
	}
	return group.Wait()
}

// sweep clears away the counterparts that stand for nothing any more: of a Namespace that the syncer has left, or that was
// closed before it was open. What is said of the Namespaces is read live. A refusal is what the physical cluster keeps it from,
// an error what kcp does.
func (r *Reconciler) sweep(ctx context.Context, s *scope, cluster physicalCluster) (refusal, err error) {
	strays, refusal := agent.Counterparts{Client: cluster.Client(), Key: s.key}.Strays(ctx, s.knows)
	if refusal != nil || len(strays) == 0 {
		return refusal, nil
	}
	live, err := s.live(ctx)
	if err != nil || live.UID != s.target.UID {
		return nil, err
	}
	var left []string
	counterparts := counterpartsOf(ctx, s, cluster, &left)
	var refusals, failures []error
	for i := range strays {
		name := strays[i].Annotations[workloadv1alpha1.AnnotationNamespace]
		if stateIn(live, name) != workloadv1alpha1.NamespaceOpen {
			refusal, err := r.clear(ctx, s, counterparts, strays[i:i+1], name)
			refusals, failures = append(refusals, refusal), append(failures, err)
		}
	}
	r.tellLeft(ctx, s, left)
	return errors.Join(refusals...), errors.Join(failures...)
}

// clear clears one counterpart away. What the syncer could not remove, as of a resource that the workspace serves no more,
// goes if the workspace itself says that the Namespace is not open. What an earlier SyncTarget of this name left running
// stays: that is not ours to end before this one ends too. refusal and err are those of sweep.
func (r *Reconciler) clear(ctx context.Context, s *scope, counterparts agent.Counterparts, one []metav1.PartialObjectMetadata, namespace string) (refusal, err error) {
	holds, refusal := counterparts.Clear(ctx, &one[0])
	if refusal != nil || !holds || one[0].Labels[workloadv1alpha1.LabelUID] != string(s.target.UID) {
		return refusal, nil
	}
	if open, err := r.stillOpen(ctx, s, namespace); err != nil || open {
		return nil, err
	}
	_, _, done, refusal := counterparts.Remove(ctx, one, false)
	s.clearing = s.clearing || !done
	return refusal, nil
}

// removeCounterparts takes all away, and returns what Counterparts.Remove does. A cluster that has none is asked nothing more.
// Those that are being deleted already come last: there may be more than a pass has time for.
func (r *Reconciler) removeCounterparts(ctx context.Context, s *scope, cluster physicalCluster) (waiting string, ended int, done bool, err error) {
	all, err := agent.Counterparts{Client: cluster.Client(), Key: s.key}.List(ctx)
	if err != nil || len(all) == 0 {
		return "", 0, err == nil, err
	}
	going := func(n metav1.PartialObjectMetadata) bool { return n.DeletionTimestamp != nil }
	all = append(slices.DeleteFunc(slices.Clone(all), going), slices.DeleteFunc(all, func(n metav1.PartialObjectMetadata) bool { return !going(n) })...)
	var left []string
	orphan := s.target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan
	waiting, ended, done, err = counterpartsOf(ctx, s, cluster, &left).Remove(ctx, all, orphan)
	r.tellLeft(ctx, s, left)
	return waiting, ended, done, err
}

// counterpartsOf are those of a target, with what its cluster says may be in them. What is said of those that stay is left.
func counterpartsOf(ctx context.Context, s *scope, cluster physicalCluster, left *[]string) agent.Counterparts {
	c, resources, unknown := cluster.Serving(ctx)
	return agent.Counterparts{
		Client: c, Key: s.key, Resources: resources, Unknown: unknown, Clean: cluster.Clean,
		Left: func(sentence string) { *left = append(*left, sentence) },
	}
}

// tellLeft tells of all Namespaces that one pass leaves standing in one Event: of many, client-go's recorder folds or drops some.
func (r *Reconciler) tellLeft(ctx context.Context, s *scope, sentences []string) {
	if len(sentences) > 0 {
		log.FromContext(ctx).Info("Namespaces are left in the physical cluster", "namespaces", sentences)
		r.Events.Event(s.clusterName, s.target, corev1.EventTypeNormal, workloadv1alpha1.ReasonNamespaceLeft, paragraph(sentences, maxMessage))
	}
}

// knows tells whether a Namespace has, or is to have, a counterpart.
func (s *scope) knows(namespace string) bool {
	return slices.ContainsFunc(s.namespaces, func(n workloadv1alpha1.NamespaceStatus) bool {
		return n.Name == namespace && n.State != workloadv1alpha1.NamespaceRefused
	})
}

// admitted are the Namespaces that the syncer is, or is to be, let into: first those that wait for it.
func (s *scope) admitted() []*openedNamespace {
	var opening, open []*openedNamespace
	for i := range s.namespaces {
		switch n := (*openedNamespace)(&s.namespaces[i]); n.State {
		case workloadv1alpha1.NamespaceOpening:
			opening = append(opening, n)
		case workloadv1alpha1.NamespaceOpen:
			open = append(open, n)
		}
	}
	return append(opening, open...)
}

type openedNamespace workloadv1alpha1.NamespaceStatus

// obstructed notes what concerns this Namespace alone, and returns every other error: that there was no answer, one that
// passes by itself, and that of a server that does not know us.
func (n *openedNamespace) obstructed(err error) error {
	var foreign *agent.ForeignError
	var terminating *agent.TerminatingError
	switch {
	case err == nil:
	case errors.As(err, &foreign), errors.As(err, &terminating), concernsObject(err) && !apierrors.IsUnauthorized(err):
		n.Message = truncate(err.Error(), maxMessage)
	default:
		return err
	}
	return nil
}

// openings is what an installation follows from: which Namespaces are opened, and the labels that their downstream
// Namespaces carry, as far as they are known.
func (s *scope) openings() string {
	var openings []string
	for _, n := range s.admitted() {
		opening := n.Name
		if labels, known := s.namespaceLabels[n.Name]; known {
			opening = fmt.Sprint(n.Name, agent.CarriedLabels(labels)) // which prints a map in the order of its keys
		}
		openings = append(openings, opening)
	}
	slices.Sort(openings)
	return strings.Join(openings, ",")
}
