package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/templates"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// leave deregisters a cluster.
type leave struct {
	*plugin
	name    string
	abandon bool
	wait    bool
	yes     bool
	timeout time.Duration
}

func (p *plugin) leaveCommand() *cobra.Command {
	l := &leave{plugin: p}
	cmd := &cobra.Command{
		Use:               "leave NAME",
		Short:             "Deregister a cluster",
		Args:              oneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Deregister a cluster: delete its SyncTarget, and show what the deletion waits for.

			The syncer removes the copies in the cluster, unless spec.deletionPolicy is Orphan; your objects in the workspace stay. In
			push mode the controller removes the syncer. In pull mode you remove it afterwards, with the command that is printed.

			With --abandon the deletion does not wait for a cluster that is gone. What may be left there is said before.`),
		Example: templates.Examples(`
			# Deregister, and wait until nothing is left
			kubectl synctarget leave edge-1

			# The cluster does not exist any more
			kubectl synctarget leave edge-1 --abandon`),
		RunE: func(cmd *cobra.Command, args []string) error {
			l.name = args[0]
			return l.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&l.abandon, "abandon", false, "Do not wait for a cluster that is gone; copies and syncer may be left there.")
	flags.BoolVar(&l.wait, "wait", true, "Wait until the SyncTarget is gone.")
	flags.DurationVar(&l.timeout, "timeout", 20*time.Minute, "How long the deletion is waited for.")
	flags.BoolVarP(&l.yes, "yes", "y", false, "Abandon without asking.")
	return cmd
}

func (l *leave) run(ctx context.Context) error {
	workspace, err := l.upstream()
	if err != nil {
		return err
	}
	target, err := readTarget(ctx, workspace, l.name)
	if apierrors.IsNotFound(err) && !isAPIAbsent(err) {
		// An earlier call may have been interrupted.
		ref := workloadv1alpha1.KubeconfigSecretReference{Namespace: secretNamespace, Name: l.name}
		if deleted, err := l.deleteSecret(ctx, workspace, ref); deleted || err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := l.abandonTarget(ctx, workspace, target); err != nil {
		return err
	}
	if target.DeletionTimestamp == nil {
		// Another SyncTarget of the name that has been created meanwhile is not meant.
		if err := workspace.Delete(ctx, target, client.Preconditions{UID: ptr.To(target.UID)}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting SyncTarget %q in %s: %w", l.name, workspace.name, err)
		}
	}
	if !l.wait {
		l.progress.say("%s: SyncTarget %q is being deleted; follow it with: kubectl synctarget leave %s", workspace.name, l.name, l.name)
		return nil
	}
	if err := l.awaitGone(ctx, workspace, target); err != nil {
		return err
	}
	l.progress.say("%s: SyncTarget %q deleted", workspace.name, l.name)
	return l.cleanUp(ctx, workspace, target)
}

// abandonTarget lets the deletion end without the cluster, if that was asked for.
func (l *leave) abandonTarget(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) error {
	if !l.abandon {
		return nil
	}
	assignments, err := assignmentsOf(ctx, workspace, target)
	if err != nil {
		return err
	}
	if err := l.confirm(ctx, leftBehind(target, assignments), l.yes); err != nil {
		return err
	}
	patch := client.MergeFrom(target.DeepCopy())
	metav1.SetMetaDataAnnotation(&target.ObjectMeta, workloadv1alpha1.AnnotationAbandon, "true")
	if err := workspace.Patch(ctx, target, patch, client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("abandoning SyncTarget %q in %s: %w", l.name, workspace.name, err)
	}
	return nil
}

// leftBehind says what an abandoned SyncTarget may leave.
func leftBehind(target *workloadv1alpha1.SyncTarget, assignments []workloadv1alpha1.Assignment) string {
	var namespaces []string
	for i := range assignments {
		namespaces = append(namespaces, assignments[i].Spec.Namespace.Name)
	}
	copies := "no copies of Namespaces"
	if len(namespaces) > 0 {
		copies = "the copies of the Namespaces " + strings.Join(namespaces, ", ")
	}
	return fmt.Sprintf("In the physical cluster %q there may be left, and go on running: the syncer in Namespace %q, and %s. Nobody will remove them.",
		target.Spec.Cluster, workloadv1alpha1.SyncerNamespace(target.Name, target.Status.Key), copies)
}

func (l *leave) awaitGone(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) error {
	next := fmt.Sprintf("mend what the message names, and follow the deletion with: kubectl synctarget leave %[1]s; if the cluster is gone: kubectl synctarget leave %[1]s --abandon", l.name)
	return l.poll(ctx, fmt.Sprintf("SyncTarget %q to be deleted", l.name), l.timeout, next, func(ctx context.Context) (observation, error) {
		live := &workloadv1alpha1.SyncTarget{}
		err := workspace.Get(ctx, client.ObjectKey{Name: l.name}, live)
		if client.IgnoreNotFound(err) != nil {
			return observation{}, fmt.Errorf("reading SyncTarget %q in %s: %w", l.name, workspace.name, err)
		}
		if err != nil || live.UID != target.UID {
			return observation{done: true}, nil
		}
		return observation{waiting: removalText(live)}, nil
	})
}

// removalText is what the deletion of a SyncTarget waits for.
func removalText(target *workloadv1alpha1.SyncTarget) string {
	removing := []string{workloadv1alpha1.ReasonRemoving, workloadv1alpha1.ReasonRemovalFailed, workloadv1alpha1.ReasonRemoved}
	deployed := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	if deployed != nil && slices.Contains(removing, deployed.Reason) {
		return deployed.Message
	}
	return "the controller has not begun to remove it yet"
}

// cleanUp deletes the kubeconfig that join has stored, and says what is left to do by hand.
func (l *leave) cleanUp(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) error {
	ref := target.Spec.KubeconfigSecretRef
	if ref == nil {
		l.progress.say("%s", removeByHand(target))
		return nil
	}
	if _, err := l.deleteSecret(ctx, workspace, *ref); err != nil {
		return err
	}
	l.progress.say("The service's identity is left in the physical cluster. If no other SyncTarget uses it, remove it:\n" +
		"  kubectl --context=CLUSTER delete namespace/synctarget-installer clusterrole/synctarget-installer clusterrolebinding/synctarget-installer")
	return nil
}

// removeByHand says how to remove the syncer of pull mode. With the deletion policy Orphan the copies stay, so the Namespaces that
// hold them must stay, too.
func removeByHand(target *workloadv1alpha1.SyncTarget) string {
	key := target.Status.Key
	if target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan {
		return fmt.Sprintf("Remove the syncer in the physical cluster; the Namespaces with the copies stay:\n"+
			"  kubectl --context=CLUSTER delete namespace/%s\n  kubectl --context=CLUSTER delete clusterroles,clusterrolebindings -l %s=%s",
			workloadv1alpha1.SyncerNamespace(target.Name, key), workloadv1alpha1.LabelKey, key)
	}
	return fmt.Sprintf("Remove the syncer in the physical cluster:\n  kubectl --context=CLUSTER delete namespaces,clusterroles,clusterrolebindings -l %s=%s",
		workloadv1alpha1.LabelKey, key)
}

// deleteSecret deletes a Secret that join has made and that no other SyncTarget refers to.
func (l *leave) deleteSecret(ctx context.Context, workspace *connection, ref workloadv1alpha1.KubeconfigSecretReference) (deleted bool, err error) {
	name := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	secret := &corev1.Secret{}
	if err := workspace.Get(ctx, name, secret); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading Secret %q in %s: %w", name, workspace.name, err)
	}
	if secret.UID == "" {
		return false, nil
	}
	var list workloadv1alpha1.SyncTargetList
	if err := workspace.List(ctx, &list); err != nil {
		return false, fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
	}
	referred := slices.ContainsFunc(list.Items, func(t workloadv1alpha1.SyncTarget) bool {
		other := t.Spec.KubeconfigSecretRef
		return other != nil && other.Namespace == ref.Namespace && other.Name == ref.Name
	})
	if referred || secret.Labels[managedByLabel] != fieldOwner {
		l.progress.say("%s: Secret %q with the kubeconfig is left as it is", workspace.name, name)
		return false, nil
	}
	if err := workspace.Delete(ctx, secret, client.Preconditions{UID: ptr.To(secret.UID)}); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("deleting Secret %q in %s: %w", name, workspace.name, err)
	}
	l.progress.say("%s: Secret %q with the kubeconfig deleted", workspace.name, name)
	return true, nil
}
