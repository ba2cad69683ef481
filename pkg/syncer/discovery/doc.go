// Package discovery finds out which resources can be synced: what both sides serve, in which versions, and whether their
// schemas are compatible.
//
//	negotiate.go  Resource and how its state is found from what both sides serve
//	schemas.go    Schemas: are the published schemas of a kind compatible?
package discovery
