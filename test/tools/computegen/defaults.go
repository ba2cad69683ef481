package main

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// fieldDefault is a default that Kubernetes sets in Go, where the OpenAPI document does not show it.
type fieldDefault struct {
	Component, Field, Value string
}

// fieldDefaults are few: a default that is missing here is set by the physical cluster that runs the workload. These are
// needed before, by clients of the workspace.
func fieldDefaults() []fieldDefault {
	const apps, rolling = "io.k8s.api.apps.v1.", `"RollingUpdate"`
	return []fieldDefault{
		// Scale has no other value to begin with, and kubectl describe reads the pointer as it is.
		{apps + "DeploymentSpec", "replicas", "1"},
		{apps + "StatefulSetSpec", "replicas", "1"},
		// kubectl rollout status refuses every other strategy, none included.
		{apps + "StatefulSetSpec", "updateStrategy", `{"type":` + rolling + `}`},
		{apps + "StatefulSetUpdateStrategy", "type", rolling},
		{apps + "DaemonSetSpec", "updateStrategy", `{"type":` + rolling + `}`},
		{apps + "DaemonSetUpdateStrategy", "type", rolling},
		// Shown by kubectl get, and what clients switch over.
		{"io.k8s.api.core.v1.ServiceSpec", "type", `"ClusterIP"`},
		// Required by the document, and yet left out by everybody, as it has a default.
		{"io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern", "status", `"True"`},
	}
}

// addDefaults sets the defaults of a component's fields. What has one is not required.
func addDefaults(component string, schema *apiextensionsv1.JSONSchemaProps) {
	for _, d := range fieldDefaults() {
		if d.Component != component {
			continue
		}
		property := schema.Properties[d.Field]
		property.Default = &apiextensionsv1.JSON{Raw: []byte(d.Value)}
		schema.Properties[d.Field] = property
		schema.Required = slices.DeleteFunc(schema.Required, func(name string) bool { return name == d.Field })
	}
}
