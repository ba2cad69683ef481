package main

import (
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
)

// TestMapperKnowsWhatIsWatched: no informer waits for a discovery.
func TestMapperKnowsWhatIsWatched(t *testing.T) {
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	required, optional := watchedKinds()
	for _, kind := range append(slices.Concat(required, optional), client.Object(&apisv1alpha1.APIExportEndpointSlice{})) {
		gvk, err := apiutil.GVKForObject(kind, scheme)
		if err != nil {
			t.Fatal(err)
		}
		mapping, err := newMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Errorf("%s: %v", gvk, err)
			continue
		}
		t.Log(mapping.Resource.Resource, mapping.Scope.Name())
	}
}
