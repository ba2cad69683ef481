// Package console runs the commands that pages show, and compares what they print with what the pages say.
//
// A page marks such commands by the info string of their fenced block, "console run":
//
//	$ kubectl get synctargets
//	NAME   READY   PHASE   CLUSTER     HEARTBEAT   AGE
//	demo   True    Ready   cluster-1   1s          …
//	$ kubectl apply -f - <<EOF
//	> kind: ConfigMap
//	> EOF
//	…
//
// parse.go reads the commands, run.go runs those of a page in one bash, match.go compares the output, and diff.go
// describes what differs. `go test -tags docs ./test/docs/console` runs the pages, in the environment of `make demo`.
package console
