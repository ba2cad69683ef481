package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/util/templates"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (p *plugin) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin, of the controller and of the syncers",
		Args:  noArguments,
		Long: templates.LongDesc(`
			Print the versions of this plugin, of the controller and of the syncers of the workspace, and warn where they differ.

			The controller writes its version to each SyncTarget's Namespace in the workspace when it installs the syncer, or rolls
			out another version of it. During a rollout, SyncTargets have different ones.`),
		Example: templates.Examples(`kubectl synctarget version --client`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if clientOnly {
				_, err := fmt.Fprintf(p.Out, "Client version: %s\n", p.version)
				return err
			}
			return p.printVersions(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Print only the version of this plugin; no server is asked.")
	return cmd
}

// printVersions prints the version of the plugin also where the others cannot be read.
func (p *plugin) printVersions(ctx context.Context) error {
	w := printers.GetNewTabWriter(p.Out)
	defer w.Flush()
	fmt.Fprintf(w, "Client version:\t%s\n", p.version)
	installed, err := p.installedVersions(ctx)
	if err != nil {
		return err
	}
	controllers, syncers := map[string][]string{}, map[string][]string{}
	for _, i := range installed {
		controllers[i.controller] = append(controllers[i.controller], i.name)
		if i.syncer != "" {
			syncers[i.syncer] = append(syncers[i.syncer], i.name)
		}
	}
	for _, version := range slices.Sorted(maps.Keys(controllers)) {
		at := "" // it is the same everywhere
		if len(controllers) > 1 {
			at = "\t" + strings.Join(controllers[version], ", ")
		}
		fmt.Fprintf(w, "Controller version:\t%s%s\n", orAbsent(version), at)
	}
	for _, version := range slices.Sorted(maps.Keys(syncers)) {
		fmt.Fprintf(w, "Syncer version:\t%s\t%s\n", version, strings.Join(syncers[version], ", "))
	}
	for _, warning := range skewWarnings(p.version, installed) {
		p.progress.say("warning: %s", warning)
	}
	return nil
}

// installedVersions are the versions at each SyncTarget of the workspace, by name.
func (p *plugin) installedVersions(ctx context.Context) ([]installedVersion, error) {
	workspace, err := p.upstream()
	if err != nil {
		return nil, err
	}
	var list workloadv1alpha1.SyncTargetList
	if err := workspace.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
	}
	controllers, err := controllerVersions(ctx, workspace)
	switch {
	case apierrors.IsForbidden(err):
		p.progress.say("warning: the version of the controller is not known: you may not list the Namespaces of %s, where it is written",
			workspace.name)
	case err != nil:
		return nil, err
	}
	var out []installedVersion
	for i := range list.Items {
		target := &list.Items[i]
		at := installedVersion{name: target.Name, controller: controllers[target.UID], isPull: target.Spec.KubeconfigSecretRef == nil}
		if target.Status.Syncer != nil {
			at.syncer = target.Status.Syncer.Version
		}
		out = append(out, at)
	}
	slices.SortFunc(out, func(a, b installedVersion) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
