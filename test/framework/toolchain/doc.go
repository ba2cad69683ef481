// Package toolchain provides the programs that the local environment runs: kcp, etcd, Kubernetes, CoreDNS and kubectl.
//
// A program comes from an official release, if releases.json has a checksum for it and the download works, or is built
// from its Go module below test/tools. Either way it is put into the cache once per version. Programs become available
// one after the other: Start returns at once, and Path waits for one program, so that etcd, the API server and kcp can
// start while kubelet is still being compiled.
//
// source.go lists what is built and in which order, build.go builds, release.go and download.go download.
package toolchain
