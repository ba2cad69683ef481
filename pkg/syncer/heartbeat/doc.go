// Package heartbeat keeps kcp informed that this syncer is alive and what its cluster has to offer.
//
// Every replica runs a Sender. In every interval it does this:
//
//	probe    read the physical cluster live; a cluster that does not answer gets no heartbeat
//	measure  (leader only) version, ready nodes, capacity, allocatable
//	report   (leader only) one JSON patch of the Lease in the workspace, and one of status.syncer when that has changed
//
// Both patches test the SyncTarget's UID. Where there is no Lease, or it may not be renewed, the heartbeat is one JSON patch of
// the SyncTarget's status, which sets lastHeartbeatTime, and the Lease is tried again later. A patch of the status
// without status.syncer tests that the cluster ID there is still ours: a heartbeat must never pass as another
// cluster's. What fails is retried with a backoff from one second up to the interval. Nothing is ever deleted,
// and a SyncTarget that was recreated under the same name is left alone. If the answers of kcp say that the syncer is
// orphaned (package orphan), Start returns.
//
// sender.go is the loop, attempt.go one attempt to send a heartbeat, lease.go the choice between Lease and status; measure.go,
// patch.go and pace.go are pure; failure.go says what a failure means to an operator; readiness.go answers /readyz.
package heartbeat
