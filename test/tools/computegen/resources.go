package main

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// resource is what there is to know about a resource of version v1 beside its schema.
type resource struct {
	Group, Kind, Plural, ShortName string
	// InAll says that `kubectl get all` shows it.
	InAll bool
	// Scale says that there is a scale subresource. It has no selector: in apps/v1 the status does not hold one as a string.
	Scale   bool
	Columns []apiextensionsv1.CustomResourceColumnDefinition
}

// resources are those of the export, with the columns of kubectl as far as JSON paths go. A path gives one value, the
// first that it finds: READY is two columns here, and of several hosts or ports one is shown. kcp itself shows the columns
// of the built-in API instead, which it knows for these groups.
func resources() []resource { //nolint:funlen // a table
	desired := integer("Desired", ".spec.replicas")
	ready := integer("Ready", ".status.readyReplicas")
	age := date("Age", ".metadata.creationTimestamp")
	image := wide(text("Image", ".spec.template.spec.containers[*].image"))
	type columns = []apiextensionsv1.CustomResourceColumnDefinition
	return []resource{
		{
			Group: "apps", Kind: "Deployment", Plural: "deployments", ShortName: "deploy", InAll: true, Scale: true,
			Columns: columns{
				desired, ready,
				integer("Up-to-date", ".status.updatedReplicas"),
				integer("Available", ".status.availableReplicas"),
				age, image,
			},
		},
		{
			Group: "apps", Kind: "StatefulSet", Plural: "statefulsets", ShortName: "sts", InAll: true, Scale: true,
			Columns: columns{desired, ready, age, image},
		},
		{
			Group: "apps", Kind: "DaemonSet", Plural: "daemonsets", ShortName: "ds", InAll: true,
			Columns: columns{
				integer("Desired", ".status.desiredNumberScheduled"),
				integer("Current", ".status.currentNumberScheduled"),
				integer("Ready", ".status.numberReady"),
				integer("Up-to-date", ".status.updatedNumberScheduled"),
				integer("Available", ".status.numberAvailable"),
				age, image,
			},
		},
		{
			Group: "batch", Kind: "Job", Plural: "jobs", InAll: true,
			Columns: columns{
				text("Complete", `.status.conditions[?(@.type=="Complete")].status`),
				text("Failed", `.status.conditions[?(@.type=="Failed")].status`),
				integer("Completions", ".spec.completions"),
				integer("Succeeded", ".status.succeeded"),
				age, image,
			},
		},
		{
			Group: "batch", Kind: "CronJob", Plural: "cronjobs", ShortName: "cj", InAll: true,
			Columns: columns{
				text("Schedule", ".spec.schedule"),
				text("Timezone", ".spec.timeZone"),
				boolean("Suspend", ".spec.suspend"),
				date("Last Schedule", ".status.lastScheduleTime"),
				age,
				wide(text("Image", ".spec.jobTemplate.spec.template.spec.containers[*].image")),
			},
		},
		{
			Group: "networking.k8s.io", Kind: "Ingress", Plural: "ingresses", ShortName: "ing",
			Columns: columns{
				text("Class", ".spec.ingressClassName"),
				text("Host", ".spec.rules[*].host"),
				text("Address", ".status.loadBalancer.ingress[*]['ip','hostname']"),
				age,
			},
		},
		{
			Group: "networking.k8s.io", Kind: "NetworkPolicy", Plural: "networkpolicies", ShortName: "netpol",
			Columns: columns{text("Pod-Selector", ".spec.podSelector.matchLabels"), age},
		},
		{
			Kind: "Service", Plural: "services", ShortName: "svc", InAll: true,
			Columns: columns{
				text("Type", ".spec.type"),
				text("Cluster-IP", ".spec.clusterIP"),
				text("External-IP", ".status.loadBalancer.ingress[*]['ip','hostname']"),
				integer("Port", ".spec.ports[*].port"),
				age,
				wide(text("Selector", ".spec.selector")),
			},
		},
		{
			Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims", ShortName: "pvc",
			Columns: columns{
				text("Status", ".status.phase"),
				text("Volume", ".spec.volumeName"),
				text("Capacity", ".status.capacity.storage"),
				text("Access Modes", ".spec.accessModes"),
				text("StorageClass", ".spec.storageClassName"),
				age,
				wide(text("VolumeMode", ".spec.volumeMode")),
			},
		},
	}
}

// component is the name of the resource's type in the OpenAPI document of its group.
func (r resource) component() string {
	group, _, _ := strings.Cut(r.Group, ".") // networking.k8s.io is in the package networking
	if group == "" {
		group = "core"
	}
	return "io.k8s.api." + group + ".v1." + r.Kind
}

func (r resource) names() apiextensionsv1.CustomResourceDefinitionNames {
	names := apiextensionsv1.CustomResourceDefinitionNames{
		Plural: r.Plural, Singular: strings.ToLower(r.Kind), Kind: r.Kind, ListKind: r.Kind + "List",
	}
	if r.ShortName != "" {
		names.ShortNames = []string{r.ShortName}
	}
	if r.InAll {
		names.Categories = []string{"all"}
	}
	return names
}

func text(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "string", JSONPath: path}
}

func integer(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "integer", JSONPath: path}
}

func boolean(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "boolean", JSONPath: path}
}

func date(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "date", JSONPath: path}
}

// wide is a column that is shown with -o wide only.
func wide(column apiextensionsv1.CustomResourceColumnDefinition) apiextensionsv1.CustomResourceColumnDefinition {
	column.Priority = 1
	return column
}
