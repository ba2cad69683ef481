package sync

import (
	"strings"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// persistentVolumeClaims are the claims of which it is counted how many are bound.
var persistentVolumeClaims = workloadv1alpha1.GroupResource{Resource: "persistentvolumeclaims"}

// runsOnFirstAlone tells whether a resource has copies on the first of the clusters of a Namespace alone: a Job that runs on each
// runs more than once, and a claim would get a volume on each.
func runsOnFirstAlone(resource workloadv1alpha1.GroupResource) bool {
	switch resource {
	case persistentVolumeClaims, workloadv1alpha1.GroupResource{Group: "batch", Resource: "jobs"}, workloadv1alpha1.GroupResource{Group: "batch", Resource: "cronjobs"}:
		return true
	}
	return false
}

// serves tells whether a Namespace is available only when the copies of a resource are ready: workloads that run on and on, and
// everything that is not of Kubernetes itself, of which the syncer knows no better. A load balancer that is pending, or a claim
// that waits for its first consumer, holds up nothing.
func serves(resource workloadv1alpha1.GroupResource) bool {
	switch resource.Group {
	case "":
		return resource.Resource == "pods"
	case "apps":
		switch resource.Resource {
		case "deployments", "statefulsets", "daemonsets", "replicasets":
			return true
		}
		return false
	}
	return strings.Contains(resource.Group, ".") && !strings.HasSuffix(resource.Group, ".k8s.io")
}
