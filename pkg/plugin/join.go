package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/util/templates"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// secretNamespace is where join stores kubeconfigs: a Namespace that holds one is never synced.
const secretNamespace = "kubeconfigs"

// join registers a cluster, or brings what is registered to what the flags say.
type join struct {
	*plugin
	name string

	cells   map[string]string
	cluster string
	yes     bool
	wait    bool
	timeout time.Duration
	dryRun  string
	output  string

	exportPath string

	fromKubeconfig, fromContext string
	server                      string

	pull                              bool
	applyToKubeconfig, applyToContext string

	// Completed from the flags.

	mode dryRun
}

func (p *plugin) joinCommand() *cobra.Command {
	j := &join{plugin: p}
	cmd := &cobra.Command{
		Use:               "join NAME --cell KEY=VALUE (--from-context CONTEXT | --pull)",
		Short:             "Register a cluster with the workspace, or change how it is registered",
		Args:              oneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Register a cluster with the workspace, or change how it is registered.

			With --from-context or --from-kubeconfig the service installs the syncer (push mode). The command makes an identity
			for the service in the cluster, with just the rights that it needs, and stores a kubeconfig of it in a Secret of the
			workspace. The controller has to reach the API server of the cluster.

			With --pull you install the syncer. The command prints the manifests, or applies them with --apply-to-context.

			It ends when the SyncTarget is Ready, and may be repeated: it adds what is missing, changes what differs, and says
			what it has changed.`),
		Example: templates.Examples(`
			# Push mode: the service installs the syncer in the cluster of the context edge-1
			kubectl synctarget join edge-1 --cell region=eu-west-1 --from-context edge-1

			# Pull mode: the syncer is installed with your own rights
			kubectl synctarget join edge-1 --cell region=eu-west-1 --pull --apply-to-context edge-1

			# Pull mode, for a cluster that cannot be reached from here
			kubectl synctarget join edge-1 --cell region=eu-west-1 --pull >edge-1.yaml`),
		RunE: func(cmd *cobra.Command, args []string) error {
			j.name = args[0]
			if err := j.complete(); err != nil {
				return err
			}
			return j.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringToStringVar(&j.cells, "cell", nil, "Where the cluster is, as region=eu-west-1; may be repeated. Needed when the SyncTarget is created; later it changes the given cells.")
	flags.StringVar(&j.cluster, "cluster", "", "Name of the physical cluster, for people. Default: NAME.")
	flags.StringVar(&j.fromContext, "from-context", "", "Push mode: context of the physical cluster, as its administrator.")
	flags.StringVar(&j.fromKubeconfig, "from-kubeconfig", "", "Push mode: kubeconfig with that context. Default: the kubeconfig of the workspace.")
	flags.StringVar(&j.server, "server-address", "", "Push mode: URL at which the controller reaches the API server of the cluster. Default: the one of the context.")
	flags.BoolVar(&j.pull, "pull", false, "Pull mode: print the manifests of the syncer, for you to apply.")
	flags.StringVar(&j.applyToContext, "apply-to-context", "", "Pull mode: apply the manifests to the cluster of this context instead of printing them.")
	flags.StringVar(&j.applyToKubeconfig, "apply-to-kubeconfig", "", "Pull mode: kubeconfig with that context. Default: the kubeconfig of the workspace.")
	flags.StringVar(&j.exportPath, "export-path", defaultExportPath, "Workspace of the APIExport, if the API is not bound yet.")
	flags.BoolVarP(&j.yes, "yes", "y", false, "Bind the API and accept its permission claims without asking.")
	flags.BoolVar(&j.wait, "wait", true, "Wait until the SyncTarget is Ready; where the manifests are printed, it is not waited for.")
	flags.DurationVar(&j.timeout, "timeout", 5*time.Minute, "How long each step is waited for.")
	flags.StringVar(&j.dryRun, "dry-run", string(dryRunNone), `"client" changes nothing and shows what would be changed; "server" has the servers check it, too.`)
	flags.StringVarP(&j.output, "output", "o", "", `"yaml" prints the objects of the workspace and the cluster, without secrets.`)
	for _, name := range []string{"from-context", "apply-to-context"} {
		_ = cmd.RegisterFlagCompletionFunc(name, p.completeContexts)
	}
	return cmd
}

// complete checks the flags against each other.
func (j *join) complete() error {
	var err error
	if j.mode, err = parseDryRun(j.dryRun); err != nil {
		return err
	}
	push := j.fromContext != "" || j.fromKubeconfig != ""
	apply := j.applyToContext != "" || j.applyToKubeconfig != ""
	const next = "see kubectl synctarget join --help"
	switch {
	case push && (j.pull || apply):
		return usage(next, "--from-context and --from-kubeconfig are for push mode, --pull and --apply-to-context for pull mode")
	case !push && !j.pull:
		return usage("name the cluster with --from-context, or give --pull to install the syncer yourself", "neither a context of the physical cluster nor --pull is given")
	case apply && !j.pull:
		return usage(next, "--apply-to-context and --apply-to-kubeconfig need --pull")
	case j.server != "" && j.pull:
		return usage(next, "--server-address is for push mode: in pull mode nobody connects to the cluster")
	case j.output != "" && j.output != "yaml":
		return usage(`give "yaml", or leave it out`, "invalid --output %q", j.output)
	case j.output != "" && j.pull && !apply && j.mode == dryRunNone:
		return usage("leave --output out, or add --apply-to-context", "--output would mix the objects with the manifests of the syncer")
	}
	if j.output != "" {
		j.progress.plain()
	}
	return nil
}

func (j *join) run(ctx context.Context) error {
	workspace, err := j.upstream()
	if err != nil {
		return err
	}
	up := j.newWriter(workspace, j.mode)
	live, err := j.existing(ctx, workspace)
	if err != nil {
		return err
	}
	if j.pull {
		return j.runPull(ctx, up, live)
	}
	return j.runPush(ctx, up, live)
}

// existing reads the SyncTarget; nil if there is none, and checks that the flags can be applied to it.
func (j *join) existing(ctx context.Context, workspace *connection) (*workloadv1alpha1.SyncTarget, error) {
	live, err := readTarget(ctx, workspace, j.name)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	switch {
	case err != nil && len(j.cells) == 0:
		return nil, usage("say where the cluster is, as in --cell region=eu-west-1", "SyncTarget %q does not exist in %s, and without a cell it cannot be created", j.name, workspace.name)
	case err != nil:
		return nil, nil
	case live.DeletionTimestamp != nil:
		return nil, failed(fmt.Sprintf("wait until it is gone, and run the command again: kubectl synctarget leave %s --wait", j.name), "SyncTarget %q is being deleted", j.name)
	case j.pull && live.Spec.KubeconfigSecretRef != nil:
		return nil, usage(fmt.Sprintf("leave --pull out, or delete the SyncTarget first: kubectl synctarget leave %s", j.name),
			"SyncTarget %q is in push mode, and the mode cannot be changed", j.name)
	case !j.pull && live.Spec.KubeconfigSecretRef == nil:
		return nil, usage(fmt.Sprintf("add --pull, or delete the SyncTarget first: kubectl synctarget leave %s", j.name),
			"SyncTarget %q is in pull mode, and the mode cannot be changed", j.name)
	}
	return live, nil
}

// runPush registers the cluster for the service to install the syncer in.
func (j *join) runPush(ctx context.Context, up *writer, live *workloadv1alpha1.SyncTarget) error {
	cluster, err := j.downstream(j.fromKubeconfig, j.fromContext)
	if err != nil {
		return err
	}
	if err := j.sameCluster(ctx, cluster, live); err != nil {
		return err
	}
	if _, err := endpointOf(cluster.config, j.server, nil); err != nil {
		return err // before anything is written
	}
	if err := j.ensureBinding(ctx, up, j.exportPath, j.yes, j.timeout); err != nil {
		return err
	}
	down := j.newWriter(cluster, j.mode)
	kubeconfig, err := j.ensureInstaller(ctx, down)
	if err != nil {
		return err
	}
	ref := workloadv1alpha1.KubeconfigSecretReference{Namespace: secretNamespace, Name: j.name, Key: workloadv1alpha1.DefaultKubeconfigKey}
	if live != nil {
		ref = *live.Spec.KubeconfigSecretRef
	}
	if err := j.ensureSecret(ctx, up, ref, kubeconfig, live != nil); err != nil {
		return err
	}
	if err := j.ensureTarget(ctx, up, &ref); err != nil {
		return err
	}
	if err := j.print(up, down); err != nil {
		return err
	}
	if j.mode != dryRunNone || !j.wait {
		return nil
	}
	return j.awaitReady(ctx, up.connection, j.name, j.timeout, nil)
}

// sameCluster refuses another cluster than the one that the SyncTarget stands for.
func (j *join) sameCluster(ctx context.Context, cluster *connection, live *workloadv1alpha1.SyncTarget) error {
	system := &corev1.Namespace{}
	if err := cluster.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return fmt.Errorf("reading Namespace %q in %s: %w", metav1.NamespaceSystem, cluster.name, err)
	}
	if live == nil || live.Status.ClusterID == "" || live.Status.ClusterID == string(system.UID) {
		return nil
	}
	return failed("name the context of that cluster, or register this one under another name",
		"SyncTarget %q stands for the cluster with ID %s, and %s has ID %s", j.name, live.Status.ClusterID, cluster.name, system.UID)
}

// ensureInstaller makes the identity of the service in the cluster, and returns a kubeconfig of it.
func (j *join) ensureInstaller(ctx context.Context, down *writer) ([]byte, error) {
	installer, err := newInstaller()
	if err != nil {
		return nil, err
	}
	if err := installer.ensure(ctx, down); err != nil {
		return nil, err
	}
	if j.mode == dryRunNone {
		if err := installer.awaitToken(ctx, j.plugin, down, j.timeout); err != nil {
			return nil, err
		}
	}
	at, err := endpointOf(down.config, j.server, installer.token.Data[corev1.ServiceAccountRootCAKey])
	if err != nil {
		return nil, err
	}
	token := installer.token.Data[corev1.ServiceAccountTokenKey]
	if len(token) == 0 {
		return []byte("a dry run has no token"), nil
	}
	return installerKubeconfig(j.name, at, token)
}

// ensureSecret stores the kubeconfig. A Secret that is there already is changed only if the SyncTarget refers to it, or if join
// has made it.
func (j *join) ensureSecret(ctx context.Context, up *writer, ref workloadv1alpha1.KubeconfigSecretReference, kubeconfig []byte, referred bool) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ref.Namespace}}
	if err := up.ensure(ctx, namespace, func() error { return nil }); err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	return up.ensure(ctx, secret, func() error {
		if secret.UID != "" && !referred && secret.Labels[managedByLabel] != fieldOwner {
			return failed(fmt.Sprintf("delete it, or register the cluster under another name: kubectl -n %s delete secret %s", ref.Namespace, ref.Name),
				"Secret %q of %s exists already, and no SyncTarget %q refers to it", ref.Namespace+"/"+ref.Name, up.name, j.name)
		}
		if secret.UID == "" {
			setLabel(secret, managedByLabel, fieldOwner)
		}
		setLabel(secret, workloadv1alpha1.LabelVisible, "true")
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		key := ref.Key
		if key == "" {
			key = workloadv1alpha1.DefaultKubeconfigKey
		}
		secret.Data[key] = kubeconfig
		return nil
	})
}

// managedByLabel marks the Secrets that join has made.
const managedByLabel = "app.kubernetes.io/managed-by"

// ensureTarget creates the SyncTarget or changes what the flags name.
func (j *join) ensureTarget(ctx context.Context, up *writer, ref *workloadv1alpha1.KubeconfigSecretReference) error {
	target := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: j.name}}
	return up.ensure(ctx, target, func() error {
		switch {
		case j.cluster != "":
			target.Spec.Cluster = j.cluster
		case target.Spec.Cluster == "":
			target.Spec.Cluster = j.name
		}
		if target.Spec.Cells == nil {
			target.Spec.Cells = map[string]workloadv1alpha1.CellValue{}
		}
		for _, name := range slices.Sorted(maps.Keys(j.cells)) {
			target.Spec.Cells[name] = workloadv1alpha1.CellValue(j.cells[name])
		}
		if target.UID == "" {
			target.Spec.KubeconfigSecretRef = ref
		}
		return nil
	})
}

// print prints what was written, where the user has asked for it.
func (j *join) print(writers ...*writer) error {
	if j.output == "" {
		return nil
	}
	printer := &printers.YAMLPrinter{}
	for _, w := range writers {
		objects, err := w.printable()
		if err != nil {
			return err
		}
		for _, object := range objects {
			if err := printer.PrintObj(object, j.Out); err != nil {
				return fmt.Errorf("printing the objects: %w", err)
			}
		}
	}
	return nil
}
