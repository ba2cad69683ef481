package transform

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

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
// that its author decides, and nothing that belongs to the server it comes from. It carries the owner's mark and the hash
// of itself. The same object gives the same copy.
func (o Owner) Copy(source *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	gvk := source.GroupVersionKind()
	object := source.DeepCopy().Object
	delete(object, "status")
	delete(object, "metadata")
	for _, field := range removedFields[gvk.GroupKind()] {
		unstructured.RemoveNestedField(object, field...)
	}
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Service"}:
		withoutNodePorts(object)
		if isHeadless(source) {
			_ = unstructured.SetNestedField(object, corev1.ClusterIPNone, "spec", "clusterIP")
		}
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		withoutControllerUID(object)
	}

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

// removedFields are the fields that mean nothing in the physical cluster: most may have been set by the server of the workspace,
// or a controller there, and only the server of the physical cluster can set them right.
var removedFields = map[schema.GroupKind][][]string{
	{Kind: "Service"}: {
		{"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "healthCheckNodePort"},
		{"spec", "ipFamilies"},
	},
	{Kind: "PersistentVolumeClaim"}: {{"spec", "volumeName"}},
	// The token Secrets that it names do not travel; a cluster makes its own.
	{Kind: "ServiceAccount"}: {{"secrets"}},
	// A copy that goes by itself before its object does would be made, and run, anew.
	{Group: "batch", Kind: "Job"}: {{"spec", "ttlSecondsAfterFinished"}},
}

// withoutNodePorts leaves the choice of node ports to the physical cluster: what is free in one is taken in the other.
func withoutNodePorts(object map[string]any) {
	ports, _, _ := unstructured.NestedSlice(object, "spec", "ports")
	for _, port := range ports {
		if port, ok := port.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	if ports != nil {
		_ = unstructured.SetNestedSlice(object, ports, "spec", "ports")
	}
}

// withoutControllerUID takes out what the Job controller of the workspace would have added, if there is one.
func withoutControllerUID(object map[string]any) {
	if manual, _, _ := unstructured.NestedBool(object, "spec", "manualSelector"); manual {
		return
	}
	unstructured.RemoveNestedField(object, "spec", "selector")
	for _, label := range []string{"controller-uid", "batch.kubernetes.io/controller-uid"} {
		unstructured.RemoveNestedField(object, "spec", "template", "metadata", "labels", label)
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

// localAnnotations are the annotations that tell of the workspace's own copy.
var localAnnotations = []string{
	corev1.LastAppliedConfigAnnotation,
	"deployment.kubernetes.io/revision",
	// A claim that says it is bound, and names no volume, is taken for lost.
	"pv.kubernetes.io/bind-completed",
	"pv.kubernetes.io/bound-by-controller",
	"volume.kubernetes.io/selected-node",
	"volume.kubernetes.io/storage-provisioner",
	"volume.beta.kubernetes.io/storage-provisioner",
}

// isNeverSynced says whether an object is never synced, whatever its labels: it belongs to its side, or opens it.
func isNeverSynced(object *unstructured.Unstructured) bool {
	if object.GroupVersionKind().GroupKind() == (schema.GroupKind{Kind: "Secret"}) {
		kind, _, _ := unstructured.NestedString(object.Object, "type")
		// What is shown to the service is a kubeconfig, before a SyncTarget refers to it and after.
		shown := object.GetLabels()[workloadv1alpha1.LabelVisible] == "true"
		return shown || kind == string(corev1.SecretTypeServiceAccountToken) || slices.ContainsFunc(object.GetFinalizers(), func(f string) bool {
			return strings.HasPrefix(f, workloadv1alpha1.HoldPrefix)
		})
	}
	return object.GroupVersionKind().Group == "" && naming.IsClusterDefault(object.GetKind(), object.GetName()) && !isCustomized(object)
}

// isCustomized tells a ServiceAccount "default" to which somebody has given something that Pods want to find, such as the
// Secrets for their images, from one as every Namespace has it.
func isCustomized(object *unstructured.Unstructured) bool {
	if object.GetKind() != "ServiceAccount" {
		return false
	}
	pullSecrets, _, _ := unstructured.NestedSlice(object.Object, "imagePullSecrets")
	_, mounts := object.Object["automountServiceAccountToken"]
	return len(pullSecrets) > 0 || mounts || len(withoutLocal(object.GetLabels())) > 0 || len(withoutLocal(object.GetAnnotations())) > 0
}

// IsWanted tells whether an object of an opened Namespace is to have a copy.
func IsWanted(object *unstructured.Unstructured) bool {
	return object.GetDeletionTimestamp() == nil && object.GetLabels()[workloadv1alpha1.LabelSync] != "false" && !isNeverSynced(object)
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

// isHeadless says whether a Service asks for no address, which is the author's choice and not the server's.
func isHeadless(source *unstructured.Unstructured) bool {
	ip, _, _ := unstructured.NestedString(source.Object, "spec", "clusterIP")
	return ip == corev1.ClusterIPNone
}
