package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"
)

func (p *plugin) manifestsCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "manifests NAME",
		Short:             "Print the manifests of the syncer, in pull mode",
		Args:              oneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Print the manifests of the syncer of a SyncTarget in pull mode, for you to apply in the physical cluster.

			They contain a credential, the token of the syncer. They change when the SyncTarget or a Namespace that is assigned to it
			changes, or when the controller is upgraded; otherwise the output is the same each time.`),
		Example: templates.Examples(`
			# Install the syncer, or bring it up to date
			kubectl synctarget manifests edge-1 | kubectl --context=edge-1 apply --server-side -f -`),
		RunE: func(cmd *cobra.Command, args []string) error { return p.manifests(cmd.Context(), args[0], timeout) },
	}
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "How long the syncer's identity is waited for, which the controller creates.")
	return cmd
}

func (p *plugin) manifests(ctx context.Context, name string, timeout time.Duration) error {
	workspace, err := p.upstream()
	if err != nil {
		return err
	}
	target, err := readTarget(ctx, workspace, name)
	if err != nil {
		return err
	}
	switch {
	case target.Spec.KubeconfigSecretRef != nil:
		return failed(fmt.Sprintf("see how the installation fares: kubectl synctarget status %s", name),
			"SyncTarget %q is in push mode: the service installs the syncer, so there is nothing to apply", name)
	case target.DeletionTimestamp != nil:
		return failed(fmt.Sprintf("see what it waits for: kubectl synctarget status %s", name), "SyncTarget %q is being deleted", name)
	}
	config, err := p.awaitConfig(ctx, workspace, name, timeout)
	if err != nil {
		return err
	}
	return p.render(config)
}
