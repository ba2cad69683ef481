package plugin

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// clustersPath precedes the workspace in a URL of kcp.
const clustersPath = "/clusters/"

// connection is a client of one side.
type connection struct {
	client.Client
	config *rest.Config
	// name is how messages name the side: workspace "root:demo", or physical cluster "https://…".
	name string
}

// path is that of a workspace: root:demo.
func (c *connection) path() string {
	return strings.Trim(strings.TrimPrefix(c.name, "workspace "), `"`)
}

// upstream connects to the workspace.
func (p *plugin) upstream() (*connection, error) {
	config, err := clientConfig(p.kubeconfig.ToRawKubeConfigLoader(), *p.kubeconfig.Context)
	if err != nil {
		return nil, err
	}
	workspace := ""
	if config.Host, workspace, err = workspaceURL(config.Host, p.workspace); err != nil {
		return nil, err
	}
	return p.dial(config, fmt.Sprintf("workspace %q", workspace))
}

// downstream connects to the physical cluster that a context leads to. An empty kubeconfig is the one of the workspace.
func (p *plugin) downstream(kubeconfig, context string) (*connection, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	if kubeconfig == "" {
		rules.ExplicitPath = *p.kubeconfig.KubeConfig
	}
	config, err := clientConfig(clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}), context)
	if err != nil {
		return nil, err
	}
	if strings.Contains(config.Host, clustersPath) {
		return nil, usage("name the physical cluster's own context", "the context of the physical cluster leads to a kcp workspace: %s", config.Host)
	}
	return p.dial(config, fmt.Sprintf("physical cluster %q", config.Host))
}

// clientConfig reads a kubeconfig; context is empty for the current one.
func clientConfig(loader clientcmd.ClientConfig, context string) (*rest.Config, error) {
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, err
	}
	if _, ok := raw.Contexts[context]; context != "" && !ok {
		return nil, usage("list the contexts with: kubectl config get-contexts", "context %q does not exist in the kubeconfig", context)
	}
	return loader.ClientConfig()
}

func (p *plugin) dial(config *rest.Config, name string) (*connection, error) {
	config.QPS = -1 // the server's own flow control is the limit
	config.UserAgent = "kubectl-synctarget/" + p.version
	c, err := p.connect(config)
	if err != nil {
		return nil, err
	}
	return &connection{Client: c, config: config, name: name}, nil
}

// newClient makes a client that needs no discovery.
func newClient(config *rest.Config) (client.Client, error) {
	scheme := newScheme()
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme, Mapper: newMapper(), HTTPClient: httpClient})
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, authorizationv1.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha2.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // these types are fixed
		}
	}
	return scheme
}

// newMapper knows the kinds that the commands speak of.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	add := func(gv schema.GroupVersion, scope meta.RESTScope, kinds ...string) {
		for _, kind := range kinds {
			mapper.Add(gv.WithKind(kind), scope)
		}
	}
	add(workloadv1alpha1.SchemeGroupVersion, meta.RESTScopeRoot, "SyncTarget", "Placement")
	add(workloadv1alpha1.SchemeGroupVersion, meta.RESTScopeNamespace, "Assignment")
	add(apisv1alpha2.SchemeGroupVersion, meta.RESTScopeRoot, "APIBinding")
	add(corev1.SchemeGroupVersion, meta.RESTScopeRoot, "Namespace")
	add(corev1.SchemeGroupVersion, meta.RESTScopeNamespace, "Pod", "Secret", "ServiceAccount")
	add(appsv1.SchemeGroupVersion, meta.RESTScopeNamespace, "Deployment", "ReplicaSet")
	add(batchv1.SchemeGroupVersion, meta.RESTScopeNamespace, "Job")
	add(rbacv1.SchemeGroupVersion, meta.RESTScopeRoot, "ClusterRole", "ClusterRoleBinding")
	add(rbacv1.SchemeGroupVersion, meta.RESTScopeNamespace, "Role", "RoleBinding")
	add(authorizationv1.SchemeGroupVersion, meta.RESTScopeRoot, "SelfSubjectAccessReview")
	return mapper
}

// workspaceURL is the URL of a workspace, and its path, from the URL that a kubeconfig names, of a front-proxy or of a shard.
func workspaceURL(host, workspace string) (hostURL, path string, err error) {
	const next = "use a context of a kcp workspace (--context), or name the workspace: --workspace=root:…"
	server, err := url.Parse(host)
	if err != nil {
		return "", "", usage(next, "the server in the kubeconfig is no URL: %v", err)
	}
	base, current, found := strings.Cut(server.Path, clustersPath)
	current, _, _ = strings.Cut(current, "/")
	if path, err = resolveWorkspace(current, workspace); err != nil {
		return "", "", usage(next, "%v", err)
	}
	if !found && path == "" {
		return "", "", usage(next, "the context leads to %s, which is no workspace of kcp", host)
	}
	server.Path = strings.TrimSuffix(base, "/") + clustersPath + path
	return server.String(), path, nil
}

// resolveWorkspace is the path that workspace means where current is the path of the context, both possibly empty.
func resolveWorkspace(current, workspace string) (string, error) {
	absolute := strings.TrimPrefix(workspace, ":")
	switch {
	case strings.HasPrefix(absolute, ":"), strings.HasSuffix(absolute, ":"), strings.Contains(absolute, "::"), strings.ContainsAny(absolute, "/ "):
		return "", fmt.Errorf("--workspace %q is no path of a workspace", workspace)
	case workspace == "", workspace == ".":
		return current, nil
	case absolute != workspace, workspace == "root", strings.HasPrefix(workspace, "root:"), strings.HasPrefix(workspace, "system:"):
		return absolute, nil
	case current == "":
		return "", fmt.Errorf("--workspace %q is relative, and the context leads to no workspace", workspace)
	}
	for name := range strings.SplitSeq(workspace, ":") {
		if name != ".." {
			current += ":" + name
			continue
		}
		at := strings.LastIndex(current, ":")
		if at < 0 {
			return "", fmt.Errorf("--workspace %q goes above %q, which has no parent by name", workspace, current)
		}
		current = current[:at]
	}
	return current, nil
}

// readTarget reads a SyncTarget.
func readTarget(ctx context.Context, upstream *connection, name string) (*workloadv1alpha1.SyncTarget, error) {
	target := &workloadv1alpha1.SyncTarget{}
	if err := upstream.Get(ctx, client.ObjectKey{Name: name}, target); err != nil {
		return nil, fmt.Errorf("reading SyncTarget %q in %s: %w", name, upstream.name, err)
	}
	return target, nil
}
