package transform

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Allocated returns, by field path, the addresses, ports and volumes that the physical cluster has allocated to a
// copy: {"spec.clusterIP": "10.0.0.7", "spec.ports[http].nodePort": "30080"}. What desired sets is not allocated, and
// not returned. Only Services and PersistentVolumeClaims have such fields. The result is nil if there is none.
func Allocated(live, desired *unstructured.Unstructured) map[string]string {
	if live == nil {
		return nil
	}
	allocated := allocations{}
	switch live.GroupVersionKind().GroupKind() {
	case serviceKind:
		allocated.addService(specOf(live), specOf(desired))
	case claimKind:
		allocated.add("spec.volumeName", specOf(live)["volumeName"], specOf(desired)["volumeName"])
	}
	if len(allocated) == 0 {
		return nil
	}
	return allocated
}

// allocations are values by field path.
type allocations map[string]string

func (a allocations) addService(live, desired map[string]any) {
	a.add("spec.clusterIP", live["clusterIP"], desired["clusterIP"])
	// The first of clusterIPs is clusterIP. A Service with two IP families has a second one.
	addresses, wanted := listOf(live["clusterIPs"]), listOf(desired["clusterIPs"])
	for i := 1; i < len(addresses); i++ {
		var want any
		if i < len(wanted) {
			want = wanted[i]
		}
		a.add(fmt.Sprintf("spec.clusterIPs[%d]", i), addresses[i], want)
	}
	a.add("spec.healthCheckNodePort", live["healthCheckNodePort"], desired["healthCheckNodePort"])
	for _, item := range listOf(live["ports"]) {
		port, _ := item.(map[string]any)
		want := portLike(listOf(desired["ports"]), port)
		a.add(fmt.Sprintf("spec.ports[%s].nodePort", portLabel(port)), port["nodePort"], want["nodePort"])
	}
}

// add adds a value, unless it stands for none or is wanted by the user. Zero and "" ask for an allocation.
func (a allocations) add(path string, live, desired any) {
	if !isEmpty(live) && live != corev1.ClusterIPNone && isEmpty(desired) {
		a[path] = fmt.Sprint(live)
	}
}

// portLike returns the port that has the name, or, if there is none, the number of another.
func portLike(ports []any, like map[string]any) map[string]any {
	for _, item := range ports {
		if port, ok := item.(map[string]any); ok && portLabel(port) == portLabel(like) {
			return port
		}
	}
	return nil
}

// portLabel is the name of a port, or its number if it has none: only a single port need not have a name.
func portLabel(port map[string]any) string {
	if name, ok := port["name"].(string); ok && name != "" {
		return name
	}
	return fmt.Sprint(port["port"])
}

func specOf(object *unstructured.Unstructured) map[string]any {
	if object == nil {
		return nil
	}
	spec, _ := object.Object["spec"].(map[string]any)
	return spec
}

func listOf(value any) []any {
	list, _ := value.([]any)
	return list
}

// isEmpty tells whether a value is absent, or the zero value that an API server does not tell from an absent one.
func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case bool:
		return !value
	case int64:
		return value == 0
	case float64:
		return value == 0
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}
