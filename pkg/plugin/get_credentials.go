package plugin

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

func (p *plugin) getCredentialsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get-credentials NAME",
		Short:             "Say how to get at the copies in a cluster; no credentials are handed out",
		Args:              oneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Say how to get at the copies in a cluster, with credentials of your own.

			The service hands out none: neither the kubeconfig by which it installs the syncer, nor the token of the syncer.`),
		Example: templates.Examples(`kubectl synctarget get-credentials edge-1`),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.sayCredentials(cmd.Context(), args[0]) },
	}
}

func (p *plugin) sayCredentials(ctx context.Context, name string) error {
	workspace, err := p.upstream()
	if err != nil {
		return err
	}
	target, err := readTarget(ctx, workspace, name)
	if err != nil {
		return err
	}
	assignments, err := assignmentsOf(ctx, workspace, target)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "The service hands out no credentials of physical cluster %q, which stands behind SyncTarget %q.\n", target.Spec.Cluster, name)
	rows := copiesOf(assignments, target.Status.Key)
	if len(rows) == 0 {
		fmt.Fprintln(p.Out, "No Namespace of the workspace has copies there.")
		return nil
	}
	fmt.Fprintln(p.Out, "With a context of your own for that cluster, look at the copies in the Namespaces below, for example:")
	fmt.Fprintf(p.Out, "  kubectl --context=CLUSTER -n %s get all\n", rows[0][1])
	writeSection(p.Out, "Namespaces", []string{"NAMESPACE", "IN THE CLUSTER"}, rows)
	return nil
}

// copiesOf are the Namespaces of the workspace that are, or may be, in a cluster, and the names that they have there.
func copiesOf(assignments []workloadv1alpha1.Assignment, key string) (rows [][]string) {
	last := ""
	for i := range assignments {
		a := &assignments[i]
		if name := a.Spec.Namespace.Name; name != last { // an earlier Namespace of a name has the same one there
			last = name
			rows = append(rows, []string{name, cmp.Or(a.Status.DownstreamNamespace, naming.Namespace(key, name))})
		}
	}
	return rows
}
