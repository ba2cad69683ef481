// Package installation reports changes of what is installed for the syncer in its own cluster: its Namespace,
// ServiceAccount, roles and bindings, the Secret with its credentials, and its RoleBinding in each downstream Namespace.
//
// The controller repairs what somebody changes or deletes there. It watches nothing but the syncer's Deployment, since it
// serves many clusters; the syncer sees the rest for nothing. The Reporter watches these objects by name, their metadata
// alone. It writes a hash of what they are into status.installationHash of the SyncTarget whenever that changes. The
// controller then reads them all again. That the syncer may no longer see an object is part of the hash: its token or its
// rights are then what was changed, and the report goes to kcp with another token.
//
// The hash depends on nothing but the cluster. So a restart, or another leader, writes nothing.
//
// reporter.go decides and writes, watch.go watches one object, hash.go is pure.
package installation
