package plugin

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/synctarget/synctarget/config/samples"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// installer is the identity of the service in a physical cluster.
type installer struct {
	objects []client.Object
	role    *rbacv1.ClusterRole
	token   *corev1.Secret
}

// newInstaller reads the manifests of config/samples/installer.
func newInstaller() (*installer, error) {
	manifests := slices.Concat(samples.InstallerServiceAccount, []byte("\n---\n"), samples.InstallerRole)
	infos, err := resource.NewLocalBuilder().WithScheme(newScheme(), corev1.SchemeGroupVersion, rbacv1.SchemeGroupVersion).
		Stream(bytes.NewReader(manifests), "config/samples/installer").Flatten().Do().Infos()
	if err != nil {
		return nil, fmt.Errorf("reading the manifests of the installer: %w", err)
	}
	i := &installer{}
	for _, info := range infos {
		object := info.Object.(client.Object)
		i.objects = append(i.objects, object)
		switch object := object.(type) {
		case *rbacv1.ClusterRole:
			i.role = object
		case *corev1.Secret:
			i.token = object
		}
	}
	return i, nil
}

// ensure brings the physical cluster to the manifests. Rules that an administrator has added to the role stay, since a SyncTarget
// that names resources of its own needs them.
func (i *installer) ensure(ctx context.Context, w *writer) error {
	for _, want := range i.objects {
		object := reflect.New(reflect.TypeOf(want).Elem()).Interface().(client.Object)
		object.SetNamespace(want.GetNamespace())
		object.SetName(want.GetName())
		if err := w.ensure(ctx, object, func() error { return overlay(object, want) }); err != nil {
			return err
		}
		if secret, ok := object.(*corev1.Secret); ok {
			i.token = secret
		}
	}
	return nil
}

// overlay sets in an object what a manifest of the installer says.
func overlay(object, want client.Object) error {
	for name, value := range want.GetAnnotations() {
		metav1.SetMetaDataAnnotation(objectMeta(object), name, value)
	}
	switch want := want.(type) {
	case *corev1.Namespace:
	case *corev1.ServiceAccount:
		object.(*corev1.ServiceAccount).AutomountServiceAccountToken = want.AutomountServiceAccountToken
	case *corev1.Secret:
		object.(*corev1.Secret).Type = want.Type
	case *rbacv1.ClusterRole:
		role := object.(*rbacv1.ClusterRole)
		for _, rule := range want.Rules {
			if !slices.ContainsFunc(role.Rules, func(have rbacv1.PolicyRule) bool { return reflect.DeepEqual(have, rule) }) {
				role.Rules = append(role.Rules, rule)
			}
		}
	case *rbacv1.ClusterRoleBinding:
		binding := object.(*rbacv1.ClusterRoleBinding)
		if binding.RoleRef.Name != "" && binding.RoleRef != want.RoleRef {
			return failed(fmt.Sprintf("delete it, and run the command again: kubectl delete clusterrolebinding %s", want.Name),
				"ClusterRoleBinding %q of the physical cluster is bound to %s %q", want.Name, binding.RoleRef.Kind, binding.RoleRef.Name)
		}
		binding.RoleRef, binding.Subjects = want.RoleRef, want.Subjects
	default:
		return fmt.Errorf("the installer's manifests hold a %T, which join does not know", want)
	}
	return nil
}

func objectMeta(object client.Object) *metav1.ObjectMeta {
	return object.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// awaitToken waits until the physical cluster has issued the token.
func (i *installer) awaitToken(ctx context.Context, p *plugin, w *writer, timeout time.Duration) error {
	name := client.ObjectKeyFromObject(i.token)
	next := "see whether the cluster issues tokens to Secrets: its controller-manager does it, unless the controller serviceaccount-token is turned off"
	return p.poll(ctx, "the installer's token", timeout, next, func(ctx context.Context) (observation, error) {
		if err := w.Get(ctx, name, i.token); err != nil {
			return observation{}, fmt.Errorf("reading Secret %q in %s: %w", name, w.name, err)
		}
		if len(i.token.Data[corev1.ServiceAccountTokenKey]) == 0 {
			return observation{waiting: fmt.Sprintf("%s has not put a token into Secret %q yet", w.name, name)}, nil
		}
		return observation{done: true}, nil
	})
}

// endpoint is where the service reaches the API server of a physical cluster.
type endpoint struct {
	server, tlsServerName string
	// ca verifies the server; empty for the public authorities.
	ca []byte
}

// endpointOf is the endpoint that the user's own config leads to, or, with server, that address, of which the cluster's CA is
// taken to have issued the certificate.
func endpointOf(config *rest.Config, server string, clusterCA []byte) (endpoint, error) {
	const next = "give the address at which the service reaches the API server: --server-address=https://…"
	if server != "" {
		address, err := url.Parse(server)
		if err != nil || address.Scheme != "https" || address.Host == "" {
			return endpoint{}, usage(next, "--server-address must be an https URL, not %q", server)
		}
		return endpoint{server: server, ca: clusterCA}, nil
	}
	address, err := url.Parse(config.Host)
	switch {
	case err != nil || address.Scheme != "https":
		return endpoint{}, usage(next, "the context of the physical cluster leads to %q, which is no https URL", config.Host)
	case isLoopback(address.Hostname()):
		return endpoint{}, usage(next, "the context of the physical cluster leads to %s, which only this machine reaches", config.Host)
	case config.Insecure:
		return endpoint{}, usage(next, "the context of the physical cluster does not verify the server's certificate, and the service refuses that")
	}
	copied := rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(copied); err != nil {
		return endpoint{}, fmt.Errorf("reading the files that the kubeconfig of the physical cluster names: %w", err)
	}
	return endpoint{server: config.Host, tlsServerName: copied.ServerName, ca: copied.CAData}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// installerKubeconfig is the kubeconfig for the service, checked as the service does.
func installerKubeconfig(name string, at endpoint, token []byte) ([]byte, error) {
	out, err := yaml.Marshal(clientcmdapi.Config{
		APIVersion:     "v1",
		Kind:           "Config",
		CurrentContext: name,
		Contexts:       []clientcmdapi.NamedContext{{Name: name, Context: clientcmdapi.Context{Cluster: name, AuthInfo: "installer"}}},
		Clusters: []clientcmdapi.NamedCluster{{Name: name, Cluster: clientcmdapi.Cluster{
			Server: at.server, TLSServerName: at.tlsServerName, CertificateAuthorityData: at.ca,
		}}},
		AuthInfos: []clientcmdapi.NamedAuthInfo{{Name: "installer", AuthInfo: clientcmdapi.AuthInfo{Token: string(token)}}},
	})
	if err != nil {
		return nil, fmt.Errorf("printing the kubeconfig: %w", err)
	}
	if _, err := pcluster.Parse(out); err != nil {
		return nil, failed("give another address with --server-address, or name another context of the cluster", "the service would refuse the kubeconfig of the cluster: %v", err)
	}
	return out, nil
}
