package synctarget

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Events of the objects that lead to SyncTargets: Secrets, Namespaces and APIBindings.

// secretEvents queues the targets that refer to a Secret, and the target that a token belongs to.
func (r *Reconciler) secretEvents(clusterName multicluster.ClusterName, cl cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	return enqueueFor(clusterName, func(ctx context.Context, secret client.Object) []workloadv1alpha1.SyncTarget {
		var targets workloadv1alpha1.SyncTargetList
		if err := cl.GetCache().List(ctx, &targets, client.MatchingFields{indexSecret: secret.GetNamespace() + "/" + secret.GetName()}); err != nil {
			return nil
		}
		if owner := ownerOf(ctx, cl, secret); owner != nil {
			r.installCache.forgetIdentity(owner.UID)
			targets.Items = append(targets.Items, *owner)
		}
		return targets.Items
	})
}

// namedSecrets are the Secrets of the workspace that a SyncTarget names, as Namespace and name.
func namedSecrets(spec *workloadv1alpha1.SyncTargetSpec) []string {
	var names []string
	if ref := spec.KubeconfigSecretRef; ref != nil {
		names = append(names, ref.Namespace+"/"+ref.Name)
	}
	if spec.Syncer == nil {
		return names
	}
	for _, ref := range spec.Syncer.ImagePullSecrets {
		if ref.Namespace != "" {
			names = append(names, ref.Namespace+"/"+ref.Name)
		}
	}
	return names
}

// ownerOf is the target that an object of an identity belongs to, nil for none. The tenant may write its annotation, too: it
// leads to a target of this workspace, or to none.
func ownerOf(ctx context.Context, cl cluster.Cluster, object client.Object) *workloadv1alpha1.SyncTarget {
	var owner workloadv1alpha1.SyncTarget
	name := object.GetAnnotations()[workloadv1alpha1.AnnotationSyncTarget]
	if name == "" || cl.GetCache().Get(ctx, types.NamespacedName{Name: name}, &owner) != nil {
		return nil
	}
	return &owner
}

// namespaceEvents queues the targets that a Namespace is assigned to, and the target whose identity it holds. An update counts only if
// it changes what the targets follow from: the scheduler writes an annotation each time that something moves.
func namespaceEvents(clusterName multicluster.ClusterName, cl cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	all := enqueueFor(clusterName, func(ctx context.Context, namespace client.Object) []workloadv1alpha1.SyncTarget {
		if owner := ownerOf(ctx, cl, namespace); owner != nil {
			return []workloadv1alpha1.SyncTarget{*owner}
		}
		var targets []workloadv1alpha1.SyncTarget
		for _, name := range assignedTo(ctx, clusterName, cl, namespace.GetName()) {
			var target workloadv1alpha1.SyncTarget
			if cl.GetCache().Get(ctx, types.NamespacedName{Name: name}, &target) == nil {
				targets = append(targets, target)
			}
		}
		return targets
	}).(handler.TypedFuncs[client.Object, mcreconcile.Request])
	update := all.UpdateFunc
	all.UpdateFunc = func(ctx context.Context, e event.UpdateEvent, q queue) {
		before, after := e.ObjectOld, e.ObjectNew
		if before.GetUID() != after.GetUID() || !before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) ||
			!maps.Equal(before.GetLabels(), after.GetLabels()) || isIdentity(after) {
			update(ctx, e, q)
		}
	}
	return all
}

// isIdentity reports whether a Namespace holds the identity of a syncer, of which everything is looked at.
func isIdentity(namespace client.Object) bool {
	return namespace.GetAnnotations()[workloadv1alpha1.AnnotationSyncTarget] != ""
}

// namespaceMeta names the metadata-only view of Namespaces.
func namespaceMeta() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return meta
}

// bindingEvents queues every target of a workspace whose accepted claims change, and has its identity looked at again, which
// follows from them.
func (r *Reconciler) bindingEvents(clusterName multicluster.ClusterName, cl cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	return handler.TypedFuncs[client.Object, mcreconcile.Request]{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*apisv1alpha2.APIBinding), e.ObjectNew.(*apisv1alpha2.APIBinding)
			if equality.Semantic.DeepEqual(claimsOf(before), claimsOf(after)) {
				return
			}
			var targets workloadv1alpha1.SyncTargetList
			if err := cl.GetCache().List(ctx, &targets); err != nil {
				return
			}
			for i := range targets.Items {
				r.installCache.forgetIdentity(targets.Items[i].UID)
				q.Add(request(clusterName, targets.Items[i].Name))
			}
		},
	}
}

// claimsOf is what the permission claims of a workspace follow from.
func claimsOf(binding *apisv1alpha2.APIBinding) []any {
	return []any{binding.Spec, binding.Status.AppliedPermissionClaims, binding.Status.ExportPermissionClaims}
}
