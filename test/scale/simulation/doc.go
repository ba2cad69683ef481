// Package simulation stands for everything that the controller speaks to: a kcp with workspaces and SyncTargets, physical
// clusters, and the syncers in them with their heartbeats. All of it is in memory, and served over HTTPS on loopback, so that one
// machine carries thousands.
package simulation
