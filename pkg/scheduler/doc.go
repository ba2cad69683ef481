// Package scheduler decides on which SyncTargets the Namespaces of a workspace run. It is pure: it reads no clock and
// no server, and writes nothing. Plan takes what is known of a workspace and returns what is to be written.
//
// One pass of Plan, for all Namespaces of the workspace:
//
//	restore.go                 what was lost of the record is made anew
//	policy.go, placements.go   which Placement counts for a Namespace
//	taints.go, cluster.go      which taints a SyncTarget has now
//	settle.go, withdrawals.go  what has ended is withdrawn; too many clusters become fewer; too few become more
//	moves.go, budgets.go       moves are completed or given up; new ones begin
//	order.go                   which cluster runs Jobs, and which one writes the status
//	plan.go                    the Assignments that change
//	status_placement.go, status_target.go, placed.go, annotation.go, events.go   what is told about it
//
// Where a cluster is to be chosen, schedule.go asks the filters (filters.go, spread.go) and then the scores
// (scores.go).
//
// # What happens when
//
//	situation                                       what Plan does
//	Namespace deleted, or made anew under its name  Withdraw (NamespaceDeleted)
//	Placement deleted, no other one selects         Withdraw (PlacementDeleted)
//	no Placement selects the Namespace any more     Withdraw (PlacementChanged)
//	Placement or Namespace not to be seen           nothing, unless the SyncTarget, or the Placement, is being deleted
//	Namespace never synced any more                 Withdraw (PlacementChanged)
//	too few clusters                                Run on more of them; none fits: pending
//	too many clusters                               Withdraw (PlacementChanged), what is not known to run first
//	drain, NoExecute taint that is not tolerated    a move (Drain)
//	affinity does not hold any more                 a move (PlacementChanged)
//	unreachable for longer than is tolerated        a move (Failover); without tolerationSeconds nothing
//	former cluster fits again, failback: Automatic  a move (Failback)
//	SyncTarget being deleted                        a move (TargetDeleted); where nothing fits, after the deadline, or
//	                                                with the annotation "abandon": Withdraw; with deletionPolicy
//	                                                Orphan: Orphan
//	withdrawn, and the rights taken back            the Assignment is deleted
//	Namespace of a syncer deleted in the workspace  its Assignments are deleted with it, and made anew
//
// A move is one of these, by spec.move.purgeMode of the Placement:
//
//	Gracefully, Never  Run on another cluster, with `replaces`. When that has been available for 30 seconds, Withdraw
//	                   (with Never: Orphan) on the old one. If it is not available within the grace period, or the
//	                   cause of the move is gone, the replacement is withdrawn and the old one stays.
//	Directly           Withdraw on the old one. When its rights have been taken back, Run on another cluster.
//
// A move waits while no other cluster fits, while volumes hold the Namespace, and while as many others move as may.
// Once a Namespace runs somewhere, no pass ends the last place where it is known to run, unless the user has said so.
package scheduler
