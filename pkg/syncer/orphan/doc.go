// Package orphan decides whether a syncer is orphaned, and waits while it is. A syncer is orphaned if the SyncTarget that
// it acts for does not exist any more, or if kcp does not accept its token any more.
//
//	answer.go    what an answer of kcp says about the SyncTarget; pure
//	detector.go  which answers make a syncer orphaned; pure
//	waiter.go    one request every five minutes, until the SyncTarget exists again
//
// An orphaned syncer deletes nothing: that kcp does not know the SyncTarget is not an order to remove workloads.
package orphan
