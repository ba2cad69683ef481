// Package kcpprovider keeps the kcp provider of multicluster-runtime serving.
//
// The provider finds the logical clusters that bind an APIExport. On its own it ends the process when kcp is not
// there at the start, never retries an endpoint that it could not watch, and retries a logical cluster that it could
// not engage only with the next event of its APIBinding. The Supervisor runs it, notices, and runs it anew with
// backoff; what is engaged and healthy meanwhile goes on until then.
package kcpprovider
