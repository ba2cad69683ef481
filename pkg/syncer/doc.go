// Package syncer is the agent that runs in a physical cluster on behalf of one SyncTarget: it puts the parts
// together. Its command line is package options, its installer package agent.
//
//	kubeconfig  reads a kubeconfig strictly
//	upstream    the SyncTarget in kcp
//	source      where the objects come from, and where reports go; workspace below it
//	sync        the copies of these objects, and what is reported of them
//	downstream  the physical cluster
//	heartbeat   reports upstream what is measured downstream
//	orphan      waits while there is no SyncTarget to act for
package syncer
