package naming

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestNamespace: what runs in physical clusters is found again by these names. They must never change.
func TestNamespace(t *testing.T) {
	for _, tc := range []struct{ key, namespace, want string }{
		{"0123456789abcdef", "default", "kcp-dxw2r1kfo07d30wpy4uvm2gwnmkek77k"},
		{"0123456789abcdef", "prod", "kcp-vr0rnvb3tlnjwn1ce8o588gcdfbwb5wj"},
		{"fedcba9876543210", "default", "kcp-zo4nfjzdbtckajeso96qgrilmdhdaoqy"},
	} {
		if got := Namespace(tc.key, tc.namespace); got != tc.want {
			t.Errorf("Namespace(%q, %q) = %q, want %q", tc.key, tc.namespace, got, tc.want)
		}
	}
}

// FuzzNamespace: two Namespaces never meet, and every name can be one.
func FuzzNamespace(f *testing.F) {
	for _, seed := range [][4]string{
		{"0123456789abcdef", "default", "0123456789abcdef", "default"},
		{"0123456789abcdef", "a", "0123456789abcde", "f/a"},
		{"0123456789abcdef", "a-b", "0123456789abcdef", "a"},
		{"", "", "0123456789abcdef", strings.Repeat("a", 63)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, key1, ns1, key2, ns2 string) {
		if strings.Contains(key1+key2, "/") {
			t.Skip("a key is base36")
		}
		one, two := Namespace(key1, ns1), Namespace(key2, ns2)
		if same := key1 == key2 && ns1 == ns2; same != (one == two) {
			t.Errorf("Namespace(%q, %q) = %q and Namespace(%q, %q) = %q", key1, ns1, one, key2, ns2, two)
		}
		for _, name := range []string{one, two} {
			if problems := validation.IsDNS1123Label(name); len(problems) > 0 || len(name) != len(prefix)+hashLength {
				t.Errorf("%q cannot be the name of a Namespace: %q", name, problems)
			}
		}
	})
}

func TestDisowned(t *testing.T) {
	ours, theirs := metav1.ManagedFieldsEntry{Manager: workloadv1alpha1.FieldOwnerSyncer}, metav1.ManagedFieldsEntry{Manager: "kubectl"}
	for name, tc := range map[string]struct {
		entries, want []metav1.ManagedFieldsEntry
		found         bool
	}{
		"beside another": {[]metav1.ManagedFieldsEntry{ours, theirs}, []metav1.ManagedFieldsEntry{theirs}, true},
		"alone":          {[]metav1.ManagedFieldsEntry{ours}, []metav1.ManagedFieldsEntry{{}}, true},
		"not there":      {[]metav1.ManagedFieldsEntry{theirs}, []metav1.ManagedFieldsEntry{theirs}, false},
	} {
		if got, found := WithoutSyncer(tc.entries); found != tc.found || !slices.EqualFunc(got, tc.want, func(a, b metav1.ManagedFieldsEntry) bool { return a.Manager == b.Manager }) {
			t.Errorf("%s: Disowned() = %v, %t", name, got, found)
		}
	}
}

func TestIsCopy(t *testing.T) {
	const key = "0123456789abcdef"
	copied := func(change func(*metav1.ObjectMeta)) *metav1.ObjectMeta {
		o := &metav1.ObjectMeta{
			Labels:      map[string]string{workloadv1alpha1.LabelKey: key},
			Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "uid"},
		}
		change(o)
		return o
	}
	yes := true
	for name, tc := range map[string]struct {
		reason string
		object *metav1.ObjectMeta
		want   bool
	}{
		"copy":            {"", copied(func(*metav1.ObjectMeta) {}), true},
		"owned by others": {"Somebody's garbage collection is no claim on it.", copied(func(o *metav1.ObjectMeta) { o.OwnerReferences = []metav1.OwnerReference{{Name: "app"}} }), true},
		"of another":      {"", copied(func(o *metav1.ObjectMeta) { o.Labels[workloadv1alpha1.LabelKey] = "fedcba9876543210" }), false},
		"labels only":     {"Endpoints and EndpointSlices inherit those of their Service.", copied(func(o *metav1.ObjectMeta) { o.Annotations = nil }), false},
		"annotation only": {"ReplicaSets inherit those of their Deployment.", copied(func(o *metav1.ObjectMeta) { o.Labels = nil }), false},
		"named":           {"", copied(func(o *metav1.ObjectMeta) { o.Annotations[workloadv1alpha1.AnnotationSourceName] = o.Name }), true},
		"a clone":         {"Somebody's backup, made of a copy as it was.", copied(func(o *metav1.ObjectMeta) { o.Annotations[workloadv1alpha1.AnnotationSourceName] = "config" }), false},
		"controlled": {"Copies have no owner when they are made.", copied(func(o *metav1.ObjectMeta) {
			o.OwnerReferences = []metav1.OwnerReference{{Name: "web", Controller: &yes}}
		}), false},
	} {
		if got := IsManaged(tc.object, key); got != tc.want {
			t.Errorf("%s: %s: IsCopy() = %t", name, tc.reason, got)
		}
	}
}
