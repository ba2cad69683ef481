package plugin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/util/templates"

	"github.com/synctarget/synctarget/pkg/sanitize"
)

// explain says how far an object has come on its way to the clusters.
type explain struct {
	*plugin
	kind, name, namespace string
	output                string
}

func (p *plugin) explainCommand() *cobra.Command {
	e := &explain{plugin: p}
	cmd := &cobra.Command{
		Use:               "explain (KIND/NAME | KIND NAME)",
		Short:             "Explain why an object runs in a cluster, or does not",
		ValidArgsFunction: cobra.NoFileCompletions,
		Long: templates.LongDesc(`
			Explain why an object runs in a cluster, or does not.

			The way of an object to a cluster is shown link by link: its Namespace, the Placement that counts, the clusters that
			were chosen, the rights of the syncer there, whether the kind is synced, whether the object was applied, and how its
			copy fares. The first broken link is marked with ✗, and what comes after it is not judged. For a Namespace the way
			ends with its Assignments.

			KIND is what kubectl takes, such as deployment, deploy or Deployment.apps. The exit code is 1 if a link is broken.`),
		Example: templates.Examples(`
			# Why does this Deployment not run?
			kubectl synctarget explain deployment/web -n shop

			# Where is a Namespace, and how does it fare there?
			kubectl synctarget explain namespace shop`),
		Args: func(_ *cobra.Command, args []string) error { return e.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return e.run(cmd.Context()) },
	}
	cmd.Flags().StringVarP(&e.namespace, "namespace", "n", "", "Namespace of the object. Default: that of the context.")
	addOutputFlag(cmd, &e.output)
	return cmd
}

// parse reads KIND/NAME, or KIND NAME.
func (e *explain) parse(args []string) error {
	const next = "name one object, as in: kubectl synctarget explain deployment/web -n shop"
	if len(args) == 1 {
		args = strings.Split(args[0], "/")
	}
	if len(args) != 2 || args[0] == "" || args[1] == "" || strings.Contains(args[0]+args[1], "/") {
		return usage(next, "explain needs the kind and the name of one object")
	}
	e.kind, e.name = args[0], args[1]
	return nil
}

func (e *explain) run(ctx context.Context) error {
	if err := checkOutput(e.output); err != nil {
		return err
	}
	workspace, err := e.upstream()
	if err != nil {
		return err
	}
	if e.namespace == "" {
		if e.namespace, _, err = e.kubeconfig.ToRawKubeConfigLoader().Namespace(); err != nil {
			return err
		}
	}
	f, err := readFacts(ctx, workspace, e.kind, e.namespace, e.name, e.clock.Now())
	if err != nil {
		return err
	}
	c := chainOf(f, workspace.path())
	if e.output != outputText {
		err = printData(e.Out, e.output, c)
	} else {
		err = writeChain(e.Out, c)
	}
	if err != nil {
		return fmt.Errorf("printing the links: %w", err)
	}
	return chainFailure(c, f)
}

// chainFailure is the error that names the first broken link, nil if all hold.
func chainFailure(c *chain, f *facts) error {
	first, target := c.broken()
	switch {
	case first == nil:
		return nil
	case target == "":
		return failed(first.Next, "%s is not synced: %s", f.describe(), sanitize.Line(first.Message))
	}
	return failed(first.Next, "%s does not run as it should on SyncTarget %q: %s", f.describe(), target, sanitize.Line(first.Message))
}

// writeChain writes a line for each link.
func writeChain(out io.Writer, c *chain) error {
	var text bytes.Buffer
	what := fmt.Sprintf("%s %q", c.Kind, c.Name)
	if c.Namespace != "" {
		what += fmt.Sprintf(" in Namespace %q", c.Namespace)
	}
	fmt.Fprintf(&text, "%s of workspace %q\n", what, c.Workspace)
	writeLinks(&text, c.Links)
	for _, t := range c.SyncTargets {
		fmt.Fprintf(&text, "\nSyncTarget %q\n", t.Name)
		writeLinks(&text, t.Links)
	}
	_, err := out.Write(text.Bytes())
	return err
}

func writeLinks(out io.Writer, links []link) {
	w := printers.GetNewTabWriter(out)
	defer w.Flush()
	for _, l := range links {
		mark := map[linkState]string{linkHolds: "✔", linkBroken: "✗", linkNotJudged: "-"}[l.State]
		message := l.Message
		if message == "" {
			message = "not judged"
		}
		fmt.Fprintf(w, "%s %s\t%s\n", mark, l.Name, sanitize.Line(message)) // it may have the words of others
	}
}
