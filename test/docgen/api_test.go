package main

import (
	"os"
	"testing"
	"testing/fstest"
)

func TestAPIPage(t *testing.T) {
	data, err := os.ReadFile("testdata/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crds, err := readCRDs(fstest.MapFS{"config/crd/bases/widgets.yaml": {Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "api.md", apiPage(crds, constantsOf(t, constantSource)))
}

func TestReadCRDs(t *testing.T) {
	tests := map[string]fstest.MapFS{
		"None":         {},
		"UnknownField": {"config/crd/bases/a.yaml": {Data: []byte("spec: {groups: a}\n")}},
	}
	for name, root := range tests {
		t.Run(name, func(t *testing.T) {
			if crds, err := readCRDs(root); err == nil {
				t.Errorf("readCRDs() = %v, want an error", crds)
			}
		})
	}
}
