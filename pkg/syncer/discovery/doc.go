// Package discovery finds out which resources can be synced: what both sides serve, in which versions, and whether
// their schemas are compatible.
//
//	client.go     Client: what one side serves; a side that has not changed costs two small requests
//	documents.go  the cache of discovery documents, by their ETags and digests
//	negotiate.go  Resource and its state, from what both sides serve
//	schemas.go    Schemas: whether the published schemas of a kind are compatible
package discovery
