package transform

import (
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// derivedField is a field whose value belongs to one object alone: its cluster allocates the value, or the value
// follows from the name, the UID or the time of the object. Two objects that were created of the same content differ
// in it.
type derivedField struct {
	// path leads to the field. eachItem in it stands for every item of a list.
	path   []string
	reason string
}

// eachItem stands for every item of a list.
const eachItem = "[*]"

// derivedFields are the derived fields of the kinds that are synced by default. ConfigMaps, Secrets, Deployments,
// StatefulSets, DaemonSets, CronJobs and NetworkPolicies have none. What a server defaults is not derived: it is the
// same in every object of the same content.
var derivedFields = map[schema.GroupKind][]derivedField{
	serviceKind: {
		{path: []string{"spec", "clusterIP"}, reason: "allocated from the addresses of the cluster"},
		{path: []string{"spec", "clusterIPs"}, reason: "allocated from the addresses of the cluster"},
		{path: []string{"spec", "ports", eachItem, "nodePort"}, reason: "allocated from the node ports of the cluster"},
		{path: []string{"spec", "healthCheckNodePort"}, reason: "allocated from the node ports of the cluster"},
		{path: []string{"spec", "ipFamilies"}, reason: "follows from the allocated addresses, and the first cannot change"},
		{path: []string{"spec", "ipFamilyPolicy"}, reason: "follows from the allocated addresses"},
	},
	serviceAccountKind: {
		{path: []string{"secrets"}, reason: "names the token Secrets that a cluster made for this account"},
	},
	claimKind: {
		{path: []string{"spec", "volumeName"}, reason: "the volume that the cluster bound"},
		{path: []string{"spec", "storageClassName"},
			reason: "the default class when the claim was created, or the first one there was after it"},
	},
	jobKind: {
		{path: []string{"spec", "selector"}, reason: "generated from the UID"},
		{path: templateLabel("controller-uid"), reason: "the UID"},
		{path: templateLabel(batchv1.ControllerUidLabel), reason: "the UID"},
		{path: templateLabel("job-name"), reason: "the name"},
		{path: templateLabel(batchv1.JobNameLabel), reason: "the name"},
	},
	ingressKind: {
		{path: []string{"spec", "ingressClassName"}, reason: "the default class when the Ingress was created"},
	},
}

func templateLabel(label string) []string {
	return []string{"spec", "template", "metadata", "labels", label}
}

// removeFrom removes the field from an object.
func (f derivedField) removeFrom(object map[string]any) { removeField(object, f.path) }

func removeField(object map[string]any, path []string) {
	name, below := path[0], path[1:]
	switch {
	case len(below) == 0:
		delete(object, name)
	case below[0] == eachItem:
		for _, item := range listOf(object[name]) {
			if fields, ok := item.(map[string]any); ok {
				removeField(fields, below[1:])
			}
		}
	default:
		if fields, ok := object[name].(map[string]any); ok {
			removeField(fields, below)
		}
	}
}
