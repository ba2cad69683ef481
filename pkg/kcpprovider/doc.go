// Package kcpprovider provides the logical clusters that bind an APIExport to multicluster-runtime.
//
// The Supervisor watches the APIExportEndpointSlice of the export and runs one endpoint for each URL in it. An endpoint
// waits until every kind can be listed there, fills its caches, and engages the logical clusters with a bound APIBinding.
// Endpoints are independent of each other: one that does not answer delays none of the others, and is served as soon as it does.
//
// The caches are those of the kcp provider of multicluster-runtime, github.com/kcp-dev/multicluster-provider. Its
// pkg/provider is not used: it waits for all endpoints in one goroutine, gives up on one that it could not watch, and adds
// one handler per logical cluster to each informer, so that an event costs as much as there are logical clusters.
package kcpprovider
