// Package placement keeps the Placements and Assignments of each workspace as pkg/scheduler says.
//
// A pass is about one workspace:
//
//	watch.go       what makes a pass: one request per workspace
//	reconcile.go   read, plan, read again live what the plan rests on, plan again, write
//	read.go        the workspace as the scheduler sees it
//	gone.go        which Namespaces that cannot be seen are known to be gone
//	unrecorded.go  which Assignments were lost
//	withhold.go    what is not done while the APIBinding is being deleted
//	write.go       the writes of a pass, in order, and what becomes of those that fail
//	patch.go       one write each
//
// A pass that finds everything as it should be sends no request. One that writes Assignments reads them live first, so that neither a
// cache that lags nor another scheduler, at a change of leader, leads to a second decision. One that withdraws reads everything live.
package placement
