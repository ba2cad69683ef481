package installation

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// state is what the syncer sees of an object.
type state struct {
	object options.InstalledObject
	// uid and version are empty if there is no such object.
	uid     types.UID
	version string
	// refusal is the HTTP status code by which the cluster refuses to show the object; 0 if it does not.
	refusal int
}

// line describes a state. Different states have different lines.
func (s state) line() string {
	return fmt.Sprintf("%q %q %q %q %q %q %d", s.object.Group, s.object.Resource, s.object.Namespace, s.object.Name, s.uid, s.version, s.refusal)
}

// hashOf is a short hash of states in any order.
func hashOf(states []state) string {
	lines := make([]string, 0, len(states))
	for _, s := range states {
		lines = append(lines, s.line())
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return fmt.Sprintf("%x", sum[:8])
}

// statusPatch is a JSON patch (RFC 6902) that reports a hash on the SyncTarget with this UID.
func statusPatch(uid types.UID, hash string) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	return json.Marshal([]operation{
		{"test", "/metadata/uid", uid},
		{"add", "/status/installationHash", hash},
	})
}
