package agent

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

var update = flag.Bool("update", false, "write the golden files")

// variants are the Configs that the golden files show.
func variants() map[string]func(*Config) {
	return map[string]func(*Config){
		"defaults": func(*Config) {},
		"overrides": func(c *Config) {
			c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{
				Image:        "mirror.example.com/syncer@sha256:0123",
				Replicas:     ptr.To[int32](3),
				LogLevel:     ptr.To[int32](4),
				KubeAPIQPS:   ptr.To[int32](50),
				KubeAPIBurst: ptr.To[int32](80),
				Resources: &workloadv1alpha1.ResourceRequirements{
					Requests: map[string]resource.Quantity{"cpu": resource.MustParse("0.5")},
					Limits:   map[string]resource.Quantity{"cpu": resource.MustParse("1000m"), "memory": resource.MustParse("1Gi")},
				},
				NodeSelector: map[string]workloadv1alpha1.LabelValue{"kubernetes.io/os": "linux"},
				Tolerations: []workloadv1alpha1.Toleration{
					{Key: "edge", Operator: "Equal", Value: "true", Effect: "NoSchedule"},
					{Operator: "Exists", Effect: "NoExecute", TolerationSeconds: ptr.To[int64](30)},
				},
				ImagePullSecrets: []workloadv1alpha1.ImagePullSecret{{Name: "mirror"}},
			}
		},
		"stopped":   func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)} },
		"long-name": func(c *Config) { c.Target.Name = strings.Repeat("edge.", 50) + "one" },
		"proxy": func(c *Config) {
			c.Proxy = Proxy{HTTPProxy: "http://proxy.example.com:3128", HTTPSProxy: "http://proxy.example.com:3128", NoProxy: ".example.com"}
		},
		"pull-secrets": func(c *Config) {
			withPullSecrets(workloadv1alpha1.ImagePullSecret{Name: "mirror", Namespace: "default"})(c)
			c.PullSecrets = []PullSecret{{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson, Data: registrySecret("", "").Data}}
		},
		"own-proxy": func(c *Config) {
			c.Proxy = Proxy{HTTPProxy: "http://service.example.com:3128", HTTPSProxy: "http://service.example.com:3128", NoProxy: ".example.com"}
			c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Proxy: &workloadv1alpha1.ProxySpec{HTTPSProxy: "http://edge.example.com:3128"}}
		},
		"no-proxy": func(c *Config) {
			c.Proxy = Proxy{HTTPProxy: "http://service.example.com:3128", HTTPSProxy: "http://service.example.com:3128", NoProxy: ".example.com"}
			c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Proxy: &workloadv1alpha1.ProxySpec{}}
		},
		"pod-security": func(c *Config) {
			c.Namespaces = []string{"shop"}
			c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{PodSecurity: &workloadv1alpha1.PodSecuritySpec{
				Syncer: workloadv1alpha1.PodSecurityBaseline, Workloads: workloadv1alpha1.PodSecurityRestricted,
			}}
		},
		"opened": func(c *Config) {
			c.Namespaces = []string{"shop"}
			c.NamespaceLabels = map[string]map[string]string{"shop": {
				"team": "web", "example.com/tier": "edge", "kubernetes.io/metadata.name": "shop", "kcp.io/cluster": "2vkq1d7w9hx0a3bc",
			}}
		},
		"no-ca": func(c *Config) { c.KcpCA = nil },
	}
}

func TestGolden(t *testing.T) {
	for name, change := range variants() {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			change(&c)
			var out bytes.Buffer
			if err := Render(&out, c); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, "downstream-"+name, out.Bytes())
			if name != "defaults" && name != "long-name" {
				return // nothing else concerns the identity
			}
			out.Reset()
			if err := printYAML(&out, wholeIdentity(c)); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, "identity-"+name, out.Bytes())
		})
	}
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; after a look at it, run the test with -update (-want +got):\n%s", path, diff)
	}
}

func TestRender(t *testing.T) {
	for name, change := range variants() {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			change(&c)
			var first, second bytes.Buffer
			if err := Render(&first, c); err != nil {
				t.Fatal(err)
			}
			if err := Render(&second, c); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first.String(), second.String()); diff != "" {
				t.Errorf("the same Config gave other bytes:\n%s", diff)
			}
			var kinds []string
			for _, document := range strings.Split(first.String(), "\n---\n")[1:] {
				var object unstructured.Unstructured
				if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
					t.Fatalf("%v in\n%s", err, document)
				}
				kinds = append(kinds, object.GetKind())
			}
			want := []string{"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ClusterRole", "Role", "RoleBinding", "Secret", "Deployment"}
			switch name {
			case "opened", "pod-security":
				want = append(want, "Namespace", "RoleBinding") // of shop
			case "pull-secrets":
				want = slices.Insert(want, len(want)-1, "Secret")
			}
			if diff := cmp.Diff(want, kinds); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryObject(t *testing.T) {
	for name, change := range variants() {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			change(&c)
			hold := workloadv1alpha1.SyncTargetFinalizer(workloadv1alpha1.Key(c.ClusterName, c.Target.Name))
			for side, objects := range map[string][]client.Object{"downstream": Downstream(c), "upstream": wholeIdentity(c)} {
				for _, object := range objects {
					labels := object.GetLabels()
					for key, value := range labels {
						if problems := validation.IsValidLabelValue(value); problems != nil {
							t.Errorf("%s %s: label %s: %v", side, describe(object), key, problems)
						}
					}
					if labels[workloadv1alpha1.LabelKey] == "" || labels[workloadv1alpha1.LabelUID] != string(c.Target.UID) {
						t.Errorf("%s %s does not say whose it is: %v", side, describe(object), labels)
					}
					if a := object.GetAnnotations(); a[workloadv1alpha1.AnnotationSyncTarget] != c.Target.Name || a[workloadv1alpha1.AnnotationWorkspace] != c.ClusterName {
						t.Errorf("%s %s does not say where it comes from: %v", side, describe(object), a)
					}
					if got := labels[workloadv1alpha1.LabelVisible] == "true"; got != (side == "upstream") {
						t.Errorf("%s %s: visible is %t", side, describe(object), got)
					}
					if got, want := slices.Contains(object.GetFinalizers(), hold), side == "upstream" && isHeld(object); got != want {
						t.Errorf("%s %s: held is %t", side, describe(object), got)
					}
				}
			}
		})
	}
}

// isHeld tells whether an object of the identity has our finalizer.
func isHeld(object client.Object) bool {
	switch kindOf(object) {
	case "Namespace", "ServiceAccount", "Lease":
		return false
	}
	return !strings.HasSuffix(object.GetName(), "heartbeat")
}

// What is built and what is removed are two lists; they must be the same.
func TestEveryObjectIsRemoved(t *testing.T) {
	c := testConfig()
	c.TokenSecrets = tokenSecretNames
	for side, lists := range map[string][2][]client.Object{
		"downstream": {Downstream(c), downstreamObjects(c.namespace())},
		"upstream":   {append(wholeIdentity(c), c.access(rbacv1.Subject{})), upstreamObjects(c.namespace())},
	} {
		names := [2]map[string]bool{{}, {}}
		for i, list := range lists {
			for _, object := range list {
				names[i][object.GetObjectKind().GroupVersionKind().Group+" "+describe(object)] = true
			}
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(names[0])), slices.Sorted(maps.Keys(names[1]))); diff != "" {
			t.Errorf("%s (-built +removed):\n%s", side, diff)
		}
		if last := lists[1][len(lists[1])-1]; kindOf(last) != "Namespace" {
			t.Errorf("%s: a %s is removed last, not the Namespace", side, kindOf(last))
		}
	}
}

func TestKubeconfig(t *testing.T) {
	c := testConfig()
	secret := byKind(t, Downstream(c), "Secret").(*corev1.Secret)
	config, err := clientcmd.Load(secret.Data[filepath.Base(options.DefaultKcpKubeconfig)])
	if err != nil {
		t.Fatal(err)
	}
	current := config.Contexts[config.CurrentContext]
	if got := config.Clusters[current.Cluster].Server; got != c.KcpURL {
		t.Errorf("server is %q", got)
	}
	if got := config.Clusters[current.Cluster].CertificateAuthorityData; !bytes.Equal(got, c.KcpCA) {
		t.Errorf("CA is %q", got)
	}
	user := config.AuthInfos[current.AuthInfo]
	if user.Token != "" || bytes.Contains(secret.Data["kubeconfig"], c.Token) {
		t.Error("the token stands in the kubeconfig, where a rotated one is not read again")
	}
	if dir := filepath.Dir(options.DefaultKcpKubeconfig); user.TokenFile != dir+"/token" || credentialsDir != dir {
		t.Errorf("the token is looked for at %q, the Secret mounted at %q, the kubeconfig expected in %q", user.TokenFile, credentialsDir, dir)
	}
	if string(secret.Data["token"]) != string(c.Token) {
		t.Error("the token is not in the Secret")
	}
}

func TestWhatRollsOut(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*Config)
		want   bool
	}{
		"token":   {"The one before is no longer accepted, and a running Pod gets another late.", func(c *Config) { c.Token = []byte("another") }, true},
		"address": {"A kubeconfig is read once, at start.", func(c *Config) { c.KcpURL = "https://other.example.com" }, true},
		"CA":      {"So is the CA in it.", func(c *Config) { c.KcpCA = []byte("other") }, true},
		"proxy":   {"The environment is the pod's.", func(c *Config) { c.Proxy.HTTPSProxy = "http://p:1" }, true},
		"image":   {"An upgrade.", func(c *Config) { c.Image = "other" }, true},
		"QPS":     {"The limits are flags.", func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{KubeAPIQPS: ptr.To[int32](50)} }, true},
		"burst":   {"So is the burst.", func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{KubeAPIBurst: ptr.To[int32](50)} }, true},
		"cells":   {"What does not concern the syncer leaves it alone.", func(c *Config) { c.Target.Spec.Cells = map[string]workloadv1alpha1.CellValue{"a": "b"} }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := testConfig(), testConfig()
			test.change(&after)
			template := func(c Config) corev1.PodTemplateSpec {
				return byKind(t, Downstream(c), "Deployment").(*appsv1.Deployment).Spec.Template
			}
			if got := !cmp.Equal(template(before), template(after)); got != test.want {
				t.Errorf("%s\nrolls out: %t, want %t", test.reason, got, test.want)
			}
		})
	}
}
