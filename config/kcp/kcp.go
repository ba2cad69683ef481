// Package kcp holds what `kubectl kustomize config/kcp` renders: the objects of the provider workspace.
package kcp

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/synctarget/synctarget/config/rbac"
)

const exportKind = "APIExport"

var (
	//go:embed apiresourceschema-*.yaml apiexport-*.yaml
	manifests embed.FS
	// claims is a patch of the APIExport.
	//go:embed claims.yaml
	claims []byte
)

// Objects returns the objects of config/kcp, those of config/rbac included. The permission claims are in the APIExport.
func Objects() ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, folder := range []embed.FS{manifests, rbac.Manifests} {
		found, err := decodeFolder(folder)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	for _, object := range objects {
		if object.GetKind() == exportKind {
			if err := mergeClaims(object); err != nil {
				return nil, fmt.Errorf("merging claims.yaml into the %s: %w", exportKind, err)
			}
		}
	}
	return objects, nil
}

// decodeFolder returns the objects in the files of a folder.
func decodeFolder(folder embed.FS) (objects []*unstructured.Unstructured, err error) {
	err = fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := folder.ReadFile(name)
		if err != nil {
			return err
		}
		found, err := decode(content)
		if err != nil {
			return fmt.Errorf("decoding %s: %w", name, err)
		}
		objects = append(objects, found...)
		return nil
	})
	return objects, err
}

func decode(content []byte) (objects []*unstructured.Unstructured, err error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		}
		objects = append(objects, object)
	}
}

// mergeClaims does what kustomize does with the patch claims.yaml, a JSON merge patch, since it does not know the type.
func mergeClaims(export *unstructured.Unstructured) error {
	before, err := export.MarshalJSON()
	if err != nil {
		return err
	}
	patch, err := yaml.YAMLToJSON(claims)
	if err != nil {
		return err
	}
	merged, err := jsonpatch.MergePatch(before, patch)
	if err != nil {
		return err
	}
	return export.UnmarshalJSON(merged)
}
