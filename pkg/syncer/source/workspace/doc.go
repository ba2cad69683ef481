// Package workspace is the source that is one workspace of kcp: the one that the SyncTarget is in.
//
//	source.go      Source: clients, discovery, the watches of the SyncTarget and its Assignments
//	plan.go        what the SyncTarget and its Assignments say is to be synced
//	assignments.go reads of the Assignments, and reports in their status
//	sharedread.go  live reads of the SyncTarget and its Assignments, which passes share
//	status.go      reports in the status of the SyncTarget
//	objects.go     reads of and writes to the objects
//	events.go      Events about the objects
package workspace
