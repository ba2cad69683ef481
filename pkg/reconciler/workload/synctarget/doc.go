// Package synctarget reconciles SyncTargets in every workspace that binds the APIExport workload.kcp.io.
//
// The life of a SyncTarget is two lists in controller.go. While it lives, three phases run in order, each
// owning one condition: validate (Valid), deploy (Deployed), health (Ready). When it is being deleted, steps
// run in order, each holding the next back until it is done: the agent, the identity, the hold on the Secret,
// the finalizer.
//
// A phase returns a verdict and writes no status; status.go turns the verdicts into conditions and sends one
// patch, or none when nothing changed. Heartbeats are judged by when this controller saw them change (see
// heartbeat.go), so no clock but its own matters.
package synctarget
