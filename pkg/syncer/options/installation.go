package options

const (
	// InstalledName is the name of the syncer's ServiceAccount, Role, RoleBinding and Deployment, and of its RoleBinding in each
	// downstream Namespace.
	InstalledName = "syncer"
	// CredentialsName is the Secret with the syncer's kubeconfig of its workspace.
	CredentialsName = "kcp"

	rbacGroup = "rbac.authorization.k8s.io"
)

// InstalledObject names an object of the syncer's installation in the physical cluster. Its API version is v1.
type InstalledObject struct {
	Group, Resource string
	// Namespace is empty for an object of the whole cluster.
	Namespace, Name string
}

// Installation returns what is installed for the syncer with this Namespace of its own. The syncer may watch these objects by
// name, and reports changes of them. The Deployment is not among them: the controller watches it itself.
func Installation(namespace string) []InstalledObject {
	return []InstalledObject{
		{Resource: "namespaces", Name: namespace},
		{Group: rbacGroup, Resource: "clusterroles", Name: namespace},
		{Group: rbacGroup, Resource: "clusterroles", Name: SyncRole(namespace)},
		{Group: rbacGroup, Resource: "clusterrolebindings", Name: namespace},
		{Resource: "serviceaccounts", Namespace: namespace, Name: InstalledName},
		{Resource: "secrets", Namespace: namespace, Name: CredentialsName},
		{Group: rbacGroup, Resource: "roles", Namespace: namespace, Name: InstalledName},
		{Group: rbacGroup, Resource: "rolebindings", Namespace: namespace, Name: InstalledName},
	}
}

// InstalledIn returns what is installed for the syncer in a downstream Namespace, besides that Namespace itself.
func InstalledIn(downstreamNamespace string) InstalledObject {
	return InstalledObject{Group: rbacGroup, Resource: "rolebindings", Namespace: downstreamNamespace, Name: InstalledName}
}

// SyncRole is the ClusterRole that says what the syncer with this Namespace may do in a downstream Namespace.
func SyncRole(namespace string) string { return namespace + ":sync" }
