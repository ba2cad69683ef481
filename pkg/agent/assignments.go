package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// assignmentRights returns what lets the syncer read the Assignments in the Namespace of its identity and write their status. Those
// in the other Namespaces of the workspace are of other syncers, so the rights are given in this Namespace alone. A Role would do,
// but Roles are not claimed.
//
// They are held: a syncer needs them until it has left every Namespace.
func (c *Config) assignmentRights() []client.Object {
	rbac := rbacv1.SchemeGroupVersion.String()
	return []client.Object{
		&rbacv1.ClusterRole{
			TypeMeta: typeMeta(rbac, "ClusterRole"), ObjectMeta: c.heldMeta("", assignmentRole(c.namespace())),
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"assignments"}, Verbs: []string{"get", "list", "watch"}},
				{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"assignments/status"}, Verbs: []string{"get", "patch"}},
			},
		},
		&rbacv1.RoleBinding{
			TypeMeta: typeMeta(rbac, "RoleBinding"), ObjectMeta: c.heldMeta(c.namespace(), assignmentBindingName),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: assignmentRole(c.namespace())},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
		},
	}
}

const assignmentBindingName = "syncer-assignments"

func assignmentRole(namespace string) string { return namespace + ":assignments" }

// Assignments lists those of a SyncTarget, by the names of their Namespaces, the older first. One counts only in the Namespace of the syncer and
// with the UID of the SyncTarget: elsewhere, or of an earlier SyncTarget of this name, it says nothing.
func Assignments(ctx context.Context, reader client.Reader, target *workloadv1alpha1.SyncTarget, key string) ([]workloadv1alpha1.Assignment, error) {
	var list workloadv1alpha1.AssignmentList
	err := reader.List(ctx, &list, client.InNamespace(workloadv1alpha1.SyncerNamespace(target.Name, key)),
		client.MatchingLabels{workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: string(target.UID)})
	if err != nil {
		return nil, fmt.Errorf("listing the Assignments of SyncTarget %q: %w", target.Name, err)
	}
	slices.SortFunc(list.Items, func(a, b workloadv1alpha1.Assignment) int {
		return cmp.Or(
			cmp.Compare(a.Spec.Namespace.Name, b.Spec.Namespace.Name),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// readAssigned reads which Namespaces are to run on the SyncTarget, and their labels. It lists the Namespaces only if there is one.
func (c *Config) readAssigned(ctx context.Context, upstream client.Client) error {
	assignments, err := Assignments(ctx, upstream, c.Target, c.key())
	if err != nil {
		return err
	}
	assigned := map[string]bool{}
	for i := range assignments {
		if a := &assignments[i]; a.Spec.Intent == workloadv1alpha1.IntentRun && !isRefused(a) && !assigned[a.Spec.Namespace.Name] {
			assigned[a.Spec.Namespace.Name] = true
			c.Namespaces = append(c.Namespaces, a.Spec.Namespace.Name)
		}
	}
	if len(c.Namespaces) == 0 {
		return nil
	}
	var namespaces corev1.NamespaceList
	if err := upstream.List(ctx, &namespaces); err != nil {
		return fmt.Errorf("listing the Namespaces of the workspace: %w", err)
	}
	c.NamespaceLabels = make(map[string]map[string]string, len(c.Namespaces))
	for _, namespace := range namespaces.Items {
		if assigned[namespace.Name] {
			c.NamespaceLabels[namespace.Name] = namespace.Labels
		}
	}
	return nil
}

// isRefused reports whether the Namespace of an Assignment is never synced.
func isRefused(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted != nil && admitted.Reason == workloadv1alpha1.ReasonNamespaceRefused
}
