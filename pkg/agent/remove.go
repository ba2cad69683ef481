package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// removal is what is taken away: the objects of one key, of one UID or of every other one.
type removal struct {
	client    client.Client
	namespace string
	key       string
	uid       types.UID
	// residue turns the choice round: every UID but this one.
	residue bool
}

func newRemoval(c client.Client, name, key string, uid types.UID, residue bool) *removal {
	return &removal{client: c, namespace: workloadv1alpha1.SyncerNamespace(name, key), key: key, uid: uid, residue: residue}
}

// Remove takes the syncer of one SyncTarget out of the physical cluster. It deletes only what carries the target's key
// and UID, each with a UID precondition, and may be called again after any failure. done means that nothing is left;
// otherwise waiting says in a sentence what is waited for.
func Remove(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	return newRemoval(c, name, key, uid, false).downstream(ctx)
}

// RemoveResidue takes away what earlier SyncTargets of the same key, but another UID, left in the physical cluster.
func RemoveResidue(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	return newRemoval(c, name, key, uid, true).downstream(ctx)
}

// RemoveIdentity takes the syncer's identity out of the workspace, like Remove, and takes its finalizer off it.
func RemoveIdentity(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	return newRemoval(c, name, key, uid, false).upstream(ctx)
}

// RemoveIdentityResidue takes away the identity that earlier SyncTargets of the same key, but another UID, left.
func RemoveIdentityResidue(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	return newRemoval(c, name, key, uid, true).upstream(ctx)
}

func (r *removal) downstream(ctx context.Context) (string, bool, error) {
	// The syncer stops before it loses its rights.
	return r.deleteAll(ctx, []client.Object{
		&appsv1.Deployment{TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: DeploymentName}},
		r.clusterRoleBinding(), r.clusterRole(), r.namespaceObject(),
	})
}

func (r *removal) upstream(ctx context.Context) (string, bool, error) {
	return r.deleteAll(ctx, []client.Object{
		&corev1.Secret{TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: TokenSecretName}},
		&corev1.ServiceAccount{TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: DeploymentName}},
		r.clusterRoleBinding(), r.clusterRole(), r.namespaceObject(),
	})
}

func (r *removal) clusterRoleBinding() client.Object {
	return &rbacv1.ClusterRoleBinding{TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
}

func (r *removal) clusterRole() client.Object {
	return &rbacv1.ClusterRole{TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
}

func (r *removal) namespaceObject() client.Object {
	return &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
}

// deleteAll deletes what is ours, takes our finalizer off it, and reports the first that is not gone yet.
func (r *removal) deleteAll(ctx context.Context, objects []client.Object) (waiting string, done bool, err error) {
	done = true
	for _, object := range objects {
		what := describe(object)
		found, err := get(ctx, r.client, object, object)
		if err != nil {
			return "", false, err
		}
		if !found || !r.ours(object) {
			continue
		}
		if object.GetDeletionTimestamp().IsZero() {
			err := r.client.Delete(ctx, object, client.Preconditions{UID: ptr.To(object.GetUID())}, client.PropagationPolicy(metav1.DeletePropagationBackground))
			if err != nil && !apierrors.IsNotFound(err) {
				return "", false, fmt.Errorf("deleting %s: %w", what, err)
			}
		}
		if controllerutil.ContainsFinalizer(object, workloadv1alpha1.Hold(r.key)) {
			if err := r.letGo(ctx, object); err != nil {
				return "", false, fmt.Errorf("taking the finalizer off %s: %w", what, err)
			}
		}
		// Most are gone at once; a Namespace takes its time, and something may hold any of them.
		if found, err = get(ctx, r.client, object, object); err != nil {
			return "", false, err
		}
		if found && r.ours(object) {
			done = false
			if waiting == "" {
				waiting = what + " is still being deleted" + because(object)
			}
		}
	}
	return waiting, done, nil
}

func (r *removal) ours(object client.Object) bool {
	labels := object.GetLabels()
	uid := types.UID(labels[workloadv1alpha1.LabelUID])
	return labels[workloadv1alpha1.LabelKey] == r.key && uid != "" && (uid == r.uid) != r.residue
}

// letGo takes our finalizer off an object, which the patch names by its UID. Deleting before letting go means that a
// crash in between leaves an object that the next pass finds and lets go.
func (r *removal) letGo(ctx context.Context, object client.Object) error {
	before := object.DeepCopyObject().(client.Object)
	before.SetResourceVersion("")
	after := before.DeepCopyObject().(client.Object)
	after.SetFinalizers(slices.DeleteFunc(slices.Clone(after.GetFinalizers()), func(f string) bool { return f == workloadv1alpha1.Hold(r.key) }))
	return client.IgnoreNotFound(r.client.Patch(ctx, after, client.MergeFrom(before)))
}

// because says what holds an object that is being deleted.
func because(object client.Object) string {
	var causes []string
	if namespace, ok := object.(*corev1.Namespace); ok {
		for _, condition := range namespace.Status.Conditions {
			switch condition.Type {
			case corev1.NamespaceDeletionDiscoveryFailure, corev1.NamespaceDeletionContentFailure, corev1.NamespaceDeletionGVParsingFailure,
				corev1.NamespaceContentRemaining, corev1.NamespaceFinalizersRemaining:
				if condition.Status == corev1.ConditionTrue {
					causes = append(causes, condition.Message)
				}
			}
		}
	} else if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		causes = append(causes, "finalizers "+strings.Join(finalizers, ", "))
	}
	if len(causes) == 0 {
		return ""
	}
	slices.Sort(causes)
	return ": " + strings.Join(causes, "; ")
}
