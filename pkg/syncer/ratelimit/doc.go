// Package ratelimit limits the requests of the syncer to one API server. A request with a deadline belongs to a pass
// over an object, one without a deadline to an informer. Neither kind waits for the other.
//
//	limiter.go  a token bucket for the passes, and one for the informers
//	clients.go  the clients that share them
//	retry.go    requests of a pass are not retried by client-go: the queue does that
package ratelimit
