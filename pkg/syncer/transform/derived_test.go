package transform

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// origins say where the values of the fields of a kind come from, if not from the user alone.
type origins struct {
	gvk schema.GroupVersionKind
	// user are fields that no server sets.
	user string
	// defaulted are fields that a server sets, from the rest of the object, where the user does not. A default that
	// was set for an earlier state of the object, as of a member of a union that is no longer chosen, is a leftover.
	defaulted string
	// derived are fields that belong to one object alone, in full or in part: a leftover in them is not known as such.
	derived string
}

var (
	core       = schema.GroupVersion{Version: "v1"}
	apps       = schema.GroupVersion{Group: "apps", Version: "v1"}
	batch      = schema.GroupVersion{Group: "batch", Version: "v1"}
	networking = schema.GroupVersion{Group: "networking.k8s.io", Version: "v1"}
)

// fieldOrigins has every field of the kinds that are synced by default, but for metadata and status. When the types
// of Kubernetes get a new field, a server may derive it: then it belongs into derivedFields.
var fieldOrigins = map[string]origins{
	"configmaps": {gvk: core.WithKind("ConfigMap"), user: "data binaryData immutable"},
	"secrets":    {gvk: core.WithKind("Secret"), user: "data stringData immutable", defaulted: "type"},
	"serviceaccounts": {
		gvk:  core.WithKind("ServiceAccount"),
		user: "imagePullSecrets automountServiceAccountToken", derived: "secrets",
	},
	"services": {
		gvk: core.WithKind("Service"),
		user: `spec.selector spec.externalIPs spec.externalName spec.loadBalancerIP spec.loadBalancerSourceRanges spec.loadBalancerClass
			spec.publishNotReadyAddresses spec.trafficDistribution`,
		defaulted: `spec.type spec.sessionAffinity spec.sessionAffinityConfig spec.externalTrafficPolicy spec.internalTrafficPolicy
			spec.allocateLoadBalancerNodePorts`,
		derived: "spec.clusterIP spec.clusterIPs spec.ports spec.healthCheckNodePort spec.ipFamilies spec.ipFamilyPolicy",
	},
	"persistentvolumeclaims": {
		gvk:       core.WithKind("PersistentVolumeClaim"),
		user:      "spec.accessModes spec.selector spec.resources spec.volumeAttributesClassName",
		defaulted: "spec.volumeMode spec.dataSource spec.dataSourceRef", // the two sources from one another
		derived:   "spec.volumeName spec.storageClassName",
	},
	"deployments.apps": {
		gvk:       apps.WithKind("Deployment"),
		user:      "spec.selector spec.minReadySeconds spec.paused",
		defaulted: "spec.replicas spec.strategy spec.revisionHistoryLimit spec.progressDeadlineSeconds spec.template",
	},
	"statefulsets.apps": {
		gvk:  apps.WithKind("StatefulSet"),
		user: "spec.selector spec.serviceName spec.minReadySeconds spec.ordinals",
		defaulted: `spec.replicas spec.podManagementPolicy spec.updateStrategy spec.revisionHistoryLimit
			spec.persistentVolumeClaimRetentionPolicy spec.volumeClaimTemplates spec.template`,
	},
	"daemonsets.apps": {
		gvk:       apps.WithKind("DaemonSet"),
		user:      "spec.selector spec.minReadySeconds",
		defaulted: "spec.updateStrategy spec.revisionHistoryLimit spec.template",
	},
	"jobs.batch": {
		gvk:  batch.WithKind("Job"),
		user: "spec.activeDeadlineSeconds spec.podFailurePolicy spec.successPolicy spec.backoffLimitPerIndex spec.maxFailedIndexes spec.ttlSecondsAfterFinished spec.managedBy",
		defaulted: `spec.parallelism spec.completions spec.backoffLimit spec.manualSelector spec.completionMode spec.suspend
			spec.podReplacementPolicy`,
		derived: "spec.selector spec.template",
	},
	"cronjobs.batch": {
		gvk:  batch.WithKind("CronJob"),
		user: "spec.schedule spec.timeZone spec.startingDeadlineSeconds",
		defaulted: `spec.concurrencyPolicy spec.suspend spec.jobTemplate spec.successfulJobsHistoryLimit
			spec.failedJobsHistoryLimit`,
	},
	"ingresses.networking.k8s.io": {
		gvk:     networking.WithKind("Ingress"),
		user:    "spec.defaultBackend spec.tls spec.rules",
		derived: "spec.ingressClassName",
	},
	"networkpolicies.networking.k8s.io": {
		gvk:       networking.WithKind("NetworkPolicy"),
		user:      "spec.podSelector",
		defaulted: "spec.policyTypes spec.ingress spec.egress", // of the rules, the protocol
	},
}

// podOrigins has every field of a Pod's spec. In the template of a workload none is derived.
var podOrigins = origins{
	user: `ephemeralContainers activeDeadlineSeconds nodeSelector automountServiceAccountToken nodeName hostNetwork hostPID
		hostIPC shareProcessNamespace imagePullSecrets hostname subdomain affinity tolerations hostAliases priorityClassName priority
		dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints
		setHostnameAsFQDN os hostUsers schedulingGates resourceClaims resources hostnameOverride schedulingGroup`,
	// The two names of the service account from one another.
	defaulted: `volumes initContainers containers restartPolicy terminationGracePeriodSeconds dnsPolicy serviceAccountName
		serviceAccount securityContext schedulerName`,
}

func TestEveryFieldHasAnOrigin(t *testing.T) {
	for _, resource := range workloadv1alpha1.DefaultSyncedResources() {
		t.Run(resource.String(), func(t *testing.T) {
			known, found := fieldOrigins[resource.String()]
			if !found {
				t.Fatal("the kind is synced by default: where do the values of its fields come from?")
			}
			typed, err := scheme.Scheme.New(known.gvk)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(known.fields(), fieldsOf(reflect.TypeOf(typed).Elem())); diff != "" {
				t.Errorf("(-known +of the type)\n%s", diff)
			}
			if diff := cmp.Diff(sortedFields(known.derived), derivedOf(known.gvk.GroupKind())); diff != "" {
				t.Errorf("(-known +derivedFields)\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(podOrigins.fields(), fieldNames(reflect.TypeFor[corev1.PodSpec]())); diff != "" {
		t.Errorf("(-known +of the type)\n%s", diff)
	}
}

func TestEveryDerivedFieldHasAReason(t *testing.T) {
	for kind, fields := range derivedFields {
		for _, field := range fields {
			if field.reason == "" || len(field.path) == 0 {
				t.Errorf("%s: %+v has no reason or no path", kind, field)
			}
		}
	}
}

func (o origins) fields() []string { return sortedFields(o.user + " " + o.defaulted + " " + o.derived) }

func sortedFields(names string) []string {
	return slices.Sorted(slices.Values(strings.Fields(names)))
}

// derivedOf are the fields in derivedFields, as far as the names in origins go.
func derivedOf(kind schema.GroupKind) []string {
	var names []string
	for _, field := range derivedFields[kind] {
		names = append(names, strings.Join(field.path[:min(len(field.path), 2)], "."))
	}
	return sorted(names)
}

// fieldsOf are the fields of a kind and of its spec.
func fieldsOf(kind reflect.Type) []string {
	var names []string
	for _, name := range fieldNames(kind) {
		spec, isSpec := kind.FieldByName("Spec")
		switch {
		case name == "metadata" || name == "status":
		case name == "spec" && isSpec:
			for _, below := range fieldNames(spec.Type) {
				names = append(names, "spec."+below)
			}
		default:
			names = append(names, name)
		}
	}
	return names
}

// fieldNames are the names of the fields of a struct in JSON, sorted.
func fieldNames(of reflect.Type) []string {
	var names []string
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return sorted(names)
}
