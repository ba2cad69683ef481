package plugin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubectl/pkg/util/templates"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// maxVerbosity is the highest level of the log that shows no Secret: from 8 on, client-go logs bodies.
const maxVerbosity = 7

// plugin is what all commands share.
type plugin struct {
	genericiooptions.IOStreams
	version string
	clock   clock.PassiveClock
	// sleep waits for a duration, or until the context is done.
	sleep func(context.Context, time.Duration) error
	// connect makes a client of a server; a field so that unit tests need no server.
	connect func(*rest.Config) (client.Client, error)
	// contact asks a server for its version; a field like connect.
	contact func(context.Context, *rest.Config) (answer, error)

	kubeconfig *genericclioptions.ConfigFlags
	workspace  string
	verbosity  string
	progress   *progress
}

// Run runs the command that the arguments name, and returns the exit code: 0, 1 not ready or failed, 2 wrong usage, 3 timeout.
func Run(ctx context.Context, streams genericiooptions.IOStreams, version string, args []string) int {
	log.SetLogger(logr.Discard()) // what is written is reported as progress
	return newPlugin(streams, version).run(ctx, args)
}

func newPlugin(streams genericiooptions.IOStreams, version string) *plugin {
	p := &plugin{
		IOStreams: streams, version: version, clock: clock.RealClock{}, sleep: sleep, connect: newClient, contact: contactServer,
		kubeconfig: genericclioptions.NewConfigFlags(true), progress: newProgress(streams.ErrOut),
	}
	// SyncTargets have no Namespace, and nothing is discovered that could be cached.
	p.kubeconfig.Namespace, p.kubeconfig.CacheDir = nil, nil
	p.kubeconfig.ClusterName = nil // --cluster is the physical cluster
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := clock.RealClock{}.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

func (p *plugin) run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	p.progress.stop()
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = &failure{code: exitFailed, message: "interrupted", next: "run the same command again: it goes on where this one has stopped"}
	}
	f := describe(err)
	fmt.Fprintln(p.ErrOut, f.text())
	return f.code
}

func (p *plugin) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "synctarget",
		Short: "Register Kubernetes clusters with a kcp workspace, and look after them",
		Long: templates.LongDesc(`
			Register Kubernetes clusters with a kcp workspace, and look after them.

			The commands work in the workspace of the current context, unless --workspace names another.`),
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl synctarget"},
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.setVerbosity() },
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("see the list of commands: kubectl synctarget --help", "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	p.kubeconfig.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVarP(&p.workspace, "workspace", "w", "",
		"Workspace to work in: absolute as in root:org:team, below the one of the context as in team, or .. for its parent.")
	root.PersistentFlags().StringVarP(&p.verbosity, "v", "v", "0", "Verbosity of the log on stderr, 0 to 7; 6 shows each request.")
	_ = root.RegisterFlagCompletionFunc("workspace", cobra.NoFileCompletions)

	groups := templates.CommandGroups{
		{Message: "Register and deregister:", Commands: []*cobra.Command{p.joinCommand(), p.manifestsCommand(), p.leaveCommand()}},
		{Message: "Look:", Commands: []*cobra.Command{p.statusCommand(), p.explainCommand(), p.treeCommand(), p.checkCommand(), p.getCredentialsCommand()}},
		{Message: "Operate:", Commands: []*cobra.Command{p.cordonCommand(), p.uncordonCommand(), p.drainCommand(), p.taintCommand()}},
	}
	groups.Add(root)
	root.AddCommand(p.versionCommand(), optionsCommand())
	templates.ActsAsRootCommand(root, nil, groups...)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("see "+cmd.CommandPath()+" --help", "%v", err)
	})
	return root
}

// optionsCommand lists the flags of all commands; the help of each refers to it.
func optionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "options", Short: "List the flags that all commands have", Run: func(cmd *cobra.Command, _ []string) { _ = cmd.Usage() }}
	templates.UseOptionsTemplates(cmd)
	return cmd
}

func (p *plugin) setVerbosity() error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", p.verbosity); err != nil {
		return usage("give a number from 0 to 7", "--v: %v", err)
	}
	if klog.V(maxVerbosity + 1).Enabled() {
		return usage("give a number from 0 to 7", "--v=%s would log the bodies of requests, Secrets among them", p.verbosity)
	}
	return nil
}

// noArguments is the argument check of the commands that take none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("see "+cmd.CommandPath()+" --help", "%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneName is the argument check of the commands that need the name of one SyncTarget.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("see "+cmd.CommandPath()+" --help", "%s needs the name of one SyncTarget, and got %d arguments", cmd.CommandPath(), len(args))
	}
	return nil
}

// atMostOneName is the argument check of the commands that speak of all SyncTargets when none is named.
func atMostOneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("see "+cmd.CommandPath()+" --help", "%s takes the name of one SyncTarget at most, and got %d arguments", cmd.CommandPath(), len(args))
	}
	return nil
}
