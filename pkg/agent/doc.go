// Package agent is what is installed for one SyncTarget: the syncer in the physical cluster, and its identity in the
// workspace.
//
// Manifests are pure functions of a Config (downstream.go, deployment.go, identity.go; golden files in testdata). Apply
// brings a cluster to them and writes only what differs; Remove takes them away again, and only what carries the
// target's key and UID; Rollout says what the syncer's Deployment is waiting for. The controller uses all of it; in pull
// mode the user applies what Render prints.
//
// What is on the server decides, never what an earlier call has seen, so each may be called again after any failure.
package agent
