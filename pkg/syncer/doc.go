// Package syncer is the agent that runs in a physical cluster on behalf of one SyncTarget: it puts the parts
// together. Its command line is package options, its installer package agent.
//
//	kubeconfig  reads a kubeconfig strictly
//	upstream    the SyncTarget in kcp
//	downstream  the physical cluster
//	heartbeat   reports upstream what is measured downstream
package syncer
