// Package downstream is the syncer's view of the physical cluster it runs in: who the cluster is, which version
// it runs, and what its nodes have to offer.
//
// Only Nodes are cached, and of a Node only what is measured. Everything else is read live, since the point of
// reading it is to prove that the API server answers.
package downstream
