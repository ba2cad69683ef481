package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/util/templates"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (p *plugin) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin and of the syncers",
		Args:  noArguments,
		Long: templates.LongDesc(`
			Print the versions of this plugin and of the syncers of the workspace, and which of them differ.

			The version of the controller is not known in the workspace: ask the operator of the service.`),
		Example: templates.Examples(`kubectl synctarget version --client`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(p.Out, "Client version: %s\n", p.version)
			if clientOnly {
				return nil
			}
			return p.agentVersions(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Print only the version of this plugin; no server is asked.")
	return cmd
}

func (p *plugin) agentVersions(ctx context.Context) error {
	workspace, err := p.upstream()
	if err != nil {
		return err
	}
	var list workloadv1alpha1.SyncTargetList
	if err := workspace.List(ctx, &list); err != nil {
		return fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
	}
	names := map[string][]string{}
	for i := range list.Items {
		if syncer := list.Items[i].Status.Syncer; syncer != nil {
			names[syncer.Version] = append(names[syncer.Version], list.Items[i].Name)
		}
	}
	w := printers.GetNewTabWriter(p.Out)
	defer w.Flush()
	for _, version := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[version])
		fmt.Fprintf(w, "Syncer version: %s\t%s\n", orAbsent(version), strings.Join(names[version], ", "))
		if version != p.version {
			p.progress.say("warning: the syncers of version %s differ from this plugin, %s: use the plugin of the release that is installed", orAbsent(version), p.version)
		}
	}
	return nil
}
