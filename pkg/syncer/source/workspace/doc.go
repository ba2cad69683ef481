// Package workspace is the source that is one workspace of kcp: the one that the SyncTarget is in.
//
//	source.go      Source: clients, discovery, the watch of the SyncTarget
//	plan.go        what the SyncTarget says is to be synced
//	sharedread.go  live reads of the SyncTarget, which passes share
//	status.go      writes to the status of the SyncTarget
//	objects.go     reads of and writes to the objects
//	events.go      Events about the objects
package workspace
