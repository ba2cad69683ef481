// Package heartbeat keeps kcp informed that this syncer is alive and what its cluster has to offer.
//
// Every replica runs a Heart; every interval it beats:
//
//	probe    read the physical cluster live; a cluster that does not answer gets no heartbeat
//	measure  (leader only) version, ready nodes, capacity, allocatable
//	report   (leader only) one JSON patch of the SyncTarget's status, testing its UID
//
// The patch sets lastHeartbeatTime, and status.syncer when it differs from what was last accepted. A patch
// without status.syncer tests that the cluster ID there is still ours: a heartbeat must never pass as another
// cluster's. What fails is retried with a backoff from one second up to the interval. Nothing is ever deleted,
// and a SyncTarget that was recreated under the same name is left alone. If the answers of kcp say that the syncer is
// orphaned (package orphan), Start returns.
//
// heart.go is the loop, beat.go one round of it; measure.go, patch.go and pace.go are pure; failure.go says what
// a failure means to an operator; vitals.go answers /readyz.
package heartbeat
