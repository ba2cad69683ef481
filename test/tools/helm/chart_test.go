// Package chart_test checks the Helm chart: that it is valid, that it installs what config/manager does, and what its values do.
package chart_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	chartDir     = "../../../config/chart"
	kustomizeDir = "../../../config/manager"
	namespace    = "synctarget-system"
)

// objects are manifests, by kind and name.
type objects map[string]map[string]any

// render returns what a release of this name installs.
func render(t *testing.T, release string, values map[string]any) (objects, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return renderChart(t, c, release, values)
}

func renderChart(t *testing.T, c *chart.Chart, release string, values map[string]any) (objects, error) {
	t.Helper()
	options := common.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true}
	all, err := util.ToRenderValues(c, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := objects{}
	for name, content := range files {
		if strings.HasSuffix(name, ".yaml") {
			out.add(t, content)
		}
	}
	return out, nil
}

// mustRender is render of values that are valid.
func mustRender(t *testing.T, values map[string]any) objects {
	t.Helper()
	out, err := render(t, "synctarget-controller", values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (o objects) add(t *testing.T, manifests string) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); err != nil {
			if err.Error() == "EOF" {
				return
			}
			t.Fatalf("%v in\n%s", err, manifests)
		}
		if len(object.Object) > 0 {
			o[object.GetKind()+" "+object.GetName()] = object.Object
		}
	}
}

// withoutChart takes off what is only in the chart: its labels, and a policy for pulling images that is the API's default.
func (o objects) withoutChart() objects {
	labels := []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}
	for _, object := range o {
		prune(object, append(labels, "imagePullPolicy"))
	}
	for _, object := range o {
		// In config/manager only what is selected by it has the label.
		if metadata := object["metadata"].(map[string]any); object["kind"] != "Deployment" && object["kind"] != "Service" {
			delete(metadata, "labels")
		}
	}
	return o
}

func prune(value any, keys []string) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range keys {
			delete(value, key)
		}
		for _, child := range value {
			prune(child, keys)
		}
	case []any:
		for _, child := range value {
			prune(child, keys)
		}
	}
}

func TestLint(t *testing.T) {
	linter := lint.RunAll(chartDir, nil, namespace)
	for _, message := range linter.Messages {
		if !strings.Contains(message.Error(), "icon is recommended") {
			t.Error(message)
		}
	}
}

// TestSameAsKustomize: with the default values, the chart installs what `kubectl apply -k config/manager` does, but for the
// Namespace, which `helm install --create-namespace` makes.
func TestSameAsKustomize(t *testing.T) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), kustomizeDir)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	want := objects{}
	want.add(t, string(manifests))
	delete(want, "Namespace "+namespace)
	if diff := cmp.Diff(want, mustRender(t, nil).withoutChart()); diff != "" {
		t.Errorf("config/manager and config/chart differ (-manager +chart):\n%s", diff)
	}
}

// container is the only one of the controller's Pods.
func (o objects) container(t *testing.T) map[string]any {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(o["Deployment synctarget-controller"], "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%d containers, %v", len(containers), err)
	}
	return containers[0].(map[string]any)
}

func TestValues(t *testing.T) {
	cases := map[string]struct {
		reason string
		values map[string]any
		// args are added to those of the default values.
		args []any
		// gone and added are objects, compared with those of the default values.
		gone, added []string
	}{
		"Kcp": {
			reason: "What is said of kcp becomes arguments.",
			values: map[string]any{"kcp": map[string]any{"endpointSlice": "shard-2", "externalURL": "https://kcp.example.com", "externalCAKey": "ca.crt"}},
			args:   []any{"--endpointslice=shard-2", "--kcp-external-url=https://kcp.example.com", "--kcp-external-ca-file=/var/run/kcp/ca.crt"},
		},
		"CIDRs": {
			reason: "Ranges are one argument each.",
			values: map[string]any{"physicalClusters": map[string]any{"allowCIDRs": []any{"127.0.0.0/8"}, "denyCIDRs": []any{"10.96.0.0/12", "10.244.0.0/16"}}},
			args:   []any{"--allow-pcluster-cidr=127.0.0.0/8", "--deny-pcluster-cidr=10.96.0.0/12,10.244.0.0/16"},
		},
		"ExtraArgs": {
			reason: "Every other flag can be set.",
			values: map[string]any{"extraArgs": []any{"--heartbeat-threshold=3m"}},
			args:   []any{"--heartbeat-threshold=3m"},
		},
		"OneReplica": {
			reason: "One replica with a PodDisruptionBudget could never be drained.",
			values: map[string]any{"replicas": 1},
			gone:   []string{"PodDisruptionBudget synctarget-controller"},
		},
		"NothingOptional": {
			reason: "What is optional can be left out.",
			values: map[string]any{"podDisruptionBudget": map[string]any{"enabled": false}, "networkPolicy": map[string]any{"enabled": false}},
			gone:   []string{"NetworkPolicy synctarget-controller", "PodDisruptionBudget synctarget-controller"},
		},
		"ServiceMonitor": {
			reason: "The Prometheus operator is told on request: without its CRDs the installation would fail.",
			values: map[string]any{"metrics": map[string]any{"serviceMonitor": map[string]any{"enabled": true}}},
			added:  []string{"ServiceMonitor synctarget-controller"},
		},
		"PrometheusRule": {
			reason: "As the ServiceMonitor.",
			values: map[string]any{"metrics": map[string]any{"prometheusRule": map[string]any{"enabled": true}}},
			added:  []string{"PrometheusRule synctarget-controller"},
		},
		"Dashboards": {
			reason: "Not every cluster has a Grafana that loads them.",
			values: map[string]any{"metrics": map[string]any{"dashboards": map[string]any{"enabled": true}}},
			added:  []string{"ConfigMap synctarget-controller-dashboards"},
		},
		"InstallAPI": {
			reason: "The API in kcp is applied on request, for it needs a kubeconfig of an administrator.",
			values: map[string]any{"installAPI": map[string]any{"enabled": true}},
			added:  []string{"Job synctarget-controller-install-api"},
		},
	}
	defaults := mustRender(t, nil)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := mustRender(t, tc.values)
			want := slices.Concat(defaults.container(t)["args"].([]any), tc.args)
			if diff := cmp.Diff(want, got.container(t)["args"]); diff != "" {
				t.Errorf("%s\narguments (-want +got):\n%s", tc.reason, diff)
			}
			wantNames := slices.Sorted(maps.Keys(defaults))
			wantNames = slices.DeleteFunc(wantNames, func(name string) bool { return slices.Contains(tc.gone, name) })
			wantNames = append(wantNames, tc.added...)
			slices.Sort(wantNames)
			if diff := cmp.Diff(wantNames, slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("%s\nobjects (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestInstallAPI: the Job runs before each installation and upgrade, as restricted as the controller. It has no access to the cluster
// that it runs in, and nothing takes its Pod for one of the controller's.
func TestInstallAPI(t *testing.T) {
	got := mustRender(t, map[string]any{"installAPI": map[string]any{"enabled": true, "kubeconfigSecret": "provider-admin"}})
	job, deployment := got["Job synctarget-controller-install-api"], got["Deployment synctarget-controller"]
	field := func(object map[string]any, path ...string) any {
		value, _, err := unstructured.NestedFieldNoCopy(object, path...)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	annotations := map[string]any{"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}
	if diff := cmp.Diff(annotations, field(job, "metadata", "annotations")); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	pod, controllers := field(job, "spec", "template", "spec").(map[string]any), field(deployment, "spec", "template", "spec").(map[string]any)
	if pod["automountServiceAccountToken"] != false || pod["serviceAccountName"] != nil {
		t.Errorf("the Pod may have the token of ServiceAccount %v", pod["serviceAccountName"])
	}
	if diff := cmp.Diff(controllers["securityContext"], pod["securityContext"]); diff != "" {
		t.Errorf("securityContext of the Pod (-controller +job):\n%s", diff)
	}
	container, controller := pod["containers"].([]any)[0].(map[string]any), got.container(t)
	for _, same := range []string{"image", "imagePullPolicy", "resources", "securityContext"} {
		if diff := cmp.Diff(controller[same], container[same]); diff != "" {
			t.Errorf("%s (-controller +job):\n%s", same, diff)
		}
	}
	if diff := cmp.Diff([]any{"install-api", "--kubeconfig=/var/run/kcp/kubeconfig"}, container["args"]); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if name := pod["volumes"].([]any)[0].(map[string]any)["secret"].(map[string]any)["secretName"]; name != "provider-admin" {
		t.Errorf("the kubeconfig is from Secret %v", name)
	}
	labels := field(job, "spec", "template", "metadata", "labels").(map[string]any)
	selector := field(deployment, "spec", "selector", "matchLabels").(map[string]any)
	if selector["app.kubernetes.io/name"] == labels["app.kubernetes.io/name"] {
		t.Errorf("the controller's selector %v selects the Pod of the Job with %v", selector, labels)
	}
}

// TestFilesAreAsTheyStand: alerts and dashboards have templates of Prometheus and Grafana in them, which Helm leaves alone.
func TestFilesAreAsTheyStand(t *testing.T) {
	enabled := map[string]any{"enabled": true, "labels": map[string]any{"release": "monitoring"}}
	got := mustRender(t, map[string]any{"metrics": map[string]any{"prometheusRule": enabled, "dashboards": enabled}})
	var rules map[string]any
	if err := yaml.Unmarshal(readFile(t, "alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules, got["PrometheusRule synctarget-controller"]["spec"]); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	dashboards := map[string]any{}
	for _, name := range []string{"fleet.json", "target.json"} {
		dashboards[name] = string(readFile(t, "dashboards/"+name))
	}
	if diff := cmp.Diff(dashboards, got["ConfigMap synctarget-controller-dashboards"]["data"]); diff != "" {
		t.Errorf("dashboards (-want +got):\n%s", diff)
	}
	for _, name := range []string{"PrometheusRule synctarget-controller", "ConfigMap synctarget-controller-dashboards"} {
		if label, _, _ := unstructured.NestedString(got[name], "metadata", "labels", "release"); label != "monitoring" {
			t.Errorf("%s has not the label of the values", name)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestMetricsFrom: the list of the user replaces that of the chart, and an empty one admits nobody. An entry without labels would
// admit everybody.
func TestMetricsFrom(t *testing.T) {
	selector := func(key, value string) any {
		return map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{key: value}}}
	}
	for name, tc := range map[string]struct {
		values map[string]any
		want   []any
	}{
		"default": {map[string]any{}, []any{selector("metrics", "enabled")}},
		"own":     {map[string]any{"metricsFrom": []any{map[string]any{"team": "a"}, map[string]any{"team": "b"}}}, []any{selector("team", "a"), selector("team", "b")}},
		"nobody":  {map[string]any{"metricsFrom": []any{}}, nil},
	} {
		policy := mustRender(t, map[string]any{"networkPolicy": tc.values})["NetworkPolicy synctarget-controller"]
		rules, _, err := unstructured.NestedSlice(policy, "spec", "ingress")
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, rule := range rules {
			from, _ := rule.(map[string]any)["from"].([]any)
			got = append(got, from...)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || rules[len(rules)-1].(map[string]any)["from"] != nil {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestLease: the controller may use the Lease that it names after its slice, and no other.
func TestLease(t *testing.T) {
	for slice, want := range map[string]string{"": "synctarget-controller", "workload.kcp.io": "synctarget-controller", "eu": "synctarget-controller-eu"} {
		role := mustRender(t, map[string]any{"kcp": map[string]any{"endpointSlice": slice}})["Role synctarget-controller-leader-election"]
		rules, _, err := unstructured.NestedSlice(role, "rules")
		if err != nil || len(rules) < 2 {
			t.Fatalf("%d rules, %v", len(rules), err)
		}
		if diff := cmp.Diff([]any{want}, rules[1].(map[string]any)["resourceNames"]); diff != "" {
			t.Errorf("slice %q (-want +got):\n%s", slice, diff)
		}
	}
}

// TestInvalidValues: what would install something else than what was meant is refused by the schema.
func TestInvalidValues(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"a name that is not known":      {"replicaCount": 2},
		"kcp without HTTPS":             {"kcp": map[string]any{"externalURL": "http://kcp.example.com"}},
		"an argument that is no flag":   {"extraArgs": []any{"heartbeat-threshold=3m"}},
		"a range that is no list":       {"physicalClusters": map[string]any{"denyCIDRs": "10.96.0.0/12"}},
		"no Secret with the kubeconfig": {"kcp": map[string]any{"kubeconfigSecret": ""}},
		"no Secret of the provider":     {"installAPI": map[string]any{"kubeconfigSecret": ""}},
		"a selector of all Namespaces":  {"networkPolicy": map[string]any{"metricsFrom": []any{map[string]any{}}}},
	} {
		if out, err := render(t, "synctarget-controller", values); err == nil {
			t.Errorf("%s is accepted, and installs %d objects", name, len(out))
		}
	}
}

// TestTwoReleases: the objects of two releases do not meet, those without a Namespace neither, nor do their selectors.
func TestTwoReleases(t *testing.T) {
	first, err := render(t, "first", nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := render(t, "second", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range first {
		if _, both := second[name]; both {
			t.Errorf("both releases have %s", name)
		}
	}
	selectorOf := func(o objects, release string) map[string]string {
		selector, _, err := unstructured.NestedStringMap(o["Deployment "+release+"-synctarget-controller"], "spec", "selector", "matchLabels")
		if err != nil || len(selector) == 0 {
			t.Fatalf("no selector: %v", err)
		}
		return selector
	}
	if one, other := selectorOf(first, "first"), selectorOf(second, "second"); maps.Equal(one, other) {
		t.Errorf("both select %v", one)
	}
}
