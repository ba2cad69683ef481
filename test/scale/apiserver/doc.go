// Package apiserver serves Kubernetes objects from memory, as far as the clients of the controller need: get, list, watch,
// create, update, patch and delete, in any number of logical clusters. It stands for kcp and for physical clusters where there
// are more of them than a machine can run.
//
// It differs from an API server in these points: it neither validates, sets defaults nor authorizes; an apply merges maps,
// replaces lists and removes nothing; it returns every list as a whole; and a Namespace that is deleted takes nothing with it.
package apiserver
