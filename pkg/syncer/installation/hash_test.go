package installation

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// TestHash: everything that is compared counts, and nothing else.
func TestHash(t *testing.T) {
	account := options.InstalledObject{Resource: "serviceaccounts", Namespace: "n", Name: "syncer"}
	role := options.InstalledObject{Group: "rbac.authorization.k8s.io", Resource: "roles", Namespace: "n", Name: "syncer"}
	was := []state{{object: account, uid: "u-1", version: "1"}, {object: role, uid: "u-2", version: "2"}}
	tests := map[string]struct {
		reason string
		is     []state
		same   bool
	}{
		"nothing":         {"", was, true},
		"another order":   {"Objects are kept in a map.", []state{was[1], was[0]}, true},
		"changed":         {"", []state{{object: account, uid: "u-1", version: "3"}, was[1]}, false},
		"made anew":       {"", []state{{object: account, uid: "u-3", version: "1"}, was[1]}, false},
		"deleted":         {"", []state{{object: account}, was[1]}, false},
		"refused":         {"What was changed are the syncer's rights.", []state{{object: account, refusal: 403}, was[1]}, false},
		"another object":  {"", []state{{object: role, uid: "u-1", version: "1"}, was[1]}, false},
		"one more":        {"A Namespace was opened.", append([]state{{object: options.InstalledIn("kcp-1")}}, was...), false},
		"fields that run": {"", []state{{object: account, uid: "u-1 1"}, was[1]}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := hashOf(tc.is) == hashOf(was); got != tc.same {
				t.Errorf("%s\nthe same hash: %t, want %t", tc.reason, got, tc.same)
			}
		})
	}
	if hash := hashOf(was); len(hash) != 16 {
		t.Errorf("hash %q is not short", hash)
	}
}

func TestStatusPatch(t *testing.T) {
	patch, err := statusPatch("u-1", "abc")
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"op":"test","path":"/metadata/uid","value":"u-1"},{"op":"add","path":"/status/installationHash","value":"abc"}]`
	if diff := cmp.Diff(want, string(patch)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
