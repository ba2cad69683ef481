package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
	"k8s.io/kubectl/pkg/util/templates"

	"github.com/synctarget/synctarget/pkg/sanitize"
)

// tree shows what runs where.
type tree struct {
	*plugin
	// name is empty for all SyncTargets.
	name    string
	objects bool
	output  string
}

func (p *plugin) treeCommand() *cobra.Command {
	t := &tree{plugin: p}
	cmd := &cobra.Command{
		Use:               "tree [NAME]",
		Short:             "Show what runs where: Placements, their Namespaces, the SyncTargets and the objects there",
		Args:              atMostOneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Show what runs where: the Placements of the workspace, the Namespaces for which they count, the SyncTargets that these are
			on, and the objects there, each with the state of its copy.

			With NAME, only what is on that SyncTarget is shown. Why an object is in its state: kubectl synctarget explain.`),
		Example: templates.Examples(`
			# The whole workspace
			kubectl synctarget tree

			# Which Namespaces are on edge-1?
			kubectl synctarget tree edge-1 --objects=false`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				t.name = args[0]
			}
			return t.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&t.objects, "objects", true, "Show the objects, which are listed once for each resource that is synced.")
	addOutputFlag(cmd, &t.output)
	return cmd
}

func (t *tree) run(ctx context.Context) error {
	if err := checkOutput(t.output); err != nil {
		return err
	}
	workspace, err := t.upstream()
	if err != nil {
		return err
	}
	f, err := t.read(ctx, workspace)
	if err != nil {
		return err
	}
	for _, omitted := range f.omitted {
		t.progress.say("warning: objects are left out: %s", omitted)
	}
	found := treeOf(f, workspace.path(), t.name != "")
	switch {
	case t.output != outputText:
		err = printData(t.Out, t.output, found)
	case len(found.Placements) == 0:
		t.progress.say("There are no Placements in %s. docs/place-workloads.md describes how to place Namespaces", workspace.name)
	default:
		_, err = t.Out.Write(printable(found).Bytes())
	}
	if err != nil {
		return fmt.Errorf("printing the tree: %w", err)
	}
	return nil
}

// printable is the tree as it is printed.
func printable(w *workspaceTree) treeprint.Tree {
	root := treeprint.NewWithRoot("Workspace " + w.Workspace)
	for _, p := range w.Placements {
		placement := root.AddBranch(withMessage("Placement "+p.Name, p.Message))
		for _, n := range p.Namespaces {
			namespace := placement.AddBranch(withMessage("Namespace "+n.Name, n.Message))
			for _, t := range n.SyncTargets {
				target := namespace.AddMetaBranch(t.State, withMessage("SyncTarget "+t.Name, t.Message))
				for _, o := range t.Objects {
					target.AddMetaNode(o.State, withMessage(o.Resource+"/"+o.Name, o.Message))
				}
			}
		}
	}
	return root
}

func withMessage(text, message string) string {
	if message == "" {
		return text
	}
	return text + ": " + sanitize.Line(message) // it may have the words of others
}
