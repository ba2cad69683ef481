package v1alpha1

import (
	"crypto/sha256"
	"math/big"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// Finalizer holds a SyncTarget until its syncer and its identity are gone.
	Finalizer = "workload.kcp.io/synctarget"
	// SyncTargetFinalizerPrefix and a key make the finalizer by which one SyncTarget holds what its deletion needs:
	// the referenced Secret and its identity objects.
	SyncTargetFinalizerPrefix = "workload.kcp.io/synctarget-"

	// AnnotationAbandon set to "true" lets a deletion end at once, whatever may be left behind.
	AnnotationAbandon = "workload.kcp.io/abandon"
	// AnnotationRotateTokenAt has the token of a SyncTarget's syncer replaced, if it was issued before this time. The time is written
	// as in RFC 3339.
	AnnotationRotateTokenAt = "workload.kcp.io/rotate-token-at"
	// AnnotationAppliedHash carries the hash of the manifest that was last applied to an object.
	AnnotationAppliedHash = "workload.kcp.io/applied-hash"
	// AnnotationSettings tells, on the syncer's Deployment, with which settings of the service it was installed, in JSON.
	AnnotationSettings = "workload.kcp.io/settings"
	// AnnotationRolledOut tells, on the syncer's Deployment, when it got these settings in a rollout over many SyncTargets.
	AnnotationRolledOut = "workload.kcp.io/rolled-out"
	// AnnotationInstallSettings carries, on the syncer's token in the workspace, what the syncer's manifests follow from and the
	// controller alone knows, as JSON: the default image, kcp's URL and CA, the proxy, the interval of the heartbeats.
	AnnotationInstallSettings = "workload.kcp.io/install-settings"
	// AnnotationControllerVersion tells, on the Namespace of the syncer in the workspace, the version of the controller whose settings
	// the syncer has. It is for display.
	AnnotationControllerVersion = "workload.kcp.io/controller-version"
	// AnnotationWorkspace names, on downstream objects, the logical cluster they belong to.
	AnnotationWorkspace = "workload.kcp.io/logical-cluster"
	// AnnotationSyncTarget names, on downstream objects, the SyncTarget they belong to.
	AnnotationSyncTarget = "workload.kcp.io/synctarget"

	// HeartbeatLeaseName is the Lease that the syncer renews as its heartbeat, in SyncerNamespace of the workspace.
	HeartbeatLeaseName = "syncer"
	// AnnotationClusterID tells, on the Lease, which physical cluster the syncer that renewed it last runs in.
	AnnotationClusterID = "workload.kcp.io/cluster-id"

	// LabelVisible set to "true" shows an object to this service: the label that the permission claims of the
	// samples select. The referenced Secret needs it, and every object that the service creates carries it.
	LabelVisible = "workload.kcp.io/visible"
	// LabelKey marks an object as belonging to the SyncTarget with this key.
	LabelKey = "workload.kcp.io/key"
	// LabelUID marks an object as belonging to the SyncTarget with this UID.
	LabelUID = "workload.kcp.io/uid"

	// LabelPullSecret set to "true" marks the copy of a Secret that spec.syncer.imagePullSecrets names in the workspace.
	LabelPullSecret = "workload.kcp.io/image-pull-secret"

	// LabelDownstreamNamespace set to a key marks the downstream Namespaces of the SyncTarget with this key. Namespace
	// selectors of copies are confined by it, because the Namespace of the syncer does not carry it.
	LabelDownstreamNamespace = "workload.kcp.io/downstream-namespace"
	// LabelDomainNamespace ends the prefix of the labels by which a downstream Namespace repeats the labels of its
	// Namespace of the workspace.
	LabelDomainNamespace = "namespace.workload.kcp.io"

	// FieldOwnerController owns the fields that the controller applies.
	FieldOwnerController = "workload.kcp.io/controller"
	// FieldOwnerSyncer owns the fields that the syncer applies.
	FieldOwnerSyncer = "workload.kcp.io/syncer"

	// PlacementFinalizer holds a Placement until its Namespaces are withdrawn, or another Placement counts for them: so the
	// deletion of a Placement is always seen, and never inferred from its absence.
	PlacementFinalizer = "workload.kcp.io/placement"
	// AssignmentFinalizer holds an Assignment until its Namespace has left the SyncTarget: so neither its deletion by hand nor that
	// of the APIBinding takes away the record of what runs there.
	AssignmentFinalizer = "workload.kcp.io/assignment"
	// AnnotationPlacement tells on a Namespace, as JSON, which Placement counts for it, where it is and what is awaited. It is for
	// display. Only where Assignments of a Namespace are gone is it read, to make them anew.
	AnnotationPlacement = "workload.kcp.io/placement"
	// AnnotationRestored marks an Assignment that was lost and made anew: the syncer has its rights in the Namespace, and may have
	// copies. It says when the lost one was created, or "true" where that does not matter.
	AnnotationRestored = "workload.kcp.io/restored"
	// TaintUnschedulable is on a SyncTarget with spec.unschedulable or spec.drain.
	TaintUnschedulable = "workload.kcp.io/unschedulable"
	// TaintUnreachable is on a SyncTarget whose syncer is silent.
	TaintUnreachable = "workload.kcp.io/unreachable"
	// FieldOwnerScheduler owns the fields that the scheduler applies.
	FieldOwnerScheduler = "workload.kcp.io/scheduler"

	// LabelSync set to "false" keeps an object of an assigned Namespace from being synced. An object that is never synced and has
	// it set to "true" gets a Warning Event that says why.
	LabelSync = "workload.kcp.io/sync"
	// SyncerFinalizerPrefix and a key make the finalizer that holds a user's object while a copy of it exists.
	SyncerFinalizerPrefix = "workload.kcp.io/syncer-"
	// AnnotationSyncPrefix and a key make the annotation, a small JSON, that tells how the copy of an object fares.
	AnnotationSyncPrefix = "workload.kcp.io/sync-"
	// AnnotationTakeOver set to "true" lets the syncer take fields of a copy over from their owners.
	AnnotationTakeOver = "workload.kcp.io/take-over"
	// AnnotationCascade set to Orphan, Foreground or Background says how the copy of an object is deleted with it, where
	// `kubectl delete --cascade` cannot be relied on, as while no syncer runs.
	AnnotationCascade = "workload.kcp.io/cascade"
	// AnnotationAdopt set to a key lets that SyncTarget's syncer take over an object in the physical cluster that
	// is not its own.
	AnnotationAdopt = "workload.kcp.io/adopt"
	// AnnotationNamespace names, on downstream objects, the Namespace of the workspace that they belong to.
	AnnotationNamespace = "workload.kcp.io/namespace"
	// AnnotationSourceUID names, on copies, the UID of the object that they are copies of.
	AnnotationSourceUID = "workload.kcp.io/source-uid"
	// AnnotationSourceName repeats, on copies, their name: what somebody makes of a copy under another is no copy.
	AnnotationSourceName = "workload.kcp.io/source-name"
	// AnnotationSourceGeneration names, on copies, the generation of the object that was applied.
	AnnotationSourceGeneration = "workload.kcp.io/source-generation"

	// DefaultKubeconfigKey is the key read from the referenced Secret when the reference names none.
	DefaultKubeconfigKey = "kubeconfig"
)

const (
	keyLength = 16
	// namespaceMaxLength is the longest DNS label (RFC 1123).
	namespaceMaxLength = 63
	namespacePrefix    = "kcp-syncer-"
)

// Key identifies a SyncTarget in labels and names, in every workspace and in every physical cluster:
// 16 base36 characters (about 82 bits) of the SHA-256 of the logical cluster and the name.
func Key(clusterName, name string) string {
	return base36(clusterName + "/" + name)
}

// base36 is keyLength base36 characters of the SHA-256 of s.
func base36(s string) string {
	sum := sha256.Sum256([]byte(s))
	text := new(big.Int).SetBytes(sum[:]).Text(36)
	if missing := keyLength - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	return text[len(text)-keyLength:]
}

// SyncTargetFinalizer is the finalizer by which the SyncTarget with this key holds another object.
func SyncTargetFinalizer(key string) string { return SyncTargetFinalizerPrefix + key }

// SyncerNamespace is the Namespace of a SyncTarget's syncer in the physical cluster, and of the syncer's
// identity in the workspace: a valid DNS label, unique by the key, readable by the name.
func SyncerNamespace(name, key string) string {
	name = strings.ReplaceAll(name, ".", "-")
	if room := namespaceMaxLength - len(namespacePrefix) - len("-") - len(key); len(name) > room {
		name = strings.TrimRight(name[:room], "-")
	}
	return namespacePrefix + name + "-" + key
}

// SyncerFinalizer is the finalizer by which the syncer of the SyncTarget with this key holds an object.
func SyncerFinalizer(key string) string { return SyncerFinalizerPrefix + key }

// SyncAnnotation is the annotation in which the syncer of the SyncTarget with this key reports on an object.
func SyncAnnotation(key string) string { return AnnotationSyncPrefix + key }

// AssignmentName is the name of the Assignment of a Namespace: 16 base36 characters of the SHA-256 of its UID.
func AssignmentName(namespaceUID types.UID) string { return base36(string(namespaceUID)) }
