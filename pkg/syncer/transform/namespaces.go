package transform

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// translateNamespaces changes the names of Namespaces and the namespace selectors in an object of the workspace into those
// of the physical cluster. What selected Namespaces of the workspace then selects their downstream Namespaces, and never
// those of another workspace or SyncTarget, although they are in the same cluster.
//
// Values of a wrong type stay as they are: the physical cluster refuses them.
func (o Owner) translateNamespaces(object map[string]any, gk schema.GroupKind) {
	for _, path := range namespaceTerms(gk) {
		forEachAt(object, path, o.translateTerm)
	}
}

// podSpecs are the paths of the Pod specs in objects that have one.
var podSpecs = map[schema.GroupKind][]string{
	{Kind: "Pod"}:                        {"spec"},
	{Kind: "ReplicationController"}:      {"spec", "template", "spec"},
	{Group: "apps", Kind: "DaemonSet"}:   {"spec", "template", "spec"},
	{Group: "apps", Kind: "Deployment"}:  {"spec", "template", "spec"},
	{Group: "apps", Kind: "ReplicaSet"}:  {"spec", "template", "spec"},
	{Group: "apps", Kind: "StatefulSet"}: {"spec", "template", "spec"},
	{Group: "batch", Kind: "CronJob"}:    {"spec", "jobTemplate", "spec", "template", "spec"},
	{Group: "batch", Kind: "Job"}:        {"spec", "template", "spec"},
}

// namespaceTerms returns the paths of everything in objects of a kind that has a field "namespaces" or "namespaceSelector".
func namespaceTerms(gk schema.GroupKind) [][]string {
	if gk == (schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}) {
		return [][]string{{"spec", "ingress", "from"}, {"spec", "egress", "to"}}
	}
	spec, found := podSpecs[gk]
	if !found {
		return nil
	}
	var paths [][]string
	for _, affinity := range []string{"podAffinity", "podAntiAffinity"} {
		paths = append(paths,
			slices.Concat(spec, []string{"affinity", affinity, "requiredDuringSchedulingIgnoredDuringExecution"}),
			slices.Concat(spec, []string{"affinity", affinity, "preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"}))
	}
	return paths
}

// forEachAt calls do with each object at a path of fields. A list on the path stands for each of its elements.
func forEachAt(value any, path []string, do func(map[string]any)) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			forEachAt(element, path, do)
		}
	case map[string]any:
		if len(path) == 0 {
			do(value)
			return
		}
		forEachAt(value[path[0]], path[1:], do)
	}
}

func (o Owner) translateTerm(term map[string]any) {
	if names, ok := term["namespaces"].([]any); ok {
		o.translateNames(names)
	}
	if selector, ok := term["namespaceSelector"].(map[string]any); ok {
		o.translateSelector(selector)
	}
}

// translateSelector changes a selector of Namespaces and confines it to the downstream Namespaces of the SyncTarget. An
// empty selector then selects all of these. A selector that is absent means the Namespace of the object and stays absent.
func (o Owner) translateSelector(selector map[string]any) {
	labels, ok := selector["matchLabels"].(map[string]any)
	if !ok && selector["matchLabels"] != nil {
		return
	}
	translated := make(map[string]any, len(labels)+1)
	for key, value := range labels {
		values := []any{value}
		translated[o.translateRequirement(key, values)] = values[0]
	}
	translated[workloadv1alpha1.LabelDownstreamNamespace] = o.Key
	selector["matchLabels"] = translated
	forEachAt(selector["matchExpressions"], nil, func(expression map[string]any) {
		values, _ := expression["values"].([]any)
		if key, ok := expression["key"].(string); ok {
			expression["key"] = o.translateRequirement(key, values)
		}
	})
}

// translateRequirement returns the label key of a downstream Namespace for one of a Namespace of the workspace, and changes
// the values if they are names.
func (o Owner) translateRequirement(key string, values []any) string {
	if key != corev1.LabelMetadataName {
		return naming.NamespaceLabel(key)
	}
	o.translateNames(values)
	return key
}

func (o Owner) translateNames(names []any) {
	for i := range names {
		if name, ok := names[i].(string); ok {
			names[i] = naming.Namespace(o.Key, name)
		}
	}
}
