package naming

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	kcpDomain = "kcp.io"
	// labelPrefixMaxLength is the longest prefix of a label key that Kubernetes accepts.
	labelPrefixMaxLength = 253
	// keptPrefixMaxLength is the longest prefix that NamespaceLabel keeps.
	keptPrefixMaxLength = labelPrefixMaxLength - len(".") - len(workloadv1alpha1.LabelDomainNamespace)
)

// NamespaceLabel returns the label key by which a downstream Namespace repeats a label of its Namespace of the workspace.
// Only the prefix of the key changes: "team" becomes "namespace.workload.kcp.io/team", and "example.com/team" becomes
// "example.com.namespace.workload.kcp.io/team".
//
// Different keys give different keys, and a valid key gives a valid one. Invalid characters are kept, so that the physical
// cluster refuses a selector with them. A prefix that is too long is replaced by its hash. A hash is followed by "-", and
// every other prefix by ".", so the two cannot be equal.
func NamespaceLabel(key string) string {
	const domain = workloadv1alpha1.LabelDomainNamespace
	prefix, name, found := strings.Cut(key, "/")
	switch {
	case !found:
		return domain + "/" + key
	case len(prefix) > keptPrefixMaxLength:
		return hash(prefix) + "-" + domain + "/" + name
	default:
		return prefix + "." + domain + "/" + name
	}
}

// IsNamespaceLabel tells whether NamespaceLabel has made a label key.
func IsNamespaceLabel(key string) bool {
	prefix, _, found := strings.Cut(key, "/")
	return found && strings.HasSuffix(prefix, workloadv1alpha1.LabelDomainNamespace)
}

// NamespaceLabels returns the labels by which a downstream Namespace repeats these labels of its Namespace of the
// workspace. Labels of kcp have no meaning in the physical cluster and are left out. So is the label with the name, because
// the physical cluster sets its own.
func NamespaceLabels(labels map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range labels {
		if key != corev1.LabelMetadataName && !isKcpLabel(key) {
			out[NamespaceLabel(key)] = value
		}
	}
	return out
}

func isKcpLabel(key string) bool {
	prefix, _, found := strings.Cut(key, "/")
	return found && (prefix == kcpDomain || strings.HasSuffix(prefix, "."+kcpDomain))
}
