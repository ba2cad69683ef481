// Package mapping says where in the physical cluster the objects of a workspace live: under their own names, in a
// Namespace whose name follows from the SyncTarget's key and their Namespace.
package mapping

import (
	"crypto/sha256"
	"math/big"
	"strings"
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
