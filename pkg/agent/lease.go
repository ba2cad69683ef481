package agent

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// HeartbeatLease returns the Lease in the workspace that the syncer renews, and what lets it do so, in the order to apply them.
// The Lease has no spec: that is the syncer's.
//
// The rights are given in the Namespace of the identity alone. A ClusterRoleBinding would give them on every Lease of this name,
// which are those of the other syncers of the workspace. A Role would do, but Roles are not claimed.
//
// Nothing of this has our finalizer: a deletion does not need it, and without the Lease a syncer reports to its SyncTarget.
func HeartbeatLease(c Config) []client.Object {
	rbac := rbacv1.SchemeGroupVersion.String()
	return []client.Object{
		&coordinationv1.Lease{
			TypeMeta:   typeMeta(coordinationv1.SchemeGroupVersion.String(), "Lease"),
			ObjectMeta: c.visibleMeta(c.namespace(), workloadv1alpha1.HeartbeatLeaseName),
		},
		&rbacv1.ClusterRole{
			TypeMeta: typeMeta(rbac, "ClusterRole"), ObjectMeta: c.visibleMeta("", leaseRole(c.namespace())),
			Rules: []rbacv1.PolicyRule{{
				APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"},
				ResourceNames: []string{workloadv1alpha1.HeartbeatLeaseName}, Verbs: []string{"get", "patch"},
			}},
		},
		&rbacv1.RoleBinding{
			TypeMeta: typeMeta(rbac, "RoleBinding"), ObjectMeta: c.visibleMeta(c.namespace(), leaseBindingName),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: leaseRole(c.namespace())},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
		},
	}
}

// WithdrawLease takes back the right to renew the Lease, so that the syncer reports its heartbeats to the SyncTarget. The Lease
// itself may stay: it cannot be renewed any more.
func WithdrawLease(ctx context.Context, c client.Client, name, key string, uid types.UID) error {
	r := removal{client: c, key: key, uid: uid}
	for _, object := range leaseRights(workloadv1alpha1.SyncerNamespace(name, key)) {
		live, err := get(ctx, c, object)
		if err != nil {
			return err
		}
		if live == nil || !r.chosen(live) {
			continue
		}
		if _, err := discard(ctx, c, live, workloadv1alpha1.SyncTargetFinalizer(key)); err != nil {
			return err
		}
	}
	return nil
}

const leaseBindingName = "syncer-heartbeat"

func leaseRole(namespace string) string { return namespace + ":heartbeat" }

// leaseRights names what lets the syncer renew its Lease.
func leaseRights(namespace string) []client.Object {
	return []client.Object{
		reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, leaseBindingName),
		reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), "", leaseRole(namespace)),
	}
}

// isUnreadableLease tells whether an object is a Lease that the service may not see or delete, because the permission claim on
// Leases is not accepted. It is deleted with its Namespace.
func isUnreadableLease(object client.Object, err error) bool {
	return object.GetObjectKind().GroupVersionKind().Kind == "Lease" && apierrors.IsForbidden(err)
}
