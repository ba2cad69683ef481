package synctarget

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

func TestValidateSpec(t *testing.T) {
	cells := map[string]workloadv1alpha1.CellValue{"region": "eu-west-1"}
	capacity := func(pairs ...string) map[string]resource.Quantity {
		out := map[string]resource.Quantity{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	const (
		noCluster = "cluster reference is required"
		noCell    = "at least one cell must be specified"
	)
	tests := map[string]struct {
		reason string
		spec   workloadv1alpha1.SyncTargetSpec
		want   string
	}{
		"in order":               {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: cells}, ""},
		"capacity":               {"Zero is nothing, not less.", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: cells, Capacity: capacity("cpu", "64", "pods", "0")}, ""},
		"no cluster":             {"", workloadv1alpha1.SyncTargetSpec{Cells: cells}, noCluster},
		"no cell":                {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c"}, noCell},
		"empty cells":            {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: map[string]workloadv1alpha1.CellValue{}}, noCell},
		"negative capacity":      {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: cells, Capacity: capacity("cpu", "-1")}, "capacity for cpu cannot be negative"},
		"negative by a trifle":   {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: cells, Capacity: capacity("cpu", "-1n")}, "capacity for cpu cannot be negative"},
		"two negative":           {"The same one in every pass.", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Cells: cells, Capacity: capacity("memory", "-1", "cpu", "-1", "pods", "1")}, "capacity for cpu cannot be negative"},
		"everything":             {"The order that was promised.", workloadv1alpha1.SyncTargetSpec{Capacity: capacity("cpu", "-1")}, noCluster},
		"no cell, negative":      {"", workloadv1alpha1.SyncTargetSpec{Cluster: "c", Capacity: capacity("cpu", "-1")}, noCell},
		"no cluster, negative":   {"", workloadv1alpha1.SyncTargetSpec{Cells: cells, Capacity: capacity("cpu", "-1")}, noCluster},
		"no cluster and no cell": {"", workloadv1alpha1.SyncTargetSpec{}, noCluster},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := validateSpec(&tc.spec); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s\nvalidateSpec() = %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	const valid = "True Valid: SyncTarget validation passed"
	claims := func(change func(*apisv1alpha2.AcceptablePermissionClaim)) []client.Object {
		binding := newBinding()
		for i := range binding.Spec.PermissionClaims {
			change(&binding.Spec.PermissionClaims[i])
		}
		return []client.Object{binding, newSecret()}
	}
	notAccepted := func(what string) string {
		return `False ValidationFailed: permission claims of the APIBinding to "workload.kcp.io" are not accepted: ` + what + "; accept them in the APIBinding's spec.permissionClaims"
	}
	all := notAccepted("clusterrolebindings.rbac.authorization.k8s.io, clusterroles.rbac.authorization.k8s.io, namespaces, rolebindings.rbac.authorization.k8s.io, secrets, serviceaccounts")
	data := func(data map[string][]byte) []client.Object {
		secret := newSecret()
		secret.Data = data
		return []client.Object{newBinding(), secret}
	}
	tests := map[string]struct {
		reason  string
		objects []client.Object
		target  func(*workloadv1alpha1.SyncTarget)
		refuse  func(request string) error
		want    string
		err     bool
	}{
		"in order":  {"", claims(func(*apisv1alpha2.AcceptablePermissionClaim) {}), nil, nil, valid, false},
		"pull mode": {"No Secret is needed.", []client.Object{newBinding()}, pull, nil, valid, false},
		"a claim is rejected": {
			"", claims(func(c *apisv1alpha2.AcceptablePermissionClaim) {
				if c.Resource == "secrets" {
					c.State = apisv1alpha2.ClaimRejected
				}
			}), nil, nil, notAccepted("secrets"), false,
		},
		"events are rejected": {
			"That costs only events.", claims(func(c *apisv1alpha2.AcceptablePermissionClaim) {
				if c.Resource == "events" {
					c.State = apisv1alpha2.ClaimRejected
				}
			}), nil, nil, valid, false,
		},
		"all claims are rejected": {
			"Sorted, so that the message is stable.", claims(func(c *apisv1alpha2.AcceptablePermissionClaim) { c.State = apisv1alpha2.ClaimRejected }), nil, nil, all, false,
		},
		"verbs are missing": {
			"", claims(func(c *apisv1alpha2.AcceptablePermissionClaim) {
				switch c.Resource {
				case "namespaces":
					c.Verbs = []string{"get", "create"}
				case "clusterroles":
					c.Verbs = []string{"get", "create", "delete", "list"}
				}
			}), nil, nil, notAccepted("clusterroles.rbac.authorization.k8s.io (patch), namespaces (list, watch, patch, delete)"), false,
		},
		"every verb": {
			"kcp grants what both sides name.", claims(func(c *apisv1alpha2.AcceptablePermissionClaim) { c.Verbs = []string{"*"} }), nil, nil,
			`False ValidationFailed: permission claims of the APIBinding to "workload.kcp.io" do not name the verbs that are needed: ` +
				"clusterrolebindings.rbac.authorization.k8s.io (get, create, patch, delete), clusterroles.rbac.authorization.k8s.io (get, create, patch, delete), " +
				"namespaces (get, list, watch, create, patch, delete), rolebindings.rbac.authorization.k8s.io (get, create, patch, delete), " +
				"secrets (get, list, watch, create, patch, delete), serviceaccounts (get, create, patch, delete); " +
				"name them in the APIBinding's spec.permissionClaims, in apis.kcp.io/v1alpha2: kcp grants only verbs that APIExport and APIBinding both name, " +
				`and does not treat "*", which v1alpha1 always means, as a wildcard`, false,
		},
		"every verb of an export that asks for every verb": {
			"An operator may let it.", func() []client.Object {
				binding := newBinding()
				for i := range binding.Spec.PermissionClaims {
					claim := &binding.Spec.PermissionClaims[i].PermissionClaim
					exported := *claim
					exported.Verbs = append([]string{"*"}, claim.Verbs...)
					claim.Verbs = []string{"*"}
					binding.Status.ExportPermissionClaims = append(binding.Status.ExportPermissionClaims, exported)
				}
				return []client.Object{binding, newSecret()}
			}(), nil, nil, valid, false,
		},
		"an earlier export": {
			"What it does not ask for is not granted.", func() []client.Object {
				binding := newBinding()
				for i := range binding.Spec.PermissionClaims {
					exported := binding.Spec.PermissionClaims[i].PermissionClaim
					if exported.Resource == "secrets" {
						exported.Verbs = []string{"get", "list", "watch"}
					}
					binding.Status.ExportPermissionClaims = append(binding.Status.ExportPermissionClaims, exported)
				}
				return []client.Object{binding, newSecret()}
			}(), nil, nil, `False ValidationFailed: the APIExport "workload.kcp.io" does not ask for all permission claims that are needed: secrets (create, patch, delete); ` +
				"its operator has to apply the APIExport of this version, and then accept them in the APIBinding", false,
		},
		"bound to another export": {
			"Its claims are not ours.", func() []client.Object {
				binding := newBinding()
				binding.Spec.Reference.Export.Name = "other"
				return []client.Object{binding, newSecret()}
			}(), nil, nil, all, false,
		},
		"the spec is wrong too": {"The spec is judged first.", nil, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cluster = "" }, nil, "False ValidationFailed: cluster reference is required", false},
		"no Secret": {
			"", []client.Object{newBinding()}, nil, nil,
			`False ValidationFailed: Secret "default/edge-1" is not found; create it, with the label workload.kcp.io/visible=true that shows it to this service`, false,
		},
		"no key": {"", data(map[string][]byte{"config": []byte(canary)}), nil, nil, `False ValidationFailed: Secret "default/edge-1" has no key "kubeconfig"`, false},
		"another key": {"", data(map[string][]byte{"config": testKubeconfig}), func(target *workloadv1alpha1.SyncTarget) {
			target.Spec.KubeconfigSecretRef.Key = "config"
		}, nil, valid, false},
		"another key is missing": {"", data(map[string][]byte{"kubeconfig": testKubeconfig}), func(target *workloadv1alpha1.SyncTarget) {
			target.Spec.KubeconfigSecretRef.Key = "config"
		}, nil, `False ValidationFailed: Secret "default/edge-1" has no key "config"`, false},
		"empty": {"", data(map[string][]byte{"kubeconfig": {}}), nil, nil, `False ValidationFailed: Secret "default/edge-1" key "kubeconfig" is empty`, false},
		"forbidden": {
			"", claims(func(*apisv1alpha2.AcceptablePermissionClaim) {}), nil,
			func(string) error { return apierrors.NewForbidden(corev1.Resource("secrets"), "edge-1", errInjected) },
			`False ValidationFailed: Secret "default/edge-1" may not be read: secrets "edge-1" is forbidden: injected`, false,
		},
		"kcp does not answer": {
			"Nothing is known, and it is tried again.", claims(func(*apisv1alpha2.AcceptablePermissionClaim) {}), nil,
			func(string) error { return errInjected },
			"False ValidationFailed: kcp does not answer just now; it is asked again", true,
		},
		"a kubeconfig that is none": {
			"", data(map[string][]byte{"kubeconfig": []byte("token: " + canary + ": {")}), nil, nil, `False ValidationFailed: Secret "default/edge-1" key "kubeconfig": …`, false,
		},
		"a kubeconfig that runs a program": {
			"", data(map[string][]byte{"kubeconfig": []byte(strings.Replace(string(testKubeconfig), "{token: "+canary+"}", `{exec: {apiVersion: client.authentication.k8s.io/v1, command: `+canary+`}}`, 1))}), nil, nil,
			`False ValidationFailed: Secret "default/edge-1" key "kubeconfig": …`, false,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			if tc.target != nil {
				tc.target(target)
			}
			w := newWorld(t, target, tc.objects...)
			if tc.refuse != nil {
				w.kcp.refuse = tc.refuse
			}
			s := w.scope()
			found, v, err := w.r.validate(t.Context(), s)
			if (err != nil) != tc.err {
				t.Fatalf("%s\nerror: %v", tc.reason, err)
			}
			if err != nil {
				v = validateFailed(err)
			}
			got := words(v)
			if want, cut := strings.CutSuffix(tc.want, "…"); cut && strings.HasPrefix(got, want) && len(got) > len(want) {
				got = tc.want // the sentence is pcluster's
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nvalidate(): -want +got\n%s", tc.reason, diff)
			}
			if strings.Contains(v.message, canary) {
				t.Errorf("a secret is in the message: %s", v.message)
			}
			if found.specInvalid != (tc.target != nil && target.Spec.Cluster == "") {
				t.Errorf("specInvalid = %t", found.specInvalid)
			}
			if v.requeueAfter != 0 {
				t.Errorf("recheck after %s: what a user must fix waits for an event", v.requeueAfter)
			}
			if v.ok() && target.Spec.KubeconfigSecretRef != nil && string(found.kubeconfig) != string(testKubeconfig) {
				t.Error("the kubeconfig was not handed on")
			}
		})
	}
}

func TestBindingsThatCannotBeListed(t *testing.T) {
	w := usual(t)
	w.cache.reader = &deaf{w.kcp.raw}
	if _, err := w.reconcile(); err == nil || !strings.HasPrefix(err.Error(), "listing the workspace's APIBindings: ") {
		t.Errorf("error = %v", err)
	}
	if got := w.condition(workloadv1alpha1.ConditionValid); got != "False ValidationFailed: kcp does not answer just now; it is asked again" {
		t.Errorf("Valid = %s", got)
	}
}

// TestNeededClaims holds the code, the export and the sample together.
func TestNeededClaims(t *testing.T) {
	sorted := func(verbs map[schema.GroupResource][]string) map[schema.GroupResource][]string {
		for gr := range verbs {
			verbs[gr] = slices.Sorted(slices.Values(verbs[gr]))
		}
		return verbs
	}
	needed := sorted(maps.Clone(claims.Needed))

	var export apisv1alpha2.APIExport
	readYAML(t, "config/kcp/claims.yaml", &export)
	asked := map[schema.GroupResource][]string{}
	for _, claim := range export.Spec.PermissionClaims {
		asked[schema.GroupResource{Group: claim.Group, Resource: claim.Resource}] = claim.Verbs
	}
	if diff := cmp.Diff(needed, sorted(asked)); diff != "" {
		t.Errorf("config/kcp/claims.yaml: -needed +asked\n%s", diff)
	}

	var binding apisv1alpha2.APIBinding
	readYAML(t, "config/samples/binding/apibinding.yaml", &binding)
	accepted := map[schema.GroupResource][]string{}
	for _, claim := range binding.Spec.PermissionClaims {
		if claim.State != apisv1alpha2.ClaimAccepted {
			t.Errorf("config/samples/binding/apibinding.yaml does not accept %s", claim.Resource)
		}
		// Namespaces are opened by one label alone.
		if all := claim.Resource == "namespaces"; claim.Selector.MatchAll != all || !all && claim.Selector.MatchLabels[workloadv1alpha1.LabelVisible] != "true" {
			t.Errorf("config/samples/binding/apibinding.yaml opens all %s, not only the labelled ones", claim.Resource)
		}
		accepted[schema.GroupResource{Group: claim.Group, Resource: claim.Resource}] = claim.Verbs
	}
	if diff := cmp.Diff(needed, sorted(accepted)); diff != "" {
		t.Errorf("config/samples/binding/apibinding.yaml: -needed +accepted\n%s", diff)
	}
	if binding.Spec.Reference.Export.Name != workloadv1alpha1.GroupName {
		t.Errorf("config/samples/binding/apibinding.yaml binds %q", binding.Spec.Reference.Export.Name)
	}
	w := newWorld(t, newTarget(), &binding)
	if missing, err := w.r.missingClaims(t.Context(), w.scope()); err != nil || len(missing) != 0 {
		t.Errorf("missingClaims() = %q, %v with the sample", missing, err)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile("../../../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
