package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (p *plugin) taintCommand() *cobra.Command {
	var mode string
	cmd := &cobra.Command{
		Use:   "taint NAME KEY[=VALUE]:EFFECT... KEY[:EFFECT]-...",
		Short: "Set or remove taints of a SyncTarget",
		Long: templates.LongDesc(`
			Set or remove taints of a SyncTarget. They keep Namespaces away whose Placement does not tolerate them. With the effect
			NoExecute they also make those leave that are there.

			The effects are NoSchedule, PreferNoSchedule and NoExecute. A taint of the same key and effect gets the new value. A minus
			sign at the end removes the taints with that key, or with that key and effect.`),
		Example: templates.Examples(`
			# Keep everything away that does not tolerate it
			kubectl synctarget taint edge-1 dedicated=gpu:NoSchedule

			# Remove all taints with that key
			kubectl synctarget taint edge-1 dedicated-`),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("give a name and at least one taint, as in: kubectl synctarget taint edge-1 dedicated=gpu:NoSchedule", "no taint is given")
			}
			return nil
		},
		ValidArgsFunction: p.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			dry, err := parseDryRun(mode)
			if err != nil {
				return err
			}
			changes, err := parseTaints(args[1:])
			if err != nil {
				return err
			}
			return p.patchSpec(cmd.Context(), args[0], dry, "tainted", "not tainted: its taints are like that already", func(spec *workloadv1alpha1.SyncTargetSpec) {
				spec.Taints = applyTaints(spec.Taints, changes)
			})
		},
	}
	cmd.Flags().StringVar(&mode, "dry-run", string(dryRunNone), `"client" changes nothing; "server" has the server check the change.`)
	return cmd
}

// taintChange sets a taint, or removes all of a key and, if it is not empty, effect.
type taintChange struct {
	workloadv1alpha1.Taint
	remove bool
}

func parseTaints(args []string) ([]taintChange, error) {
	changes := make([]taintChange, 0, len(args))
	for _, arg := range args {
		c := taintChange{}
		text, remove := strings.CutSuffix(arg, "-")
		c.remove = remove
		text, effect, hasEffect := strings.Cut(text, ":")
		key, value, hasValue := strings.Cut(text, "=")
		c.Key, c.Value, c.Effect = key, value, workloadv1alpha1.TaintEffect(effect)
		known := slices.Contains([]workloadv1alpha1.TaintEffect{
			workloadv1alpha1.TaintNoSchedule, workloadv1alpha1.TaintPreferNoSchedule, workloadv1alpha1.TaintNoExecute,
		}, c.Effect)
		switch {
		case key == "", remove && hasValue, !remove && !hasEffect:
			return nil, usage("write it as KEY=VALUE:EFFECT or KEY:EFFECT to set it, and as KEY:EFFECT- or KEY- to remove it", "invalid taint %q", arg)
		case hasEffect && !known:
			return nil, usage("the effects are NoSchedule, PreferNoSchedule and NoExecute", "invalid effect in taint %q", arg)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// applyTaints returns the taints with the changes.
func applyTaints(taints []workloadv1alpha1.Taint, changes []taintChange) []workloadv1alpha1.Taint {
	taints = slices.Clone(taints)
	for _, c := range changes {
		same := func(t workloadv1alpha1.Taint) bool {
			return t.Key == c.Key && (t.Effect == c.Effect || c.remove && c.Effect == "")
		}
		i := slices.IndexFunc(taints, same)
		switch {
		case c.remove:
			taints = slices.DeleteFunc(taints, same)
		case i >= 0:
			taints[i] = c.Taint
		default:
			taints = append(taints, c.Taint)
		}
	}
	return taints
}
