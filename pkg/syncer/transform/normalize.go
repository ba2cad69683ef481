package transform

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// normalized returns what is desired in the form in which an API server stores it: quantities, times and encoded
// bytes are in their canonical form, and a zero value that the Go type of its kind omits is unstored. It has the
// fields of desired and no others. Fields that the Go type does not know, being newer, are as they are.
//
// A server stores an object of a custom kind as it was written, so such an object is returned as it is. So is one
// that cannot be converted, since its server refuses it.
func normalized(desired *unstructured.Unstructured) any {
	typed, unknown, err := typedForm(desired)
	if err != nil {
		return desired.Object
	}
	return normalizer{unknown: unknown}.fields("", desired.Object, typed)
}

// unstored is a zero value that an API server does not tell from an absent one. It is absent from what the server
// returns, unless defaulted, which means that the server then sets the field itself.
type unstored struct {
	value     any
	defaulted bool
}

// defaultedFields are the fields of built-in kinds that a server sets if they are written as zero, "" or an empty
// list. They are no pointers in Go; a zero value in a pointer is stored.
var defaultedFields = toSet(
	// Service: defaulted, and allocated.
	"type", "sessionAffinity", "externalTrafficPolicy", "protocol", "targetPort",
	"clusterIP", "clusterIPs", "ipFamilies", "nodePort", "healthCheckNodePort",
	// Pod template.
	"dnsPolicy", "restartPolicy", "schedulerName", "serviceAccount", "serviceAccountName",
	"imagePullPolicy", "pullPolicy", "terminationMessagePath", "terminationMessagePolicy", "hostPort",
	// Its probes, and the sources of its environment and volumes.
	"timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold", "path", "scheme", "apiVersion",
	"iscsiInterface", "pool", "user", "keyring", "storageMode", "fsType",
	// StatefulSet, CronJob, and the patterns in a Job's podFailurePolicy.
	"podManagementPolicy", "whenDeleted", "whenScaled", "concurrencyPolicy", "status",
	// PersistentVolumeClaim: set when it is bound.
	"volumeName",
	// NetworkPolicy.
	"policyTypes",
)

// typedForm is an object of a built-in kind after a conversion to its Go type and back, with the errors by which the
// conversion names the fields that are unknown to the type.
func typedForm(object *unstructured.Unstructured) (form map[string]any, unknown map[string]bool, err error) {
	typed, err := scheme.Scheme.New(object.GroupVersionKind())
	if err != nil {
		return nil, nil, err
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		unknown = map[string]bool{}
		for _, e := range strict.Errors() {
			unknown[e.Error()] = true
		}
	} else if err != nil {
		return nil, nil, err
	}
	form, err = runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, nil, err
	}
	if object.GroupVersionKind().GroupKind() == serviceKind {
		removeEmptyTargetPorts(form)
	}
	return form, unknown, nil
}

// removeEmptyTargetPorts removes the target ports that are 0 or "", which stand for the port. Go clients write 0 for
// none.
func removeEmptyTargetPorts(service map[string]any) {
	spec, _ := service["spec"].(map[string]any)
	for _, item := range listOf(spec["ports"]) {
		if port, ok := item.(map[string]any); ok && isEmpty(port["targetPort"]) {
			delete(port, "targetPort")
		}
	}
}

// normalizer knows the errors that name unknown fields.
type normalizer struct{ unknown map[string]bool }

func (n normalizer) fields(path string, written, typed map[string]any) map[string]any {
	out := make(map[string]any, len(written))
	for name, value := range written {
		at := name
		if path != "" {
			at = path + "." + name
		}
		stored, isStored := typed[name]
		switch {
		case n.isUnknown(at):
			out[name] = value
		case isStored:
			out[name] = n.value(at, value, stored)
		default:
			out[name] = unstored{value: value, defaulted: defaultedFields[name]}
		}
	}
	return out
}

func (n normalizer) value(path string, written, typed any) any {
	switch written := written.(type) {
	case nil:
		return nil
	case map[string]any:
		if typed, ok := typed.(map[string]any); ok {
			return n.fields(path, written, typed)
		}
	case []any:
		if typed, ok := typed.([]any); ok && len(typed) == len(written) {
			return n.items(path, written, typed)
		}
	}
	return typed
}

func (n normalizer) items(path string, written, typed []any) []any {
	out := make([]any, len(written))
	for i := range written {
		out[i] = n.value(fmt.Sprintf("%s[%d]", path, i), written[i], typed[i])
	}
	return out
}

func (n normalizer) isUnknown(path string) bool {
	return len(n.unknown) > 0 && n.unknown[fmt.Sprintf(`unknown field "%s"`, path)]
}

func toSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
