package v1alpha1

import (
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TestKey: what is installed in physical clusters is found again by the key. These values must never change.
func TestKey(t *testing.T) {
	tests := map[string]struct {
		clusterName, name string
		want              string
	}{
		"usual":           {"2vkq1d7w9hx0a3bc", "edge-1", "djpdevi3jln6x2tg"},
		"another cluster": {"root", "edge-1", "tgmf0iu5xfocjxr2"},
		"another name":    {"2vkq1d7w9hx0a3bc", "edge-2", "9xb2ci6tjyzb1srb"},
		"empty":           {"", "", "gco17pk2cknb81kh"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Key(tc.clusterName, tc.name); got != tc.want {
				t.Errorf("Key(%q, %q) = %q, want %q", tc.clusterName, tc.name, got, tc.want)
			}
		})
	}
}

func TestKeyIsAlwaysOfOneForm(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-z]{16}$`)
	seen := map[string]bool{}
	for i := range 2000 {
		key := Key("cluster", strings.Repeat("x", i))
		if !form.MatchString(key) {
			t.Fatalf("Key() = %q, want 16 base36 characters", key)
		}
		if seen[key] {
			t.Fatalf("%q comes twice", key)
		}
		seen[key] = true
	}
}

func TestKeyIsUsable(t *testing.T) {
	key := Key("root", "edge-1")
	if problems := validation.IsValidLabelValue(key); len(problems) > 0 {
		t.Errorf("as a label: %q", problems)
	}
	if problems := validation.IsQualifiedName(SyncTargetFinalizer(key)); len(problems) > 0 {
		t.Errorf("%s as a finalizer: %q", SyncTargetFinalizer(key), problems)
	}
	if SyncTargetFinalizer(key) == Finalizer || !strings.HasPrefix(SyncTargetFinalizer(key), SyncTargetFinalizerPrefix) {
		t.Errorf("SyncTargetFinalizer() = %q", SyncTargetFinalizer(key))
	}
}

func TestSyncerNamespace(t *testing.T) {
	const key = "0123456789abcdef"
	long := strings.Repeat("a", 253)
	tests := map[string]struct {
		reason string
		name   string
		want   string
	}{
		"short":                    {"", "edge-1", "kcp-syncer-edge-1-" + key},
		"dots":                     {"A Namespace has none.", "edge-1.eu.example.com", "kcp-syncer-edge-1-eu-example-com-" + key},
		"just fits":                {"", long[:35], "kcp-syncer-" + long[:35] + "-" + key},
		"one too long":             {"", long[:36], "kcp-syncer-" + long[:35] + "-" + key},
		"as long as a name can be": {"", long, "kcp-syncer-" + long[:35] + "-" + key},
		"a dash where it is cut":   {"No two dashes in a row at the seam.", long[:34] + "-b", "kcp-syncer-" + long[:34] + "-" + key},
		"a dot where it is cut":    {"", long[:34] + ".b", "kcp-syncer-" + long[:34] + "-" + key},
		"dashes all the way":       {"", "a" + strings.Repeat("-", 40) + "b", "kcp-syncer-a-" + key},
		"one letter":               {"", "a", "kcp-syncer-a-" + key},
		"digits only":              {"", "1", "kcp-syncer-1-" + key},
		"dots, and then it is cut": {"", strings.Repeat("a.", 126) + "a", "kcp-syncer-" + strings.Repeat("a-", 17) + "a-" + key},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if problems := validation.IsDNS1123Subdomain(tc.name); len(problems) > 0 {
				t.Fatalf("no name that a SyncTarget can have: %q", problems)
			}
			got := SyncerNamespace(tc.name, key)
			if got != tc.want {
				t.Errorf("%s\nSyncerNamespace() = %q, want %q", tc.reason, got, tc.want)
			}
			if problems := validation.IsDNS1123Label(got); len(problems) > 0 {
				t.Errorf("%s\n%q: %q", tc.reason, got, problems)
			}
		})
	}
}
