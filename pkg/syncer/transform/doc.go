// Package transform holds the pure functions between an object of the workspace and its copy in the physical cluster.
//
//	copy.go   Owner.Copy: what an object becomes in the physical cluster; IsWanted: whether it is to have a copy
//	match.go  Matches: whether a copy still is what was applied
//
// Owner.Copy is held by golden files: testdata/<case>.in.yaml is an object, <case>.out.yaml its copy.
package transform
