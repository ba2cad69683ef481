package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/util/templates"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// result is what a check has found.
type result int

const (
	// passed: nothing is wrong.
	passed result = iota
	// warned: it works, but should be changed.
	warned
	// skipped: it was not looked at.
	skipped
	// wrong: it has to be changed.
	wrong
)

// finding is one line of the list.
type finding struct {
	result result
	// what was looked at, and what is wrong with it.
	what string
	// cure is what to do about it; empty if it has passed.
	cure string
}

func (f finding) text() string {
	text := map[result]string{passed: "✔", warned: "!", skipped: "-", wrong: "✗"}[f.result] + " " + f.what + "\n"
	if f.cure != "" {
		text += "    " + f.cure + "\n"
	}
	return text
}

// check looks for what would keep a cluster from becoming Ready, on both sides.
type check struct {
	*plugin
	// name is empty where only the workspace, and a cluster that is not registered yet, are looked at.
	name string
	pre  bool

	fromKubeconfig, fromContext string

	kcpURL, syncerImage string
	timeout             time.Duration

	count, failures int
}

func (p *plugin) checkCommand() *cobra.Command {
	c := &check{plugin: p}
	cmd := &cobra.Command{
		Use:               "check [NAME]",
		Short:             "Check what a cluster needs to become Ready, in the workspace and in the cluster",
		Args:              atMostOneName,
		ValidArgsFunction: p.completeNames,
		Long: templates.LongDesc(`
			Check what a cluster needs to become Ready, in the workspace and in the cluster.

			In the workspace: the version of kcp, the binding of the API, its permission claims, your rights, and with NAME the
			conditions of that SyncTarget. In the cluster: the rights that the service needs, whether policies and quotas let the
			syncer in, and whether kcp can be reached from inside the cluster, by a short Job with the image of the syncer.

			The cluster is the one of --from-context, or that of the kubeconfig that the SyncTarget refers to. The exit code is 1 if
			a check fails.`),
		Example: templates.Examples(`
			# Before the cluster is registered
			kubectl synctarget check --pre --from-context edge-1

			# A SyncTarget that does not become Ready
			kubectl synctarget check edge-1`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				c.name = args[0]
			}
			if c.pre && c.name != "" {
				return usage("leave one of them out", "--pre is for a cluster that is not registered yet, and SyncTarget %q is named", c.name)
			}
			return c.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.pre, "pre", false, "Check before the cluster is registered: a missing binding is no failure, since join makes it.")
	flags.StringVar(&c.fromContext, "from-context", "", "Context of the physical cluster, as its administrator. Default: the kubeconfig that the SyncTarget refers to.")
	flags.StringVar(&c.fromKubeconfig, "from-kubeconfig", "", "Kubeconfig with that context. Default: the kubeconfig of the workspace.")
	flags.StringVar(&c.kcpURL, "kcp-url", "", "URL of kcp that is tried from inside the cluster. Default: the one that the controller gives to the syncer, or the workspace's.")
	flags.StringVar(&c.syncerImage, "syncer-image", "", "Image of the syncer for the Job. Default: the one that the controller installs for the SyncTarget.")
	flags.DurationVar(&c.timeout, "timeout", 90*time.Second, "How long the Job is waited for.")
	_ = cmd.RegisterFlagCompletionFunc("from-context", p.completeContexts)
	return cmd
}

// report prints findings as they come.
func (c *check) report(findings ...finding) {
	for _, f := range findings {
		c.progress.stop()
		fmt.Fprint(c.Out, f.text())
		c.count++
		if f.result == wrong {
			c.failures++
		}
	}
}

func (c *check) run(ctx context.Context) error {
	workspace, err := c.upstream()
	if err != nil {
		return err
	}
	target, err := c.checkWorkspace(ctx, workspace)
	if err != nil {
		return err
	}
	cluster, stop, err := c.clusterOf(ctx, workspace, target)
	if err != nil {
		return err
	}
	if stop != nil {
		c.report(*stop)
	} else if err := c.checkCluster(ctx, workspace, cluster, target); err != nil {
		return err
	}
	if c.failures > 0 {
		return failed("do what stands below each ✗, and run the command again", "%d of %d checks failed", c.failures, c.count)
	}
	return nil
}

// checkWorkspace looks at the workspace, and returns the SyncTarget that is named, nil for none.
func (c *check) checkWorkspace(ctx context.Context, workspace *connection) (*workloadv1alpha1.SyncTarget, error) {
	seen, err := c.contact(ctx, workspace.config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", workspace.name, err)
	}
	c.report(serverFindings(workspace.name, seen, c.clock.Now())...)
	c.report(kcpFinding(seen.version))
	binding, err := findBinding(ctx, workspace)
	if err != nil {
		return nil, err
	}
	c.report(bindingFindings(binding, c.pre)...)
	missing, err := missingRights(ctx, workspace, userRights())
	if err != nil {
		return nil, err
	}
	c.report(rightsFinding("you have the rights that join needs in "+workspace.name, "you lack rights that join needs in "+workspace.name, missing, "ask an administrator of the workspace for them"))
	if c.name == "" || binding == nil {
		return nil, nil
	}
	target, err := readTarget(ctx, workspace, c.name)
	if err != nil {
		return nil, err
	}
	c.report(conditionFinding(target))
	return target, nil
}

// clusterOf connects to the physical cluster; a finding says why it is not looked at.
func (c *check) clusterOf(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) (*connection, *finding, error) {
	if c.fromContext != "" || c.fromKubeconfig != "" {
		cluster, err := c.downstream(c.fromKubeconfig, c.fromContext)
		return cluster, nil, err
	}
	if target == nil || target.Spec.KubeconfigSecretRef == nil {
		return nil, &finding{skipped, "the physical cluster is not checked", "name a context of it: --from-context"}, nil
	}
	config, err := storedKubeconfig(ctx, workspace, target.Spec.KubeconfigSecretRef)
	if err != nil {
		return nil, &finding{wrong, err.Error(), fmt.Sprintf("store a kubeconfig anew: kubectl synctarget join %s --from-context=CLUSTER", c.name)}, nil
	}
	cluster, err := c.dial(config, fmt.Sprintf("physical cluster %q", config.Host))
	return cluster, nil, err
}

// storedKubeconfig reads the kubeconfig that a SyncTarget refers to, as the service does.
func storedKubeconfig(ctx context.Context, workspace *connection, ref *workloadv1alpha1.KubeconfigSecretReference) (*rest.Config, error) {
	name := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	var secret corev1.Secret
	if err := workspace.Get(ctx, name, &secret); err != nil {
		return nil, fmt.Errorf("reading Secret %q in %s: %w", name, workspace.name, err)
	}
	if secret.Labels[workloadv1alpha1.LabelVisible] != "true" {
		return nil, fmt.Errorf("Secret %q lacks the label %s=true, without which the service does not see it", name, workloadv1alpha1.LabelVisible) //nolint:staticcheck // a kind begins the sentence
	}
	key := ref.Key
	if key == "" {
		key = workloadv1alpha1.DefaultKubeconfigKey
	}
	config, err := pcluster.Parse(secret.Data[key])
	if err != nil {
		return nil, fmt.Errorf("the service refuses the kubeconfig in Secret %q: %w", name, err)
	}
	return config, nil
}

// checkCluster looks at the physical cluster.
func (c *check) checkCluster(ctx context.Context, workspace, cluster *connection, target *workloadv1alpha1.SyncTarget) error {
	seen, err := c.contact(ctx, cluster.config)
	if err != nil {
		c.report(finding{wrong, fmt.Sprintf("%s does not answer: %v", cluster.name, err), c.clusterCure(err)})
		return nil
	}
	c.report(serverFindings(cluster.name, seen, c.clock.Now())...)
	rights, err := neededRights(target)
	if err != nil {
		return err
	}
	missing, err := missingRights(ctx, cluster, rights)
	if err != nil {
		c.report(finding{wrong, err.Error(), c.clusterCure(err)})
		return nil
	}
	c.report(rightsFinding("the rights that the service needs are there in "+cluster.name, "rights that the service needs are missing in "+cluster.name, missing,
		"as an administrator of the cluster, run: kubectl synctarget join NAME --from-context=CLUSTER, or kubectl apply -k config/samples/installer"))
	if len(missing) > 0 {
		c.report(finding{skipped, "the syncer is not tried in the cluster, since rights are missing", "give the rights first, and run the command again"})
		return nil
	}
	config, stop, err := c.syncerConfig(ctx, workspace, target)
	if err != nil {
		return err
	}
	if stop != nil {
		c.report(*stop)
		return nil
	}
	namespace, err := c.namespaceFor(ctx, cluster, config)
	if err != nil {
		return err
	}
	c.report(admissionFindings(ctx, cluster, config, namespace)...)
	found, err := c.reachFinding(ctx, cluster, config, namespace)
	if err != nil {
		return err
	}
	c.report(found)
	return nil
}

// clusterCure is what to do about an error of the physical cluster.
func (c *check) clusterCure(err error) string {
	if apierrors.IsUnauthorized(err) && c.fromContext == "" && c.fromKubeconfig == "" {
		return fmt.Sprintf("the cluster no longer accepts the stored kubeconfig; store one anew: kubectl synctarget join %s --from-context=CLUSTER", c.name)
	}
	return describe(err).next
}

// syncerConfig is what the syncer would be installed with; a finding says why that is not known.
func (c *check) syncerConfig(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) (agent.Config, *finding, error) {
	config := agent.Config{Target: &workloadv1alpha1.SyncTarget{}, KcpURL: workspace.config.Host, KcpCA: workspace.config.CAData}
	config.Target.Name = "check"
	if target != nil {
		published, err := agent.ReadConfig(ctx, workspace, target)
		missing, pullSecret := (*agent.NotPublishedError)(nil), (*agent.PullSecretError)(nil)
		switch {
		case err == nil:
			config = published
		case errors.As(err, &pullSecret):
			return agent.Config{}, &finding{skipped, "kcp is not tried from inside the cluster: " + pullSecret.Error(), "mend the Secret first"}, nil
		case !errors.As(err, &missing):
			return agent.Config{}, nil, err
		case c.syncerImage == "":
			return agent.Config{}, &finding{skipped, "kcp is not tried from inside the cluster: " + missing.Error(), "mend the conditions above first, or name an image: --syncer-image"}, nil
		default:
			config.Target = target
		}
	}
	if c.kcpURL != "" {
		config.KcpURL = c.kcpURL
	}
	if c.syncerImage != "" {
		config.Image = c.syncerImage
		config.Target = config.Target.DeepCopy()
		config.Target.Spec.Syncer = withImage(config.Target.Spec.Syncer, c.syncerImage)
	}
	if config.Image == "" {
		return agent.Config{}, &finding{skipped, "kcp is not tried from inside the cluster, since the image of the syncer is not known", "name it: --syncer-image"}, nil
	}
	return config, nil, nil
}

func withImage(spec *workloadv1alpha1.SyncerSpec, image string) *workloadv1alpha1.SyncerSpec {
	if spec == nil {
		spec = &workloadv1alpha1.SyncerSpec{}
	}
	spec.Image = image
	return spec
}

// namespaceFor is where the syncer is tried: its own Namespace, or, before that exists, "default".
func (c *check) namespaceFor(ctx context.Context, cluster *connection, config agent.Config) (string, error) {
	own := workloadv1alpha1.SyncerNamespace(config.Target.Name, workloadv1alpha1.Key(config.ClusterName, config.Target.Name))
	err := cluster.Get(ctx, client.ObjectKey{Name: own}, &corev1.Namespace{})
	switch {
	case err == nil:
		return own, nil
	case client.IgnoreNotFound(err) != nil:
		return "", fmt.Errorf("reading Namespace %q in %s: %w", own, cluster.name, err)
	}
	return corev1.NamespaceDefault, nil
}
