// Package framework is the local environment that the demo and the end-to-end tests run against: a real kcp
// and real Kubernetes clusters, pods included, on one Linux machine and without a container daemon.
//
// Everything lives below one state directory (default .local in the repository):
//
//	kcp.kubeconfig                admin of kcp, current context in workspace root
//	clusters/<name>.kubeconfig    admin of a physical cluster (cluster-1, cluster-2, …)
//	log/<process>.log             and log/<name>-audit.log: who wrote what, one JSON object a line
//	run/<process>.json            what runs, by pid and start time, and how to start it again
//	state.json                    the addresses and ports chosen by the first Up
//
// The network is built so that nothing of ours touches the machine's own rules or its outward interface. A
// bridge of our own carries 10.N.0.0/24, N being chosen so that it is free; kcp listens on the bridge's address
// (.1). Each cluster is one network namespace on that bridge with one address (.11, .12, …): its API server,
// etcd, containerd, kubelet, kube-proxy and pods live in there with their usual ports, and its iptables rules
// vanish with it. Host and pods reach kcp and the API servers at the same addresses. Pods reach nothing outside of
// 10.N.0.0/16 and find Services by name, by CoreDNS; images are imported, never pulled.
//
// Without root there is no node: give a cluster of your own (PhysicalKubeconfig). Its pods must reach kcp, which then
// listens on loopback unless KCPAddress says where. Elsewhere than on Linux nothing of this runs.
//
// Read environment.go, then up.go and down.go, which are the tables of contents. process.go runs the processes;
// fault.go breaks things for tests; package toolchain downloads or builds the programs.
package framework
