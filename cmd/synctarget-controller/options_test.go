package main

import (
	"context"
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clientmetrics "k8s.io/client-go/tools/metrics"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestFlags: deployments rest on these names and defaults.
func TestFlags(t *testing.T) {
	want := map[string]string{
		"kubeconfig":                     "",
		"endpointslice":                  "workload.kcp.io",
		"leader-elect":                   "false",
		"leader-election-namespace":      "",
		"metrics-bind-address":           ":8443",
		"metrics-secure":                 "true",
		"metrics-cert-dir":               "",
		"health-probe-bind-address":      ":8081",
		"syncer-image":                   "ghcr.io/synctarget/syncer:dev",
		"kcp-external-url":               "",
		"kcp-external-ca-file":           "",
		"syncer-heartbeat-interval":      "30s",
		"heartbeat-threshold":            "5m0s",
		"heartbeat-status-interval":      "1m0s",
		"syncer-token-rotation-interval": "720h0m0s",
		"delete-deadline":                "15m0s",
		"max-targets-per-workspace":      "100",
		"rollout-max-unavailable":        "10%",
		"workers":                        "100",
		"allow-pcluster-cidr":            "[]",
		"deny-pcluster-cidr":             "[]",
		"version":                        "false",
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	newOptions().addFlags(fs)
	got := map[string]string{}
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("--%s has no help", f.Name)
		}
		if !strings.HasPrefix(f.Name, "zap-") {
			got[f.Name] = f.DefValue
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags: -want +got\n%s", diff)
	}
	if fs.Lookup("zap-log-level") == nil {
		t.Error("the log cannot be set")
	}
}

// files writes a kubeconfig and a CA bundle for a test, far from any cluster.
func files(t *testing.T, server string) (kubeconfig, ca string) {
	t.Helper()
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	kubeconfig, ca = filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "ca.crt")
	content := `apiVersion: v1
kind: Config
clusters:
- {name: kcp, cluster: {server: "` + server + `", certificate-authority-data: ` + base64.StdEncoding.EncodeToString([]byte("inline CA")) + `}}
users:
- {name: u, user: {token: t}}
contexts:
- {name: c, context: {cluster: kcp, user: u}}
current-context: c
`
	for path, content := range map[string]string{kubeconfig: content, ca: "CA of a file"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return kubeconfig, ca
}

func parse(t *testing.T, args ...string) *options {
	t.Helper()
	o := newOptions()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestComplete(t *testing.T) {
	const server = "https://kcp.example.com:6443/clusters/root:synctarget"
	tests := map[string]struct {
		reason string
		args   []string
		url    string
		ca     string
	}{
		"from the kubeconfig": {"The workspace is the syncer's own, not the export's.", nil, "https://kcp.example.com:6443", "inline CA"},
		"another URL":         {"The kubeconfig's CA need not have signed that.", []string{"--kcp-external-url=https://kcp.example.net/"}, "https://kcp.example.net", ""},
		"another URL and CA":  {"", []string{"--kcp-external-url=https://kcp.example.net", "--kcp-external-ca-file=CA"}, "https://kcp.example.net", "CA of a file"},
		"another CA":          {"", []string{"--kcp-external-ca-file=CA"}, "https://kcp.example.com:6443", "CA of a file"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kubeconfig, ca := files(t, server)
			args := []string{"--kubeconfig=" + kubeconfig, "--metrics-secure=false"}
			for _, arg := range tc.args {
				args = append(args, strings.ReplaceAll(arg, "=CA", "="+ca))
			}
			o := parse(t, args...)
			if err := o.complete(); err != nil {
				t.Fatal(err)
			}
			if o.kcpURL != tc.url || string(o.kcpCA) != tc.ca {
				t.Errorf("%s\nsyncers find kcp at %q by %q, want %q by %q", tc.reason, o.kcpURL, o.kcpCA, tc.url, tc.ca)
			}
			if o.kcp.Host != server || o.kcp.QPS != -1 || o.hosting != nil {
				t.Errorf("kcp at %q, QPS %v, hosting cluster %v", o.kcp.Host, o.kcp.QPS, o.hosting)
			}
		})
	}
}

func TestCompleteFromEnvironment(t *testing.T) {
	kubeconfig, _ := files(t, "https://kcp.example.com")
	t.Setenv("HTTPS_PROXY", "http://proxy:3128")
	t.Setenv("NO_PROXY", "10.0.0.0/8")
	o := parse(t, "--kubeconfig="+kubeconfig, "--metrics-bind-address=0", "--allow-pcluster-cidr=127.0.0.0/8,::1/128",
		"--deny-pcluster-cidr=10.244.0.0/16", "--deny-pcluster-cidr=10.96.0.0/12", "--rollout-max-unavailable=25%")
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(agent.Proxy{HTTPSProxy: "http://proxy:3128", NoProxy: "10.0.0.0/8"}, o.proxy); diff != "" {
		t.Errorf("proxy: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(prefixes("127.0.0.0/8", "::1/128"), o.allow, comparePrefixes()); diff != "" {
		t.Errorf("allowed: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(prefixes("10.244.0.0/16", "10.96.0.0/12"), o.deny, comparePrefixes()); diff != "" {
		t.Errorf("denied: -want +got\n%s", diff)
	}
	if got := o.rolloutMax.String(); got != "25%" {
		t.Errorf("rollout: %s", got)
	}
	if o.denyByDefault != nil {
		t.Errorf("denied by default outside a cluster: %v", o.denyByDefault)
	}
}

func prefixes(list ...string) (parsed []netip.Prefix) {
	for _, cidr := range list {
		parsed = append(parsed, netip.MustParsePrefix(cidr))
	}
	return parsed
}

func comparePrefixes() cmp.Option {
	return cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
}

// TestOwnAddresses: in a Pod, what the environment says of the hosting cluster is not dialled by default.
func TestOwnAddresses(t *testing.T) {
	tests := map[string]struct {
		reason      string
		environment map[string]string
		want        []netip.Prefix
	}{
		"outside a cluster": {"", nil, nil},
		"in a Pod": {
			"The kubelet sets the first, config/manager the others.",
			map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_IPS": "10.244.1.7,fd00:10:244::7", "HOST_IP": "172.18.0.3"},
			prefixes("10.96.0.1/32", "10.244.1.7/32", "fd00:10:244::7/128", "172.18.0.3/32"),
		},
		"a host name": {"As managed clusters set it.", map[string]string{"KUBERNETES_SERVICE_HOST": "api.example.com"}, nil},
		"mapped":      {"The guard compares IPv4 addresses.", map[string]string{"HOST_IP": "::ffff:172.18.0.3"}, prefixes("172.18.0.3/32")},
		"empty":       {"", map[string]string{"POD_IPS": "", "HOST_IP": " "}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := ownAddresses(func(name string) string { return tc.environment[name] })
			if diff := cmp.Diff(tc.want, got, comparePrefixes()); diff != "" {
				t.Errorf("%s\nownAddresses(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCompleteRefuses(t *testing.T) {
	tests := map[string]struct {
		reason string
		args   []string
		// want are the sentences, one a line, each complete or up to "…".
		want []string
	}{
		"a range that matches nothing": {
			"Addresses are compared as IPv4: the range would deny nothing.",
			[]string{"--deny-pcluster-cidr=::ffff:10.0.0.0/104"},
			[]string{`--deny-pcluster-cidr: "::ffff:10.0.0.0/104" contains IPv4 addresses; write it as an IPv4 range`},
		},
		"no kubeconfig": {"", []string{"--kubeconfig="}, []string{"--kubeconfig is required: a kubeconfig of the kcp workspace that holds the APIExport"}},
		"all at once": {
			"An operator mends them in one go.",
			[]string{"--kubeconfig=", "--workers=0", "--max-targets-per-workspace=-1", "--rollout-max-unavailable=0", "--heartbeat-threshold=0s", "--heartbeat-status-interval=0", "--syncer-token-rotation-interval=1m", "--delete-deadline=-1m", "--allow-pcluster-cidr=localhost", "--deny-pcluster-cidr=10.0.0.1"},
			[]string{
				"--kubeconfig is required: a kubeconfig of the kcp workspace that holds the APIExport", "--workers must be at least 1, not 0", "--max-targets-per-workspace must not be negative, not -1",
				"--heartbeat-threshold must be positive, not 0s", "--heartbeat-status-interval must be at least 1s, not 0s", "--syncer-token-rotation-interval must be 0 or at least 1h, not 1m0s", "--delete-deadline must be positive, not -1m0s",
				`--rollout-max-unavailable: it must be a number of at least 1, or a percentage from 1% to 100%, not "0"`, "--allow-pcluster-cidr: …", "--deny-pcluster-cidr: …",
			},
		},
		"heartbeats too far apart": {
			"One late heartbeat would make a SyncTarget not Ready.",
			[]string{"--heartbeat-threshold=45s"},
			[]string{"--heartbeat-threshold must be at least twice --syncer-heartbeat-interval, which is 30s, not 45s, so that one late heartbeat does not make a SyncTarget not Ready"},
		},
		"heartbeats out of range":        {"The syncer would refuse it.", []string{"--syncer-heartbeat-interval=500ms"}, []string{"--syncer-heartbeat-interval must be between 1s and 2m0s, not 500ms"}},
		"a kubeconfig that is not there": {"", []string{"--kubeconfig=/nowhere"}, []string{"reading --kubeconfig: …"}},
		"not https":                      {"Tokens would travel in the open.", []string{"--kcp-external-url=http://kcp"}, []string{`--kcp-external-url must be an https URL, not "http://kcp"`}},
		"no URL":                         {"", []string{"--kcp-external-url=kcp:6443"}, []string{`--kcp-external-url must be an https URL, not "kcp:6443"`}},
		"no host":                        {"", []string{"--kcp-external-url=https:///"}, []string{`--kcp-external-url must be an https URL, not "https:///"`}},
		"a CA that is not there":         {"", []string{"--kcp-external-ca-file=/nowhere"}, []string{"reading --kcp-external-ca-file: …"}},
		"a log that shows Secrets":       {"", []string{"--zap-log-level=8"}, []string{"--zap-log-level must be at most 7: above it, Kubernetes' client logs what it sends and receives, Secrets too"}},
		"no certificate of the metrics": {
			"The metrics server would silently make a self-signed one.",
			[]string{"--metrics-cert-dir=/nowhere"}, []string{"reading tls.crt and tls.key in --metrics-cert-dir: …"},
		},
		"a certificate for plain HTTP": {
			"", []string{"--metrics-cert-dir=/nowhere", "--metrics-secure=false"}, []string{"--metrics-cert-dir needs --metrics-secure"},
		},
		"leader election outside": {"", []string{"--leader-elect"}, []string{"--leader-elect needs the hosting cluster: run as a pod, or with one replica and without the flag"}},
		"secure metrics outside":  {"", nil, []string{"--metrics-secure needs the hosting cluster to review tokens: run as a pod, or give --metrics-secure=false"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kubeconfig, _ := files(t, "https://kcp.example.com")
			err := parse(t, append([]string{"--kubeconfig=" + kubeconfig}, tc.args...)...).complete()
			if err == nil {
				t.Fatalf("%s\ncomplete() = nil", tc.reason)
			}
			got := strings.Split(err.Error(), "\n")
			for i := range min(len(got), len(tc.want)) {
				if start, cut := strings.CutSuffix(tc.want[i], "…"); cut && strings.HasPrefix(got[i], start) {
					got[i] = tc.want[i]
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\ncomplete(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestKubeconfigMustBeHTTPS(t *testing.T) {
	kubeconfig, _ := files(t, "http://kcp.example.com")
	err := parse(t, "--kubeconfig="+kubeconfig, "--metrics-secure=false").complete()
	if want := `the server in --kubeconfig must be an https URL, not "http://kcp.example.com", or --kcp-external-url say where syncers reach kcp`; err == nil || err.Error() != want {
		t.Errorf("complete() = %v, want %s", err, want)
	}
}

// TestHostingIsNotNeeded: a pod without a ServiceAccount token runs, where no flag asks for the hosting cluster.
func TestHostingIsNotNeeded(t *testing.T) {
	kubeconfig, _ := files(t, "https://kcp.example.com")
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	if err := parse(t, "--kubeconfig="+kubeconfig, "--metrics-secure=false", "--zap-log-level=7").complete(); err != nil {
		t.Errorf("complete() = %v", err)
	}
	err := parse(t, "--kubeconfig="+kubeconfig, "--metrics-secure=false", "--leader-elect").complete()
	if err == nil || !strings.HasPrefix(err.Error(), "reading the hosting cluster's credentials: ") {
		t.Errorf("complete() = %v where the hosting cluster is needed", err)
	}
}

// TestProxyWithoutCredentials: what is handed on stands in every tenant's Deployment.
func TestProxyWithoutCredentials(t *testing.T) {
	environment := map[string]string{"HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://user:pass@proxy:3128", "NO_PROXY": ".svc"}
	got := proxyFor(func(name string) string { return environment[name] })
	if diff := cmp.Diff(agent.Proxy{HTTPProxy: "http://proxy:3128", NoProxy: ".svc"}, got); diff != "" {
		t.Errorf("proxyFor(): -want +got\n%s", diff)
	}
}

// results counts by host.
type results map[string]int

func (r results) Increment(_ context.Context, _, _, host string) { r[host]++ }

func TestHideHosts(t *testing.T) {
	before := clientmetrics.RequestResult
	defer func() { clientmetrics.RequestResult = before }()
	counted := results{}
	clientmetrics.RequestResult = counted
	hideHosts(&rest.Config{Host: "https://kcp.example.com:6443/clusters/root"}, nil)
	for _, host := range []string{"kcp.example.com:6443", "tenant.example.net", "10.0.0.1:6443"} {
		clientmetrics.RequestResult.Increment(t.Context(), "200", "GET", host)
	}
	if diff := cmp.Diff(results{"kcp.example.com:6443": 1, "other": 2}, counted); diff != "" {
		t.Errorf("counted by host: -want +got\n%s", diff)
	}
}

// TestMapper: what the controller speaks of in workspaces is known without a discovery.
func TestMapper(t *testing.T) {
	mapper := newMapper()
	tests := map[schema.GroupVersionKind]struct {
		resource string
		scope    meta.RESTScopeName
	}{
		workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget"): {"synctargets", meta.RESTScopeNameRoot},
		corev1.SchemeGroupVersion.WithKind("Namespace"):            {"namespaces", meta.RESTScopeNameRoot},
		corev1.SchemeGroupVersion.WithKind("Secret"):               {"secrets", meta.RESTScopeNameNamespace},
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"):       {"serviceaccounts", meta.RESTScopeNameNamespace},
		corev1.SchemeGroupVersion.WithKind("Event"):                {"events", meta.RESTScopeNameNamespace},
		rbacv1.SchemeGroupVersion.WithKind("ClusterRole"):          {"clusterroles", meta.RESTScopeNameRoot},
		rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"):   {"clusterrolebindings", meta.RESTScopeNameRoot},
	}
	for gvk, want := range tests {
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Errorf("%s: %v", gvk.Kind, err)
			continue
		}
		if mapping.Resource.Resource != want.resource || mapping.Scope.Name() != want.scope {
			t.Errorf("%s is %s, %s", gvk.Kind, mapping.Resource.Resource, mapping.Scope.Name())
		}
	}
	// Each of them is in the scheme as well.
	s, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	for gvk := range tests {
		if !s.Recognizes(gvk) {
			t.Errorf("the scheme does not know %s", gvk)
		}
	}
}
