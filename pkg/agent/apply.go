package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Apply brings the objects to what they should be, by server-side apply, and returns how many it had to write: none
// when all is right. The client must read live. What others set beside our fields stays; what we no longer set goes.
//
// Errors: *ForeignError, *LeftoverError, *TerminatingError, or what the API server answered.
func Apply(ctx context.Context, c client.Client, objects []client.Object, owner string) (changed int, err error) {
	a := applier{client: c, owner: owner, fresh: map[string]bool{}}
	for _, object := range objects {
		wrote, err := a.apply(ctx, object)
		if wrote {
			changed++
		}
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// ApplyDownstream applies what Downstream returns, and returns how many objects it had to write. The syncer's Pods are replaced when
// their ServiceAccount has been. With Config.KeepSyncer it applies all but the Deployment and the Secret, of which it changes the token
// alone. Then it deletes copies of pull secrets that the SyncTarget no longer names. Its errors are Apply's.
func ApplyDownstream(ctx context.Context, c client.Client, cfg Config, owner string) (changed int, err error) {
	apply := applySyncer
	if cfg.KeepSyncer {
		apply = applyAroundSyncer
	}
	if changed, err = apply(ctx, c, cfg, owner); err != nil {
		return changed, err
	}
	deleted, err := deleteUnreferencedPullSecrets(ctx, c, cfg)
	if err != nil {
		log.FromContext(ctx).Error(err, "Copies of pull secrets that are no longer named are left; deleting them is tried again")
	}
	return changed + deleted, nil
}

// applySyncer applies what Downstream returns.
func applySyncer(ctx context.Context, c client.Client, cfg Config, owner string) (changed int, err error) {
	objects := Downstream(cfg)
	before := objects[:len(objects)-1] // all but the Deployment
	if changed, err = Apply(ctx, c, before, owner); err != nil {
		return changed, err
	}
	account, err := get(ctx, c, reference(corev1.SchemeGroupVersion.WithKind("ServiceAccount"), cfg.namespace(), DeploymentName))
	if err != nil {
		return changed, err
	}
	if account != nil {
		cfg.AccountUID = account.GetUID()
	}
	wrote, err := Apply(ctx, c, []client.Object{cfg.deployment()}, owner)
	return changed + wrote, err
}

type applier struct {
	client client.Client
	owner  string
	// fresh holds the Namespaces made in this call: nothing in them can stand in the way, so nothing is read there.
	fresh map[string]bool
	// withNamespace keeps what is being deleted because its Namespace is.
	withNamespace bool
}

func (a *applier) apply(ctx context.Context, object client.Object) (wrote bool, err error) {
	desired, err := manifestOf(object)
	if err != nil {
		return false, err
	}
	var live *unstructured.Unstructured
	if !a.fresh[desired.GetNamespace()] {
		if live, err = get(ctx, a.client, object); err != nil {
			return false, err
		}
	}
	needed, err := compare(live, desired)
	if err != nil {
		return false, err
	}
	switch needed {
	case changeNothing:
		return false, nil
	case changeByReplacing:
		if err := a.clear(ctx, live, desired); err != nil {
			return false, err
		}
	case changeByUpdating:
		// Should it be replaced meanwhile, the server refuses.
		desired.SetUID(live.GetUID())
	}
	if err := a.write(ctx, object, desired); err != nil {
		return false, err
	}
	if _, ok := object.(*corev1.Namespace); ok && live == nil {
		a.fresh[object.GetName()] = true
	}
	return true, nil
}

// change is what it takes to make a live object the desired one.
type change int

const (
	changeNothing change = iota
	changeByCreating
	changeByUpdating
	// changeByReplacing deletes the live object first.
	changeByReplacing
)

// compare decides what to change. live is nil where there is no such object.
func compare(live, desired *unstructured.Unstructured) (change, error) {
	if live == nil {
		return changeByCreating, nil
	}
	if err := mayApply(live, desired); err != nil {
		return changeNothing, err
	}
	switch {
	case live.GetDeletionTimestamp() != nil, !alterable(live, desired):
		return changeByReplacing, nil
	case upToDate(live, desired):
		return changeNothing, nil
	}
	return changeByUpdating, nil
}

// write applies the desired manifest of an object.
func (a *applier) write(ctx context.Context, object client.Object, desired *unstructured.Unstructured) error {
	log.FromContext(ctx).Info("Applying", "object", describe(object))
	err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(desired), client.ForceOwnership, client.FieldOwner(a.owner))
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		namespace, err := a.namespaceOf(ctx, object)
		if err != nil {
			return err
		}
		return terminatingNamespace(object, namespace)
	}
	if err != nil {
		return fmt.Errorf("applying %s: %w", describe(object), withhold(err, object))
	}
	return nil
}

// mayApply refuses what is not this SyncTarget's.
func mayApply(live, desired *unstructured.Unstructured) error {
	have, want := live.GetLabels(), desired.GetLabels()
	switch {
	case isOfDownstreamNamespace(desired):
		// What an earlier SyncTarget of this name left, or what stood for this Namespace before, is taken over: workloads may
		// be running in it.
		if key := have[workloadv1alpha1.LabelKey]; key != "" && key != want[workloadv1alpha1.LabelKey] || !sameSource(live, desired) {
			return &ForeignError{Object: describe(desired), Where: whereOf(desired)}
		}
	case have[workloadv1alpha1.LabelKey] != want[workloadv1alpha1.LabelKey] || have[workloadv1alpha1.LabelUID] == "":
		foreign := &ForeignError{Object: describe(desired), Where: whereOf(desired)}
		if want[workloadv1alpha1.LabelPullSecret] != "" {
			foreign.Remedy = "remove the namespace from its entry in spec.syncer.imagePullSecrets"
		}
		return foreign
	case have[workloadv1alpha1.LabelUID] != want[workloadv1alpha1.LabelUID]:
		return &LeftoverError{Object: describe(desired)}
	}
	return nil
}

// held is the finalizer by which we hold an object, empty for none.
func held(live, desired *unstructured.Unstructured) string {
	for _, finalizer := range desired.GetFinalizers() {
		if slices.Contains(live.GetFinalizers(), finalizer) {
			return finalizer
		}
	}
	return ""
}

// clear makes room for an object of ours that cannot be what it should: one that is being deleted and may wait for us
// to let go, or one that differs in what no API server lets anybody change.
func (a *applier) clear(ctx context.Context, live, desired *unstructured.Unstructured) error {
	if a.withNamespace && live.GetDeletionTimestamp() != nil {
		// Read after the object: its Namespace has been marked before it.
		namespace, err := a.namespaceOf(ctx, live)
		if err != nil {
			return err
		}
		if namespace == nil || namespace.GetDeletionTimestamp() != nil {
			return terminatingNamespace(live, namespace)
		}
	}
	left, err := discard(ctx, a.client, live, held(live, desired))
	if err != nil {
		return err
	}
	if left != nil {
		return &TerminatingError{Waiting: terminating(left)}
	}
	return nil
}

// namespaceOf reads the Namespace of an object; nil means that there is none.
func (a *applier) namespaceOf(ctx context.Context, object client.Object) (*unstructured.Unstructured, error) {
	return get(ctx, a.client, reference(corev1.SchemeGroupVersion.WithKind("Namespace"), "", object.GetNamespace()))
}

// terminatingNamespace says that the Namespace of an object is being deleted. namespace is nil if it is gone by now.
func terminatingNamespace(object client.Object, namespace *unstructured.Unstructured) error {
	if namespace == nil {
		return &TerminatingError{Waiting: fmt.Sprintf("Namespace %q is still being deleted", object.GetNamespace())}
	}
	return &TerminatingError{Waiting: terminating(namespace)}
}

// alterable tells whether the fields that API servers never let change are what they should be.
func alterable(live, desired *unstructured.Unstructured) bool {
	var path []string
	switch desired.GetKind() {
	case "Deployment":
		path = []string{"spec", "selector"}
	case "ClusterRoleBinding", "RoleBinding":
		path = []string{"roleRef"}
	case "Secret":
		path = []string{"type"}
	default:
		return true
	}
	have, _, _ := unstructured.NestedFieldNoCopy(live.Object, path...)
	want, _, _ := unstructured.NestedFieldNoCopy(desired.Object, path...)
	return reflect.DeepEqual(have, want)
}
