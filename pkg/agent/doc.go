// Package agent is what is installed for one SyncTarget: the syncer in the physical cluster, and its identity in the
// workspace.
//
// Manifests are pure functions of a Config (downstream.go, deployment.go, identity.go; golden files in testdata). Apply
// brings a cluster to them and writes only what differs; Remove takes them away again, and only what carries the
// target's key and UID; Rollout says what the syncer's Deployment is waiting for. The controller uses all of it; in pull
// mode the user applies what Render prints.
//
// An assigned Namespace has a Grant in the workspace and a DownstreamNamespace in the physical cluster, which goes when its contents
// show nothing of others. Strip lets the users' objects go in the place of a syncer that is gone, if need be as a user whom
// Admit has let in.
//
// What is on the server decides, never what an earlier call has seen, so each may be called again after any failure.
package agent
