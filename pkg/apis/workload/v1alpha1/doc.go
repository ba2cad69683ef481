// Package v1alpha1 is the API of the SyncTarget service, group workload.kcp.io.
//
// A SyncTarget stands for one physical Kubernetes cluster that a workspace has registered. This package
// holds the types, the condition types and reasons (a contract: users and scripts rely on them), and the
// names of labels, annotations, finalizers and field owners. It imports nothing but apimachinery, so that
// anyone can depend on it.
//
// +kubebuilder:object:generate=true
// +groupName=workload.kcp.io
package v1alpha1
