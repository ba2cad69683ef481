// Package mapping says where in the physical cluster the objects of a workspace live: under their own names, in a
// Namespace whose name follows from the SyncTarget's key and their Namespace.
package mapping

import (
	"crypto/sha256"
	"math/big"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	prefix = "kcp-"
	// hashLength base36 characters are about 165 bits of the SHA-256: nobody finds two Namespaces that share a name.
	hashLength = 32
)

// Namespace is the Namespace in the physical cluster for a Namespace of the workspace: a DNS label of 36 characters,
// different for every pair of key and namespace.
func Namespace(key, namespace string) string {
	sum := sha256.Sum256([]byte(key + "/" + namespace))
	text := new(big.Int).SetBytes(sum[:]).Text(36)
	if missing := hashLength - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	return prefix + text[len(text)-hashLength:]
}

// DefaultKinds are the kinds of the resources that are synced by default, as every physical cluster serves them.
func DefaultKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		{Version: "v1", Kind: "ConfigMap"},
		{Version: "v1", Kind: "PersistentVolumeClaim"},
		{Version: "v1", Kind: "Secret"},
		{Version: "v1", Kind: "Service"},
		{Version: "v1", Kind: "ServiceAccount"},
		{Group: "apps", Version: "v1", Kind: "DaemonSet"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "batch", Version: "v1", Kind: "CronJob"},
		{Group: "batch", Version: "v1", Kind: "Job"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	}
}

// IsFixture tells what controllers of a cluster put into every Namespace.
func IsFixture(kind, name string) bool {
	switch kind {
	case "ConfigMap":
		return name == "kube-root-ca.crt" || name == "openshift-service-ca.crt"
	case "ServiceAccount":
		return name == "default"
	}
	return false
}
