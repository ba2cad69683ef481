// Package samples holds the manifests of this folder that `kubectl synctarget join` applies.
package samples

import _ "embed"

var (
	// Binding is an APIBinding that accepts the permission claims of the service.
	//go:embed binding/apibinding.yaml
	Binding []byte
	// InstallerServiceAccount is the Namespace, the ServiceAccount and the token by which the service gets into a physical cluster.
	//go:embed installer/serviceaccount.yaml
	InstallerServiceAccount []byte
	// InstallerRole holds the rights that the service needs there.
	//go:embed installer/clusterrole.yaml
	InstallerRole []byte
)
