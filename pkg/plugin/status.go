package plugin

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/liggitt/tabwriter"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/util/templates"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// watchInterval is between two looks of status --watch.
	watchInterval = 2 * time.Second
	// maxNamed is how many SyncTargets an error names.
	maxNamed = 5
)

// status shows SyncTargets.
type status struct {
	*plugin
	// name is empty for all.
	name   string
	watch  bool
	output string
}

func (p *plugin) statusCommand() *cobra.Command {
	s := &status{plugin: p}
	cmd := &cobra.Command{
		Use:               "status [NAME]",
		Short:             "Show how the SyncTargets fare, or one of them in detail",
		Args:              atMostOneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Show how the SyncTargets of the workspace fare, or one of them in detail.

			The exit code is 1 if one of those that are shown is not Ready.`),
		Example: templates.Examples(`
			# All SyncTargets of the workspace
			kubectl synctarget status

			# One in detail: conditions, capacity, resources, Namespaces
			kubectl synctarget status edge-1

			# For scripts
			kubectl synctarget status edge-1 -o json`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				s.name = args[0]
			}
			if !slices.Contains([]string{"table", "wide", "json", "yaml"}, s.output) {
				return usage(`give "table", "wide", "json" or "yaml"`, "invalid --output %q", s.output)
			}
			if s.watch {
				return s.follow(cmd.Context())
			}
			return s.show(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&s.watch, "watch", false, "Print a line for each change, until interrupted.")
	cmd.Flags().StringVarP(&s.output, "output", "o", "table", "Format: table, wide, json or yaml.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// read returns the SyncTargets to show, by name.
func (s *status) read(ctx context.Context, workspace *connection) (*workloadv1alpha1.SyncTargetList, error) {
	list := &workloadv1alpha1.SyncTargetList{}
	if s.name == "" {
		if err := workspace.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
		}
		slices.SortFunc(list.Items, func(a, b workloadv1alpha1.SyncTarget) int { return strings.Compare(a.Name, b.Name) })
	} else {
		target, err := readTarget(ctx, workspace, s.name)
		if err != nil {
			return nil, err
		}
		list.Items = []workloadv1alpha1.SyncTarget{*target}
	}
	for i := range list.Items {
		list.Items[i].ManagedFields = nil
	}
	return list, nil
}

func (s *status) show(ctx context.Context) error {
	workspace, err := s.upstream()
	if err != nil {
		return err
	}
	list, err := s.read(ctx, workspace)
	if err != nil {
		return err
	}
	switch {
	case s.output == "json", s.output == "yaml":
		err = s.printObjects(list)
	case s.name != "":
		err = s.printDetails(ctx, workspace, &list.Items[0])
	case len(list.Items) == 0:
		s.progress.say("No SyncTargets in %s. Register a cluster: kubectl synctarget join --help", workspace.name)
	default:
		err = printers.NewTablePrinter(printers.PrintOptions{Wide: s.output == "wide"}).PrintObj(tableOf(list.Items, s.clock.Now()), s.Out)
	}
	if err != nil {
		return fmt.Errorf("printing the SyncTargets: %w", err)
	}
	return notReady(list.Items)
}

// printObjects prints the one that is named, or the list.
func (s *status) printObjects(list *workloadv1alpha1.SyncTargetList) error {
	var printer printers.ResourcePrinter = &printers.JSONPrinter{}
	if s.output == "yaml" {
		printer = &printers.YAMLPrinter{}
	}
	printer = printers.NewTypeSetter(newScheme()).ToPrinter(printer)
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget"))
	}
	if s.name != "" {
		return printer.PrintObj(&list.Items[0], s.Out)
	}
	return printer.PrintObj(list, s.Out)
}

func (s *status) printDetails(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) error {
	assignments, err := assignmentsOf(ctx, workspace, target)
	if err != nil {
		return err
	}
	controller, err := controllerVersion(ctx, workspace, target)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	writeDetails(&out, workspace.path(), target, assignments, versions{plugin: s.version, controller: controller}, s.clock.Now())
	_, err = s.Out.Write(out.Bytes())
	return err
}

// notReady is the error that says which of the SyncTargets are not Ready; nil if all are.
func notReady(targets []workloadv1alpha1.SyncTarget) error {
	var names []string
	var first *workloadv1alpha1.SyncTarget
	for i := range targets {
		if len(notTrue(&targets[i])) == 0 && targets[i].DeletionTimestamp == nil {
			continue
		}
		if first == nil {
			first = &targets[i]
		}
		names = append(names, targets[i].Name)
	}
	switch {
	case first == nil:
		return nil
	case first.DeletionTimestamp != nil && len(targets) == 1:
		return failed(fmt.Sprintf("follow the deletion with: kubectl synctarget leave %s --wait", first.Name), "SyncTarget %q is being deleted", first.Name)
	case len(targets) == 1:
		cause := notTrue(first)[0]
		return failed(nextFor(first, cause), "SyncTarget %q is not Ready: %s", first.Name, conditionText(cause))
	}
	shown := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if rest := len(names) - maxNamed; rest > 0 {
		shown += fmt.Sprintf(" and %d more", rest)
	}
	return failed(fmt.Sprintf("look at one: kubectl synctarget status %s", first.Name), "%d of %d SyncTargets are not Ready: %s", len(names), len(targets), shown)
}

// follow prints what has changed, until the user interrupts it.
func (s *status) follow(ctx context.Context) error {
	workspace, err := s.upstream()
	if err != nil {
		return err
	}
	printed := map[string]string{}
	printer := printers.NewTablePrinter(printers.PrintOptions{Wide: s.output == "wide"})
	table := printers.GetNewTabWriter(s.Out) // it keeps the widths of the columns
	for ctx.Err() == nil {
		list, err := s.read(ctx, workspace)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && !isTransient(err):
			return err
		case err != nil:
			s.progress.say("%v; it is tried again", err)
		default:
			if err := s.printChanged(printer, table, changed(list, printed)); err != nil {
				return fmt.Errorf("printing the SyncTargets: %w", err)
			}
		}
		if s.sleep(ctx, watchInterval) != nil {
			return nil
		}
	}
	return nil
}

// changed returns those whose line, but for its ages, is not the one that was printed, and remembers them.
func changed(list *workloadv1alpha1.SyncTargetList, printed map[string]string) []workloadv1alpha1.SyncTarget {
	var out []workloadv1alpha1.SyncTarget
	for i := range list.Items {
		target := list.Items[i]
		ageless := target.DeepCopy()
		ageless.Status.LastHeartbeatTime = nil
		line := fmt.Sprint(rowOf(ageless, target.CreationTimestamp.Time))
		if printed[target.Name] != line {
			out = append(out, target)
		}
		printed[target.Name] = line
	}
	return out
}

func (s *status) printChanged(printer printers.ResourcePrinter, table *tabwriter.Writer, targets []workloadv1alpha1.SyncTarget) error {
	switch {
	case len(targets) == 0:
		return nil
	case s.output == "json" || s.output == "yaml":
		for i := range targets {
			one := status{plugin: s.plugin, name: targets[i].Name, output: s.output}
			if err := one.printObjects(&workloadv1alpha1.SyncTargetList{Items: targets[i : i+1]}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := printer.PrintObj(tableOf(targets, s.clock.Now()), table); err != nil {
		return err
	}
	return table.Flush()
}
