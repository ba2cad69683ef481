// Package source is what the sync knows of the place that objects come from.
//
// The sync makes copies of what a Source yields: for each object its logical cluster, Namespace, resource, name, UID,
// generation and content, and what is to become of the copies of its Namespace (Intent). It gives back the status of the
// copy and a report. Only an implementation knows where the objects are kept, by which requests they are read and
// written, and what an answer to such a request means. There is one implementation: package workspace, in which the
// source is the workspace of the SyncTarget.
//
//	source.go   Source, Plan and Assignment: what is to be synced; Report: how it fares
//	objects.go  Objects: reads of and writes to the objects of one resource
//	workspace/  the source that is one workspace of kcp
package source
