// Package ratelimit limits the requests of the syncer to one API server.
//
//	limiter.go  one token bucket, which requests of passes and of informers share
//	retry.go    requests of a pass are not retried by client-go: the queue does that
package ratelimit
