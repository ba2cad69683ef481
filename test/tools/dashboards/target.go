package main

// target shows the syncer of one SyncTarget.
var target = board{
	Title: "SyncTarget", UID: "synctarget-target",
	// A syncer has a Namespace of its own, kcp-syncer-<name>-<key>.
	Variable: &variable{Name: "namespace", Label: "Namespace of the syncer", Metric: "synctarget_syncer_queue_depth"},
	Rows: []row{
		{"Connection", []panel{
			{
				Title: "Time since the last heartbeat", Unit: "s",
				Description: "That kcp accepted, by the clock of the syncer.",
				Queries:     []query{{`time() - max(synctarget_syncer_last_accepted_heartbeat_timestamp_seconds{` + chosen + `} > 0)`, `age`}},
			},
			{
				Title: "Heartbeats", Unit: "ops",
				Description: "Failed: kcp did not accept it. Withheld: the physical cluster did not answer.",
				Queries:     []query{{`sum by (outcome) (rate(synctarget_syncer_heartbeats_total{` + chosen + `}[$__rate_interval]))`, `{{outcome}}`}},
			},
			{
				Title: "Watches", Unit: "short",
				Description: "0 while changes of a resource are not seen on one side.",
				Queries:     []query{{`min by (resource, side) (synctarget_syncer_watch_healthy{` + chosen + `})`, `{{resource}} {{side}}`}},
			},
			{
				Title: "Orphaned", Unit: "short",
				Description: "1 if the SyncTarget does not exist any more, or kcp does not accept the token.",
				Queries:     []query{{`max(synctarget_syncer_orphaned{` + chosen + `})`, `orphaned`}},
			},
		}},
		{"Objects", []panel{
			{
				Title: "Synced objects", Unit: "short", Stacked: true,
				Description: "Objects of the workspace that have a copy as it should be.",
				Queries:     []query{{`sum by (resource) (synctarget_syncer_objects{` + chosen + `,state="synced"})`, `{{resource}}`}},
			},
			{
				Title: "Failing objects", Unit: "short", Stacked: true,
				Description: "Objects that cannot be synced, or whose copy has failed. kubectl synctarget explain says why.",
				Queries:     []query{{`sum by (resource) (synctarget_syncer_objects{` + chosen + `,state="failing"})`, `{{resource}}`}},
			},
		}},
		{"Latency", []panel{
			{
				Title: "Changes of users", Unit: "s",
				Description: "From when a change in the workspace reached the syncer until the physical cluster had applied it.",
				Queries:     quantiles(`synctarget_syncer_sync_latency_seconds_bucket`, chosen, ``),
			},
			{
				Title: "Statuses", Unit: "s",
				Description: "From when a change of a copy reached the syncer until its status was written to the workspace.",
				Queries:     quantiles(`synctarget_syncer_status_latency_seconds_bucket`, chosen, ``),
			},
			{
				Title: "The physical cluster applies a copy, p99", Unit: "s",
				Description: "By result.",
				Queries:     quantiles(`synctarget_syncer_apply_duration_seconds_bucket`, chosen, `result`)[1:],
			},
			{
				Title: "kcp answers a patch", Unit: "s",
				Description: "Whatever the answer.",
				Queries:     quantiles(`synctarget_syncer_upstream_patch_duration_seconds_bucket`, chosen, ``),
			},
			{
				Title: "Queue", Unit: "short",
				Description: "Objects, Events and Namespaces that wait for their turn.",
				Queries:     []query{{`max by (pod) (synctarget_syncer_queue_depth{` + chosen + `})`, `{{pod}}`}},
			},
		}},
		{"Syncer", []panel{
			{
				Title: "CPU", Unit: "short", Description: "Cores in use.",
				Queries: []query{{`sum by (pod) (rate(process_cpu_seconds_total{` + chosen + `}[$__rate_interval]))`, `{{pod}}`}},
			},
			{
				Title: "Memory", Unit: "bytes", Description: "Resident memory.",
				Queries: []query{{`sum by (pod) (process_resident_memory_bytes{` + chosen + `})`, `{{pod}}`}},
			},
			{
				Title: "Panics", Unit: "short",
				Description: "In the last hour. Each is a fault of the syncer: please report it with the stack in the log.",
				Queries:     []query{{`sum by (pod) (increase(synctarget_syncer_panics_total{` + chosen + `}[1h]))`, `{{pod}}`}},
			},
		}},
	},
}

// chosen selects the series of the syncer that the user has chosen.
const chosen = `namespace="$namespace"`
