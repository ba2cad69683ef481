// Package upstream is the syncer's way to kcp: to the workspace that the mounted kubeconfig leads to, and in it
// to the one SyncTarget that the syncer acts for.
//
// The kubeconfig comes from a Secret whose token the controller may rotate at any time. Config therefore reads
// the token from the file again within a minute, and at once after kcp has refused it.
package upstream
