// Package rbac holds the manifests of this folder: who may do what in the provider workspace.
package rbac

import "embed"

// Manifests are bind.yaml and controller.yaml, which kustomization.yaml lists.
//
//go:embed bind.yaml controller.yaml
var Manifests embed.FS
