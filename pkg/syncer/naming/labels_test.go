package naming

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestNamespaceLabel: selectors in physical clusters use these keys. They must never change.
func TestNamespaceLabel(t *testing.T) {
	for key, want := range map[string]string{
		"team":                                   "namespace.workload.kcp.io/team",
		"example.com/team":                       "example.com.namespace.workload.kcp.io/team",
		"example.com/" + strings.Repeat("a", 63): "example.com.namespace.workload.kcp.io/" + strings.Repeat("a", 63),
		strings.Repeat("a", 253) + "/team":       "0np1w7cxm40h6xm7tnstozuh6cwph1bp-namespace.workload.kcp.io/team",
	} {
		if got := NamespaceLabel(key); got != want {
			t.Errorf("NamespaceLabel(%q) = %q, want %q", key, got, want)
		}
	}
}

// labelKeys are keys whose carried keys might be equal, or too long, if NamespaceLabel were careless.
func labelKeys() []string {
	const domain = workloadv1alpha1.LabelDomainNamespace
	long, longest := strings.Repeat("a.", 113)+"a", strings.Repeat("a.", 126)+"a"
	keys := []string{"team", "Team", "team.a", "team-a", "team_a", "a.team", strings.Repeat("a", 63), strings.Repeat("a", 62) + "b"}
	for _, prefix := range []string{
		"a", "a.b", "a-b", "example.com", "com", domain, "a." + domain, "a-" + domain, domain + "." + domain, "namespace",
		long, "b" + long[1:], long + ".a", longest, "b" + longest[1:], hash(longest), hash(longest) + "-namespace", hash(longest) + "-" + domain,
	} {
		for _, name := range []string{"team", "a.team", "namespace", strings.Repeat("a", 63)} {
			keys = append(keys, prefix+"/"+name)
		}
	}
	return keys
}

// TestNamespaceLabelsAreUnique: different keys give different keys, and each is valid.
func TestNamespaceLabelsAreUnique(t *testing.T) {
	source := map[string]string{}
	for _, key := range labelKeys() {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			t.Fatalf("the test uses %q: %q", key, problems)
		}
		got := NamespaceLabel(key)
		if problems := validation.IsQualifiedName(got); len(problems) > 0 {
			t.Errorf("NamespaceLabel(%q) = %q: %q", key, got, problems)
		}
		if !IsNamespaceLabel(got) {
			t.Errorf("IsNamespaceLabel(%q) = false", got)
		}
		if other, found := source[got]; found {
			t.Errorf("NamespaceLabel(%q) and NamespaceLabel(%q) are both %q", key, other, got)
		}
		source[got] = key
	}
}

func FuzzNamespaceLabel(f *testing.F) {
	keys := labelKeys()
	for i := range keys {
		f.Add(keys[i], keys[(i+1)%len(keys)])
	}
	f.Add("a/b/c", "a/b")
	f.Add("/a", "a")
	f.Add("", "/")
	f.Fuzz(func(t *testing.T, a, b string) {
		if (a == b) != (NamespaceLabel(a) == NamespaceLabel(b)) {
			t.Errorf("NamespaceLabel(%q) = %q and NamespaceLabel(%q) = %q", a, NamespaceLabel(a), b, NamespaceLabel(b))
		}
		for _, key := range []string{a, b} {
			valid, still := len(validation.IsQualifiedName(key)) == 0, len(validation.IsQualifiedName(NamespaceLabel(key))) == 0
			if valid && !still {
				t.Errorf("NamespaceLabel(%q) = %q is invalid", key, NamespaceLabel(key))
			}
		}
	})
}

func TestNamespaceLabels(t *testing.T) {
	got := NamespaceLabels(map[string]string{
		"team": "web", "example.com/tier": "", "pod-security.kubernetes.io/enforce": "privileged",
		"kubernetes.io/metadata.name": "front", "kcp.io/a": "1", "internal.apis.kcp.io/b": "2",
		workloadv1alpha1.LabelVisible: "true",
	})
	want := map[string]string{
		"namespace.workload.kcp.io/team":                               "web",
		"example.com.namespace.workload.kcp.io/tier":                   "",
		"pod-security.kubernetes.io.namespace.workload.kcp.io/enforce": "privileged",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestIsNamespaceLabel(t *testing.T) {
	for key, want := range map[string]bool{
		"namespace.workload.kcp.io/team": true, "example.com.namespace.workload.kcp.io/team": true,
		"namespace.workload.kcp.io": false, "team": false, "workload.kcp.io/key": false, "kubernetes.io/metadata.name": false,
		"example.com/namespace.workload.kcp.io": false,
	} {
		if got := IsNamespaceLabel(key); got != want {
			t.Errorf("IsNamespaceLabel(%q) = %t", key, got)
		}
	}
}
