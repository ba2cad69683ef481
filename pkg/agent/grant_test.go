package agent

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// TestRetain: the syncer keeps a right that it has, and gets none by saying that it needs one.
func TestRetain(t *testing.T) {
	s := newServer(t)
	c := testConfig()
	c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "example.com", Resource: "widgets"}}
	mustApply(t, s, Identity(c))
	said := []workloadv1alpha1.GroupResource{
		{Group: "example.com", Resource: "widgets"}, {Group: "example.com", Resource: "others"}, {Resource: "widgets"}, {Resource: "secrets"},
	}
	got, err := Retain(t.Context(), s, c.Target.Name, c.key(), said)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(said[:1], got); diff != "" {
		t.Errorf("Retain(): -want +got\n%s", diff)
	}
	c.Target.Spec.SyncedResources, c.Retained = c.Target.Spec.SyncedResources[:1], got
	if !allows(c.upstreamRole(), "widgets") || !allows(c.downstreamRole(), "widgets") {
		t.Error("what is retained is not allowed")
	}
}

func allows(role *rbacv1.ClusterRole, resource string) bool {
	return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, resource) })
}

// TestRulesNameResources: what a tenant writes into the spec becomes no wildcard, no subresource and no right to rights.
func TestRulesNameResources(t *testing.T) {
	c := testConfig()
	c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{
		{Resource: "*"}, {Group: "*", Resource: "widgets"}, {Resource: "serviceaccounts/token"}, {Resource: "pods/exec"},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}, {Group: "apis.kcp.io", Resource: "apibindings"}, {Resource: "namespaces"},
		{Group: "example.com", Resource: "widgets"},
	}
	want := []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}}
	if diff := cmp.Diff(want, c.rules([]string{"get"}, "")); diff != "" {
		t.Errorf("rules: -want +got\n%s", diff)
	}
}

// TestCounterpartIsTakenOver: what stands for the same Namespace is taken over, whoever left it; nothing else is.
func TestCounterpartIsTakenOver(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*corev1.Namespace)
		fails  bool
	}{
		"ours":              {"", func(*corev1.Namespace) {}, false},
		"of an older UID":   {"Workloads may run in it.", func(n *corev1.Namespace) { n.Labels[workloadv1alpha1.LabelUID] = "older" }, false},
		"left standing":     {"Something of others was in it.", func(n *corev1.Namespace) { n.Labels = nil }, false},
		"of another target": {"", func(n *corev1.Namespace) { n.Labels[workloadv1alpha1.LabelKey] = "fedcba9876543210" }, true},
		"of another source": {"A collision, which is never resolved by force.", func(n *corev1.Namespace) { n.Annotations[workloadv1alpha1.AnnotationNamespace] = "other" }, true},
		"of nobody":         {"", func(n *corev1.Namespace) { n.Labels, n.Annotations = nil, nil }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t), testConfig()
			live := Counterpart(c, "shop")[0].(*corev1.Namespace)
			tc.change(live)
			if err := s.Create(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			if _, err := Apply(t.Context(), s, Counterpart(c, "shop"), workloadv1alpha1.FieldOwnerController); (err != nil) != tc.fails {
				t.Errorf("%s\nApply() = %v", tc.reason, err)
			}
		})
	}
}

// TestRemoveCounterparts: what the syncer has not removed goes, and what is not ours stays.
func TestRemoveCounterparts(t *testing.T) {
	tests := map[string]struct {
		reason  string
		orphan  bool
		foreign bool
		want    []string
	}{
		"all ours":   {"It goes as a whole.", false, false, nil},
		"with other": {"The copy goes, the other stays, and nobody of ours has rights in it.", false, true, []string{"Namespace", "foreign"}},
		"orphan":     {"", true, false, []string{"Namespace", "copy"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t), testConfig()
			mustApply(t, s, Counterpart(c, "shop"))
			place := mapping.Namespace(c.key(), "shop")
			object := func(name string, labels map[string]string) {
				if err := s.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: place, Name: name, UID: "u", Labels: labels}}); err != nil {
					t.Fatal(err)
				}
			}
			object("copy", map[string]string{workloadv1alpha1.LabelKey: c.key()})
			object("kube-root-ca.crt", nil)
			if tc.foreign {
				object("foreign", nil)
			}
			for range 2 {
				if _, _, err := RemoveCounterparts(t.Context(), s, c.key(), tc.orphan); err != nil {
					t.Fatal(err)
				}
				s.finishNamespaces(t)
			}
			var got []string
			var namespace corev1.Namespace
			if err := s.Get(t.Context(), client.ObjectKey{Name: place}, &namespace); err == nil {
				got = append(got, "Namespace")
				if namespace.Labels[workloadv1alpha1.LabelKey] != "" {
					t.Error("our mark is left on it")
				}
				if err := s.Get(t.Context(), client.ObjectKey{Namespace: place, Name: DeploymentName}, &rbacv1.RoleBinding{}); err == nil {
					t.Error("our rights are left in it")
				}
				for _, name := range []string{"copy", "foreign"} {
					if err := s.Get(t.Context(), client.ObjectKey{Namespace: place, Name: name}, &corev1.ConfigMap{}); err == nil {
						got = append(got, name)
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nleft: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}
