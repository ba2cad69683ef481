package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/retry"
	"k8s.io/kubectl/pkg/util/templates"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (p *plugin) cordonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cordon NAME",
		Short: "Mark a SyncTarget as unschedulable",
		Long: templates.LongDesc(`
			Mark a SyncTarget as unschedulable: it gets no new workloads. What runs there goes on running.`),
		Example: templates.Examples(`kubectl synctarget cordon edge-1`),
	}
	return p.setUnschedulable(cmd, true, "cordoned")
}

func (p *plugin) uncordonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "uncordon NAME",
		Short:   "Mark a SyncTarget as schedulable, and end its drain",
		Long:    templates.LongDesc(`Mark a SyncTarget as schedulable: it gets new workloads again. A drain ends; what has left stays away.`),
		Example: templates.Examples(`kubectl synctarget uncordon edge-1`),
	}
	return p.setUnschedulable(cmd, false, "uncordoned")
}

// setUnschedulable completes a command that sets spec.unschedulable.
func (p *plugin) setUnschedulable(cmd *cobra.Command, unschedulable bool, done string) *cobra.Command {
	var mode string
	cmd.Args = oneName
	cmd.ValidArgsFunction = p.completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dry, err := parseDryRun(mode)
		if err != nil {
			return err
		}
		return p.patchUnschedulable(cmd.Context(), args[0], unschedulable, done, dry)
	}
	cmd.Flags().StringVar(&mode, "dry-run", string(dryRunNone), `"client" changes nothing; "server" has the server check the change.`)
	return cmd
}

func (p *plugin) patchUnschedulable(ctx context.Context, name string, unschedulable bool, done string, mode dryRun) error {
	return p.patchSpec(ctx, name, mode, done, "already "+done, func(spec *workloadv1alpha1.SyncTargetSpec) {
		if spec.Unschedulable = unschedulable; !unschedulable {
			spec.Drain = nil
		}
	})
}

// patchSpec changes the spec of a SyncTarget, and prints what was done, or that it was like that. Where somebody else changes the
// SyncTarget meanwhile it looks again.
func (p *plugin) patchSpec(ctx context.Context, name string, mode dryRun, done, unchanged string, change func(*workloadv1alpha1.SyncTargetSpec)) error {
	workspace, err := p.upstream()
	if err != nil {
		return err
	}
	result := done
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		target, err := readTarget(ctx, workspace, name)
		if err != nil {
			return err
		}
		before := target.DeepCopy()
		change(&target.Spec)
		if equality.Semantic.DeepEqual(before.Spec, target.Spec) {
			result = unchanged
			return nil
		}
		if mode == dryRunClient {
			return nil
		}
		w := p.newWriter(workspace, mode)
		if err := w.Patch(ctx, target, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), w.patchOptions()...); err != nil {
			return fmt.Errorf("changing SyncTarget %q in %s: %w", name, workspace.name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if mode != dryRunNone {
		result += fmt.Sprintf(" (%s dry run)", mode)
	}
	fmt.Fprintf(p.Out, "synctarget.workload.kcp.io/%s %s\n", name, result)
	return nil
}
