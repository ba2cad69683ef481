package discovery

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestNegotiate(t *testing.T) {
	api := func(version, name string, namespaced bool) metav1.APIResource {
		return metav1.APIResource{Version: version, Name: name, Namespaced: namespaced, Kind: "Widget", Verbs: metav1.Verbs{"get", "list", "watch"}}
	}
	review := api("v1", "widgets", true)
	review.Verbs = metav1.Verbs{"create"}
	widgets := workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}
	both := []metav1.APIResource{api("v1", "widgets", true)}
	tests := map[string]struct {
		reason             string
		resource           workloadv1alpha1.GroupResource
		workspace, cluster []metav1.APIResource
		state              workloadv1alpha1.SyncedResourceState
		message            string
		versions           string
		status             bool
	}{
		"both":                             {"", widgets, both, both, workloadv1alpha1.ResourceAccepted, "", "v1", false},
		"with status":                      {"", widgets, append(both, api("v1", "widgets/status", true)), both, workloadv1alpha1.ResourceAccepted, "", "v1", true},
		"with a status that is not in use": {"", widgets, append(both, api("v1beta1", "widgets", true), api("v1beta1", "widgets/status", true)), both, workloadv1alpha1.ResourceAccepted, "", "v1", false},
		"versions":                         {"In the order of the workspace, as far as both serve them.", widgets, []metav1.APIResource{api("v2", "widgets", true), api("v1", "widgets", true)}, []metav1.APIResource{api("v1", "widgets", true), api("v2", "widgets", true)}, workloadv1alpha1.ResourceAccepted, "", "v2 v1", false},
		"not upstream":                     {"", widgets, nil, both, workloadv1alpha1.ResourceMissing, "workspace does not serve it", "", false},
		"not downstream":                   {"", widgets, both, nil, workloadv1alpha1.ResourceMissing, "physical cluster does not serve it", "", false},
		"no version":                       {"", widgets, both, []metav1.APIResource{api("v2", "widgets", true)}, workloadv1alpha1.ResourceMissing, "serve it in one version on both sides", "", false},
		"cluster-scoped":                   {"", widgets, []metav1.APIResource{api("v1", "widgets", false)}, both, workloadv1alpha1.ResourceForbidden, "cluster-scoped", "", false},
		"review":                           {"", widgets, []metav1.APIResource{review}, []metav1.APIResource{review}, workloadv1alpha1.ResourceForbidden, "not kept", "", false},
		"review, there":                    {"", widgets, both, []metav1.APIResource{review}, workloadv1alpha1.ResourceMissing, "serve it in one version on both sides", "", false},
		"rights":                           {"", workloadv1alpha1.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}, both, both, workloadv1alpha1.ResourceForbidden, "never synced", "", false},
		"wildcard":                         {"It must not reach a rule.", workloadv1alpha1.GroupResource{Resource: "*"}, both, both, workloadv1alpha1.ResourceForbidden, "no name of a resource", "", false},
		"subresource":                      {"", workloadv1alpha1.GroupResource{Resource: "serviceaccounts/token"}, both, both, workloadv1alpha1.ResourceForbidden, "no name of a resource", "", false},
		"of kcp":                           {"", workloadv1alpha1.GroupResource{Group: "apis.kcp.io", Resource: "apibindings"}, both, both, workloadv1alpha1.ResourceForbidden, "kcp's own", "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := negotiate(tc.resource, tc.workspace, tc.cluster)
			if got.State != tc.state || !strings.Contains(got.Message, tc.message) || strings.Join(got.Versions, " ") != tc.versions || got.HasStatus != tc.status || got.NotServedDownstream() != (name == "not downstream" || name == "review, there") {
				t.Errorf("%s\nnegotiate() = %+v", tc.reason, got)
			}
		})
	}
}

// TestSyncsLike: the message of an accepted resource does not change how it is synced. That of another does, because
// its objects report it.
func TestSyncsLike(t *testing.T) {
	accepted := Resource{Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted, Message: "spec.a: known in the workspace"}
	without := accepted
	without.Message = ""
	if !accepted.SyncsLike(without) {
		t.Error("an accepted resource is synced anew because its message has changed")
	}
	accepted.State, without.State = workloadv1alpha1.ResourceIncompatible, workloadv1alpha1.ResourceIncompatible
	if accepted.SyncsLike(without) {
		t.Error("the objects do not report a new message")
	}
}
