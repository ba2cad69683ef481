// Package cache holds what one API server shows of one resource in one Namespace.
//
//	resource.go  ResourceCache: the informer, the changes that wait for a pass, why the server refuses a list
//	health.go    whether the lists and watches of the informer fail
//	assumed.go   Assumed: the informer's store with the answers to our own writes on top
//	packed.go    objects as JSON, as the informers keep them
package cache
