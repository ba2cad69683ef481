package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// A syncer whose token is no longer good is stood in for by a user of another workspace: it is written beside the syncer
// into the RoleBinding of a Namespace, and let in by a ClusterRoleBinding of its own. A Namespace that is being deleted
// takes no new objects; the RoleBinding is there, for it is held.

// accessRole is kcp's own ClusterRole for everybody whom a workspace lets in. It gives no right to any object.
const accessRole = "system:kcp:workspace:access"

// Admit gives a user the syncer's rights in a Namespace of the workspace that Grant has opened.
func Admit(ctx context.Context, c client.Client, cfg Config, user, namespace string) error {
	subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}
	binding := reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, cfg.namespace())
	var grant rbacv1.RoleBinding
	if err := c.Get(ctx, client.ObjectKeyFromObject(binding), &grant); err != nil {
		return fmt.Errorf("reading %s: %w", describe(binding), err)
	}
	if grant.Labels[workloadv1alpha1.LabelKey] != cfg.key() {
		return &ForeignError{Object: describe(binding), Where: "workspace"}
	}
	if !slices.Contains(grant.Subjects, subject) {
		log.FromContext(ctx).Info("Admitting in the syncer's place", "user", user, "object", describe(binding))
		changed := grant.DeepCopy()
		changed.Subjects = append(changed.Subjects, subject)
		if err := c.Patch(ctx, changed, client.MergeFromWithOptions(&grant, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("admitting %q by %s: %w", user, describe(binding), err)
		}
	}
	_, err := Apply(ctx, c, []client.Object{cfg.access(subject)}, workloadv1alpha1.FieldOwnerController)
	return err
}

// Admitted tells since when somebody is let in by Admit; zero for nobody. kcp may take a moment to know.
func Admitted(ctx context.Context, c client.Client, name, key string) (since time.Time, err error) {
	live, err := get(ctx, c, accessReference(name, key))
	if err != nil || live == nil {
		return time.Time{}, err
	}
	return live.GetCreationTimestamp().Time, nil
}

// Dismiss shuts out again whom Admit has let in. The rights in a Namespace have gone by Revoke.
func Dismiss(ctx context.Context, c client.Client, name, key string) error {
	live, err := get(ctx, c, accessReference(name, key))
	if err != nil || live == nil || live.GetLabels()[workloadv1alpha1.LabelKey] != key {
		return err
	}
	_, err = discard(ctx, c, live, workloadv1alpha1.SyncTargetFinalizer(key))
	return err
}

// access lets a user into the workspace. Nothing holds it: should it go, it is written again.
func (c *Config) access(subject rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	meta := c.heldMeta("", AccessBinding(c.namespace()))
	meta.Finalizers = nil
	return &rbacv1.ClusterRoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"), ObjectMeta: meta,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: accessRole},
		Subjects: []rbacv1.Subject{subject},
	}
}

func accessReference(name, key string) client.Object {
	return reference(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), "", AccessBinding(workloadv1alpha1.SyncerNamespace(name, key)))
}

// AccessBinding is the ClusterRoleBinding of a stand-in.
func AccessBinding(name string) string { return name + ":access" }
