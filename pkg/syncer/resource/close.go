package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

var (
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	roleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
)

// closePlace ends a closing place once nothing of ours is left in it: it reports the Namespace as drained, and then removes
// the counterpart, or leaves it to those who have something in it. In this order, since with the counterpart our rights in
// it are gone, and nobody could tell any more that it was drained. The objects are withdrawn one by one, by passes of their
// own.
func (e *Engine) closePlace(ctx context.Context, p *place) (again time.Duration, err error) {
	ending := p.ending()
	if ending == nil {
		return 0, nil
	}
	others, drained := p.isDrained()
	if !drained {
		if !e.seemsDrained(p) {
			return 0, nil // the pass that frees the last one comes back
		}
		if e.unsure() {
			return drainedRetry, nil
		}
		p.awaitPasses()
		if others, drained, err = e.drained(ctx, p); err != nil {
			return 0, err
		}
		if !drained {
			return drainedRetry, nil
		}
		if err := e.reportDrained(ctx, p.namespace, true); err != nil {
			return 0, err
		}
		p.setDrained(others)
	}
	if err := e.leave(ctx, p, others || ending.orphan); err != nil {
		return 0, err
	}
	e.stopPlace(p)
	return 0, nil
}

// drainedRetry is when the servers are asked again after they have shown what the caches did not.
const drainedRetry = 2 * time.Second

// seemsDrained tells whether everything has been listed, and the caches show nothing of ours any more.
func (e *Engine) seemsDrained(p *place) bool {
	for _, l := range p.all() {
		if !l.answered() || l.up.objects.shows(e.marks) || l.down != nil && l.down.objects.shows(e.ours) {
			return false
		}
	}
	return true
}

// unsure tells whether there are resources of which a side does not say now whether it serves them.
func (e *Engine) unsure() bool {
	catalog := e.catalog.Load()
	return catalog != nil && slices.ContainsFunc(*catalog, func(r Resource) bool { return r.Unknown })
}

// drained asks both servers whether nothing of ours is left, and whether there is something of others.
func (e *Engine) drained(ctx context.Context, p *place) (others, done bool, err error) {
	for _, l := range p.all() {
		mine, foreign, err := e.left(ctx, p, l)
		if mine || err != nil {
			return false, false, err
		}
		others = others || foreign
	}
	if !others {
		others, err = e.runsForOthers(ctx, p)
	}
	return others, err == nil, err
}

// runsForOthers asks the physical cluster whether somebody runs Pods of their own in a counterpart.
func (e *Engine) runsForOthers(ctx context.Context, p *place) (bool, error) {
	for _, gvk := range mapping.BareKinds() {
		list, err := e.down.Resource(owned[gvk.GroupKind()]).Namespace(p.counterpart).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", gvk.Kind, p.counterpart, err)
		}
		for i := range list.Items {
			if !e.ours(&list.Items[i]) && len(list.Items[i].GetOwnerReferences()) == 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// left asks both servers whether anything of ours is left, and the physical cluster whether anything of others is there.
func (e *Engine) left(ctx context.Context, p *place, l *lane) (mine, foreign bool, err error) {
	sources, err := l.up.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, false, fmt.Errorf("listing %s in Namespace %q of the workspace: %w", l.resource.GroupResource, p.namespace, err)
	}
	copies := &unstructured.UnstructuredList{}
	if l.down != nil {
		copies, err = l.down.client.List(ctx, metav1.ListOptions{})
		if apierrors.IsForbidden(err) && l.down.barred.Load() {
			copies, err = &unstructured.UnstructuredList{}, nil
		}
		if err != nil {
			return false, false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", l.resource.GroupResource, p.counterpart, err)
		}
	}
	for i := range sources.Items {
		mine = mine || e.marks(&sources.Items[i])
	}
	for i := range copies.Items {
		object := &copies.Items[i]
		switch {
		case e.ours(object):
			mine = true
		case !isFixture(object) && len(object.GetOwnerReferences()) == 0:
			foreign = true
		}
	}
	return mine, foreign, nil
}

// isFixture tells what every Namespace has.
func isFixture(object *unstructured.Unstructured) bool {
	if object.GroupVersionKind().GroupKind() == (schema.GroupKind{Kind: "Secret"}) {
		kind, _, _ := unstructured.NestedString(object.Object, "type")
		return kind == string(corev1.SecretTypeServiceAccountToken)
	}
	return stays(object)
}

// leave removes the counterpart if it is ours. Where it has to stay, our marks and our rights go. It may be called again
// after any failure; where there is no right to do so, the counterpart, and the rights with it, are gone already.
func (e *Engine) leave(ctx context.Context, p *place, stay bool) error {
	counterparts := e.down.Resource(namespaces)
	live, err := counterparts.Get(ctx, p.counterpart, metav1.GetOptions{})
	if isGoneOrHidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading Namespace %q in the physical cluster: %w", p.counterpart, err)
	}
	if live.GetDeletionTimestamp() != nil {
		return nil
	}
	uid := live.GetUID()
	switch mine := live.GetLabels()[workloadv1alpha1.LabelKey] == e.owner.Key; {
	case mine && !stay:
		log.FromContext(ctx).Info("Removing the counterpart", "namespace", p.namespace, "counterpart", p.counterpart)
		err := counterparts.Delete(ctx, p.counterpart, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !isGoneOrHidden(err) {
			return fmt.Errorf("deleting Namespace %q in the physical cluster: %w", p.counterpart, err)
		}
		return nil
	case mine:
		log.FromContext(ctx).Info("Leaving the counterpart to what is in it", "namespace", p.namespace, "counterpart", p.counterpart)
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": string(uid), "labels": map[string]any{
			workloadv1alpha1.LabelKey: nil, workloadv1alpha1.LabelUID: nil, "app.kubernetes.io/managed-by": nil,
		}}})
		if err != nil {
			return err
		}
		if _, err := counterparts.Patch(ctx, p.counterpart, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}); err != nil {
			return fmt.Errorf("taking our marks off Namespace %q in the physical cluster: %w", p.counterpart, err)
		}
	case !stay:
		return nil
	}
	err = e.down.Resource(roleBindings).Namespace(p.counterpart).Delete(ctx, bindingName, metav1.DeleteOptions{})
	if err != nil && !isGoneOrHidden(err) {
		return fmt.Errorf("handing back the rights in Namespace %q of the physical cluster: %w", p.counterpart, err)
	}
	return nil
}

func isGoneOrHidden(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) }

// bindingName is the RoleBinding that the installer makes in each counterpart.
const bindingName = "syncer"
