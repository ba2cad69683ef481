package agent

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// Remove takes the syncer of one SyncTarget out of the physical cluster. It deletes only what carries the target's key
// and UID, each with a UID precondition, and may be called again after any failure. done means that nothing is left;
// otherwise waiting says in a sentence what is waited for.
func Remove(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	r := removal{client: c, key: key, uid: uid}
	return r.run(ctx, downstreamObjects(workloadv1alpha1.SyncerNamespace(name, key)))
}

// RemoveLeftovers takes away what earlier SyncTargets of the same key, but another UID, left in the physical cluster.
func RemoveLeftovers(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	r := removal{client: c, key: key, uid: uid, leftovers: true}
	return r.run(ctx, downstreamObjects(workloadv1alpha1.SyncerNamespace(name, key)))
}

// RemoveIdentity takes the syncer's identity out of the workspace, like Remove, and takes its finalizer off it.
func RemoveIdentity(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	r := removal{client: c, key: key, uid: uid, hidden: true}
	return r.run(ctx, upstreamObjects(workloadv1alpha1.SyncerNamespace(name, key)))
}

// RemoveIdentityLeftovers takes away the identity that earlier SyncTargets of the same key, but another UID, left.
func RemoveIdentityLeftovers(ctx context.Context, c client.Client, name, key string, uid types.UID) (waiting string, done bool, err error) {
	r := removal{client: c, key: key, uid: uid, leftovers: true, hidden: true}
	return r.run(ctx, upstreamObjects(workloadv1alpha1.SyncerNamespace(name, key)))
}

// ReleaseIdentity takes our finalizer off what is being deleted in the Namespace of the identity, while the SyncTarget lives: the
// Namespace cannot go before that, and nothing can be made anew in it. What is not being deleted, or not this SyncTarget's,
// stays as it is.
func ReleaseIdentity(ctx context.Context, c client.Client, name, key string, uid types.UID) error {
	r := removal{client: c, key: key, uid: uid}
	for _, object := range upstreamObjects(workloadv1alpha1.SyncerNamespace(name, key)) {
		if object.GetNamespace() == "" {
			continue
		}
		live, err := get(ctx, c, object)
		if err != nil && !isUnreadableLease(object, err) {
			return err
		}
		if live == nil || live.GetDeletionTimestamp() == nil || !r.chosen(live) {
			continue
		}
		if err := removeFinalizer(ctx, c, live, workloadv1alpha1.SyncTargetFinalizer(key)); err != nil {
			return fmt.Errorf("taking finalizer %q off %s: %w", workloadv1alpha1.SyncTargetFinalizer(key), describe(live), err)
		}
	}
	return nil
}

// downstreamObjects names what Downstream builds, in the order to delete it: the syncer stops before it loses its
// rights, and its Namespace goes last.
func downstreamObjects(namespace string) []client.Object {
	return []client.Object{
		reference(appsv1.SchemeGroupVersion.WithKind("Deployment"), namespace, DeploymentName),
		reference(corev1.SchemeGroupVersion.WithKind("Secret"), namespace, credentialsName),
		reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, DeploymentName),
		reference(rbacv1.SchemeGroupVersion.WithKind("Role"), namespace, DeploymentName),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "", namespace),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", namespace),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", options.SyncRole(namespace)),
		reference(corev1.SchemeGroupVersion.WithKind("ServiceAccount"), namespace, DeploymentName),
		reference(corev1.SchemeGroupVersion.WithKind("Namespace"), "", namespace),
	}
}

// upstreamObjects names what Identity and HeartbeatLease build, and Admit beside them, in the order to delete it.
func upstreamObjects(namespace string) []client.Object {
	objects := append(leaseRights(namespace),
		reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, assignmentBindingName),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", assignmentRole(namespace)),
		reference(coordinationv1.SchemeGroupVersion.WithKind("Lease"), namespace, workloadv1alpha1.HeartbeatLeaseName),
	)
	for _, name := range tokenSecretNames {
		objects = append(objects, reference(corev1.SchemeGroupVersion.WithKind("Secret"), namespace, name))
	}
	return append(objects,
		reference(corev1.SchemeGroupVersion.WithKind("ServiceAccount"), namespace, DeploymentName),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "", AccessBinding(namespace)),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "", namespace),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", namespace),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", options.SyncRole(namespace)),
		reference(corev1.SchemeGroupVersion.WithKind("Namespace"), "", namespace),
	)
}

func reference(gvk schema.GroupVersionKind, namespace, name string) client.Object {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gvk)
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

// removal is what is taken away: the objects of one key, of one UID or of every other one.
type removal struct {
	client client.Client
	key    string
	uid    types.UID
	// leftovers turns the choice round: every UID but this one.
	leftovers bool
	// hidden is set where a Namespace that is not found may only be hidden: in a workspace, a user may have taken the
	// label off it that shows it to the service.
	hidden bool
}

// run deletes what is ours of the objects, the last of which is their Namespace, and names the last that is not gone.
func (r *removal) run(ctx context.Context, objects []client.Object) (waiting string, done bool, err error) {
	namespace, err := get(ctx, r.client, objects[len(objects)-1])
	if err != nil {
		return "", false, err
	}
	for _, object := range objects {
		if namespace == nil && object.GetNamespace() != "" && !r.hidden {
			continue // gone with its Namespace
		}
		live := namespace
		if object != objects[len(objects)-1] {
			live, err = get(ctx, r.client, object)
		}
		left, err := r.discardChosen(ctx, live, err)
		if err != nil && !isUnreadableLease(object, err) {
			return "", false, err
		}
		if left != nil {
			waiting = terminating(left)
		}
	}
	return waiting, waiting == "", nil
}

// discardChosen deletes an object that was read, if it is one of those to delete, and returns it if it is not gone. err is that
// of the read.
func (r *removal) discardChosen(ctx context.Context, live *unstructured.Unstructured, err error) (*unstructured.Unstructured, error) {
	if err != nil || live == nil || !r.chosen(live) {
		return nil, err
	}
	return discard(ctx, r.client, live, workloadv1alpha1.SyncTargetFinalizer(r.key))
}

func (r *removal) chosen(live *unstructured.Unstructured) bool {
	labels := live.GetLabels()
	uid := types.UID(labels[workloadv1alpha1.LabelUID])
	return labels[workloadv1alpha1.LabelKey] == r.key && uid != "" && (uid == r.uid) != r.leftovers
}

// terminating names an object that is being deleted, and says what holds it.
func terminating(live *unstructured.Unstructured) string {
	return describe(live) + " is still being deleted" + because(live)
}

// because says what holds an object that is being deleted.
func because(live *unstructured.Unstructured) string {
	var causes []string
	if live.GetKind() == "Namespace" {
		causes = remaining(live)
	}
	if finalizers := slices.Sorted(slices.Values(live.GetFinalizers())); len(finalizers) > 0 {
		causes = append(causes, oneLine("held by finalizer "+strings.Join(finalizers, ", ")))
	}
	if len(causes) == 0 {
		return ""
	}
	return ": " + strings.Join(causes, "; ")
}

// remaining is what the namespace controller says of a Namespace that it cannot empty, without its counters.
func remaining(live *unstructured.Unstructured) []string {
	var namespace corev1.Namespace
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &namespace); err != nil {
		return []string{fmt.Sprintf("its status cannot be read: %s", oneLine(err.Error()))}
	}
	// Written by namespaceConditionUpdater in k8s.io/kubernetes/pkg/controller/namespace/deletion.
	counters := regexp.MustCompile(`\.? (has|in) \d+ resource instances|, \d+ (failing|remaining)`)
	var causes []string
	for _, condition := range namespace.Status.Conditions {
		switch condition.Type {
		case corev1.NamespaceDeletionDiscoveryFailure, corev1.NamespaceDeletionGVParsingFailure, corev1.NamespaceDeletionContentFailure,
			corev1.NamespaceContentRemaining, corev1.NamespaceFinalizersRemaining:
			if condition.Status == corev1.ConditionTrue {
				causes = append(causes, oneLine(counters.ReplaceAllString(condition.Message, "")))
			}
		}
	}
	slices.Sort(causes)
	return causes
}
