package plugin

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxHeld is how many Namespaces status.drain.held names at most.
const maxHeld = 100

// drain moves everything away from a SyncTarget.
type drain struct {
	*plugin
	name          string
	maxConcurrent int32
	plan, wait    bool
	timeout       time.Duration
}

func (p *plugin) drainCommand() *cobra.Command {
	d := &drain{plugin: p}
	cmd := &cobra.Command{
		Use:               "drain NAME",
		Short:             "Move everything from a SyncTarget to others",
		Args:              oneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Move everything from a SyncTarget to others, and keep new workloads away.

			Each Namespace runs elsewhere before it leaves. What fits on no other SyncTarget stays, and is named with the reason.
			To end the drain: kubectl synctarget uncordon NAME.

			With --plan nothing is changed: it shows where each Namespace would go, and what would stay and why.

			The exit code is 1 if something cannot leave.`),
		Example: templates.Examples(`
			# Where would everything go?
			kubectl synctarget drain edge-1 --plan

			# Move it, two Namespaces at a time, and wait until that is done
			kubectl synctarget drain edge-1 --max-concurrent=2`),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.name = args[0]
			return d.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.Int32Var(&d.maxConcurrent, "max-concurrent", 5, "How many Namespaces leave at once.")
	flags.BoolVar(&d.plan, "plan", false, "Show what would move where, and change nothing.")
	flags.BoolVar(&d.wait, "wait", true, "Wait until everything has left, or cannot.")
	flags.DurationVar(&d.timeout, "timeout", 30*time.Minute, "How long is waited.")
	return cmd
}

func (d *drain) run(ctx context.Context) error {
	if d.maxConcurrent < 1 {
		return usage("give a number of at least 1", "invalid --max-concurrent %d", d.maxConcurrent)
	}
	workspace, err := d.upstream()
	if err != nil {
		return err
	}
	target, err := readTarget(ctx, workspace, d.name)
	if err != nil {
		return err
	}
	if d.plan {
		return d.showPlan(ctx, workspace, target)
	}
	patch := client.MergeFrom(target.DeepCopy())
	target.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: d.maxConcurrent}
	if err := workspace.Patch(ctx, target, patch, client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("changing SyncTarget %q in %s: %w", d.name, workspace.name, err)
	}
	if !d.wait {
		fmt.Fprintf(d.Out, "synctarget.workload.kcp.io/%s is being drained\n", d.name)
		return nil
	}
	return d.awaitDrained(ctx, workspace)
}

// awaitDrained waits until nothing is left, or all that is left cannot leave.
func (d *drain) awaitDrained(ctx context.Context, workspace *connection) error {
	var held []workloadv1alpha1.HeldNamespace
	next := fmt.Sprintf("follow it: kubectl synctarget status %[1]s; or end it: kubectl synctarget uncordon %[1]s", d.name)
	err := d.poll(ctx, fmt.Sprintf("SyncTarget %q to be drained", d.name), d.timeout, next, func(ctx context.Context) (observation, error) {
		target, err := readTarget(ctx, workspace, d.name)
		if err != nil {
			return observation{}, err
		}
		status := target.Status.Drain
		if status == nil {
			return observation{waiting: "the service has yet to begin"}, nil
		}
		held = status.Held
		leaving := int32(0) // among the remaining
		if target.Status.Assignments != nil {
			leaving = target.Status.Assignments.Withdrawing
		}
		return observation{
			done:    status.Moving == 0 && leaving == 0 && (int(status.Remaining) == len(held) || len(held) == maxHeld),
			waiting: fmt.Sprintf("%d Namespaces have yet to leave, %d are moving, %s cannot leave", status.Remaining, status.Moving, countHeld(held)),
		}, nil
	})
	if err != nil {
		return err
	}
	if len(held) > 0 {
		return &failure{
			code:    exitFailed,
			message: fmt.Sprintf("%s Namespaces cannot leave SyncTarget %q; the first is %q: %s", countHeld(held), d.name, held[0].Namespace, held[0].Reason),
			next:    nextOfHeld(held, d.name),
		}
	}
	fmt.Fprintf(d.Out, "synctarget.workload.kcp.io/%s drained\n", d.name)
	return nil
}

// countHeld tells how many Namespaces cannot leave, as far as status.drain.held names them.
func countHeld(held []workloadv1alpha1.HeldNamespace) string {
	if len(held) >= maxHeld {
		return fmt.Sprintf("%d or more", len(held))
	}
	return strconv.Itoa(len(held))
}

func nextOfHeld(held []workloadv1alpha1.HeldNamespace, name string) string {
	if len(held) >= maxHeld {
		return fmt.Sprintf("see the first %d of them: kubectl synctarget status %s; there may be more", maxHeld, name)
	}
	return fmt.Sprintf("see all of them: kubectl synctarget status %s", name)
}
