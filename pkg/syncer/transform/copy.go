package transform

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// Owner is whose copies they are.
type Owner struct {
	// Key and UID of the SyncTarget, and its name.
	Key, UID, Name string
	// Workspace is its logical cluster.
	Workspace string
}

// Copy returns what an object of the workspace is in the physical cluster, ready for a server-side apply: everything
// that its author decides, and nothing that belongs to the server it comes from. It carries the owner's mark and the
// hash of itself. The same object gives the same copy.
func (o Owner) Copy(source *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	gvk := source.GroupVersionKind()
	object := source.DeepCopy().Object
	delete(object, "status")
	delete(object, "metadata")
	for _, field := range removedFields[gvk.GroupKind()] {
		unstructured.RemoveNestedField(object, field...)
	}
	if gvk.GroupKind() == jobKind {
		withoutControllerUID(object)
	}
	o.translateNamespaces(object, gvk.GroupKind())

	c := &unstructured.Unstructured{Object: object}
	c.SetName(source.GetName())
	c.SetNamespace(naming.Namespace(o.Key, source.GetNamespace()))
	labels := withoutLocal(source.GetLabels())
	labels[workloadv1alpha1.LabelKey] = o.Key
	labels[workloadv1alpha1.LabelUID] = o.UID
	annotations := withoutLocal(source.GetAnnotations())
	annotations[workloadv1alpha1.AnnotationWorkspace] = o.Workspace
	annotations[workloadv1alpha1.AnnotationSyncTarget] = o.Name
	annotations[workloadv1alpha1.AnnotationNamespace] = source.GetNamespace()
	annotations[workloadv1alpha1.AnnotationSourceUID] = string(source.GetUID())
	annotations[workloadv1alpha1.AnnotationSourceName] = source.GetName()
	if generation := source.GetGeneration(); generation > 0 {
		annotations[workloadv1alpha1.AnnotationSourceGeneration] = strconv.FormatInt(generation, 10)
	}
	c.SetLabels(labels)
	c.SetAnnotations(annotations)

	hash, err := Hash(c.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %q: %w", gvk.Kind, source.GetName(), err)
	}
	annotations[workloadv1alpha1.AnnotationAppliedHash] = hash
	c.SetAnnotations(annotations)
	return c, nil
}

var (
	serviceKind        = schema.GroupKind{Kind: "Service"}
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
	claimKind          = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	jobKind            = schema.GroupKind{Group: "batch", Kind: "Job"}
	ingressKind        = schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}
)

// removedFields are the fields that mean nothing in the physical cluster. Whatever else is in the spec, the user has
// written: no allocator and no controller runs in a workspace. It is applied, and the physical cluster judges it.
var removedFields = map[schema.GroupKind][][]string{
	// The Secrets with tokens are not synced. A cluster makes its own.
	serviceAccountKind: {{"secrets"}},
	// The physical cluster would delete the copy before its object, and the syncer would create it, and run it, again.
	jobKind: {{"spec", "ttlSecondsAfterFinished"}},
}

// controllerUIDLabels hold the UID of a Job. The physical cluster sets them to the UID of the copy.
var controllerUIDLabels = []string{"controller-uid", batchv1.ControllerUidLabel}

// withoutControllerUID removes the UID of another Job, as in a manifest that was read from a cluster. A Job with a
// manual selector may use the labels as it likes.
func withoutControllerUID(object map[string]any) {
	if manual, _, _ := unstructured.NestedBool(object, "spec", "manualSelector"); manual {
		return
	}
	for _, label := range controllerUIDLabels {
		unstructured.RemoveNestedField(object, "spec", "selector", "matchLabels", label)
		unstructured.RemoveNestedField(object, "spec", "template", "metadata", "labels", label)
	}
	removeEmptyMap(object, "spec", "selector", "matchLabels")
	removeEmptyMap(object, "spec", "selector")
}

// removeEmptyMap removes a field whose value is an empty map.
func removeEmptyMap(object map[string]any, fields ...string) {
	if value, found, err := unstructured.NestedMap(object, fields...); err == nil && found && len(value) == 0 {
		unstructured.RemoveNestedField(object, fields...)
	}
}

// withoutLocal are the labels or annotations that have a meaning in the physical cluster too.
func withoutLocal(in map[string]string) map[string]string {
	out := maps.Clone(in)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(name, _ string) bool {
		prefix, _, found := strings.Cut(name, "/")
		return found && (prefix == "kcp.io" || strings.HasSuffix(prefix, ".kcp.io")) || slices.Contains(localAnnotations, name)
	})
	return out
}

// localAnnotations are written by the controllers or the clients of one cluster, about the object there.
var localAnnotations = []string{
	// The manifest as kubectl applied it upstream.
	corev1.LastAppliedConfigAnnotation,
	// The Deployment controller of the physical cluster counts its own revisions.
	"deployment.kubernetes.io/revision",
	// A claim that is annotated as bound, but is not bound in the physical cluster, is taken for lost there. A claim
	// that names its volume is bound to it by the controllers of the physical cluster, which then annotate it.
	"pv.kubernetes.io/bind-completed",
	"pv.kubernetes.io/bound-by-controller",
	// The scheduler names a Node and the volume controller a provisioner, both of their own cluster.
	"volume.kubernetes.io/selected-node",
	"volume.kubernetes.io/storage-provisioner",
	"volume.beta.kubernetes.io/storage-provisioner",
}

// Hash identifies a content; maps are encoded in the order of their keys.
func Hash(content any) (string, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%x", sum[:16]), nil
}
