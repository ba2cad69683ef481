// Package transform holds the pure functions between an object of the workspace and its copy in the physical cluster.
//
//	copy.go         Owner.Copy: what an object becomes in the physical cluster
//	wanted.go       IsWanted: whether an object is to have a copy; NotSynced, NeverSynced: why not
//	namespaces.go   names and selectors of Namespaces inside objects
//	match.go        Matches, Differences: whether a copy still is what was applied, and where it is not
//	defaults.go     WithDefaults: what is applied to a copy that there is, with the defaults of a fresh one
//	without.go      Without: an object without the fields that are left to others
//	allocated.go    Allocated: what the physical cluster has allocated to a copy
//	propagation.go  Propagation: how the copy of a deleted object is deleted
//
//	compare.go      the walk along two objects, and the notation of its paths
//	normalize.go    the form in which an API server stores an object
//	derived.go      the fields that belong to one object alone
//
// Owner.Copy is held by golden files: testdata/<case>.in.yaml is an object, <case>.out.yaml its copy.
package transform
