package main

// fleet shows the controller and all SyncTargets together.
var fleet = board{
	Title: "SyncTarget fleet", UID: "synctarget-fleet",
	Rows: []row{
		{"SyncTargets", []panel{
			{
				Title: "SyncTargets by phase", Unit: "short", Stacked: true,
				Description: "NotReady: there were heartbeats, and they stopped. Pending: there was none yet.",
				Queries:     []query{{`sum by (phase) (synctarget_controller_targets)`, `{{phase}}`}},
			},
			{
				Title: "Oldest heartbeat", Unit: "s",
				Description: "Of the SyncTargets that are Ready, by the clock of the controller. At 5 minutes the SyncTarget becomes NotReady.",
				Queries:     []query{{`max(synctarget_controller_oldest_heartbeat_age_seconds)`, `oldest`}},
			},
			{
				Title: "Time to Ready", Unit: "s",
				Description: "From the creation of a SyncTarget until it is Ready for the first time.",
				Queries:     quantiles(`synctarget_controller_time_to_ready_seconds_bucket`, ``, ``),
			},
			{
				Title: "Credentials that expire", Unit: "short",
				Description: "SyncTargets whose kubeconfig expires soon, or has expired.",
				Queries:     []query{{`sum(synctarget_controller_credentials_expiring)`, `kubeconfigs`}},
			},
		}},
		{"Health", []panel{
			{
				Title: "Health evaluation paused", Unit: "short",
				Description: "1 while the SyncTargets of an endpoint cannot be judged by their silence.",
				Queries:     []query{{`max by (endpoint, reason) (synctarget_controller_health_evaluation_paused)`, `{{endpoint}} {{reason}}`}},
			},
			{
				Title: "SyncTargets that no Namespace leaves", Unit: "short",
				Description: "They are not Ready, but many fell silent together, or their silence cannot be judged yet.",
				Queries:     []query{{`sum(synctarget_controller_evictions_paused)`, `SyncTargets`}},
			},
		}},
		{"Placement", []panel{
			{
				Title: "Decisions", Unit: "ops",
				Description: "Decisions about one Namespace and one SyncTarget, by result.",
				Queries:     []query{{`sum by (result) (rate(synctarget_controller_scheduling_decisions_total[$__rate_interval]))`, `{{result}}`}},
			},
			{
				Title: "Moves", Unit: "ops",
				Description: "Moves of Namespaces from one SyncTarget to another.",
				Queries:     []query{{`sum by (reason, outcome) (rate(synctarget_controller_moves_total[$__rate_interval]))`, `{{reason}} {{outcome}}`}},
			},
			{
				Title: "Oldest Namespace without a SyncTarget", Unit: "s",
				Description: "How long a Namespace that a Placement selects has been waiting.",
				Queries:     []query{{`max(synctarget_controller_oldest_pending_namespace_age_seconds)`, `oldest`}},
			},
		}},
		{"Rollout and deletion", []panel{
			{
				Title: "Rollout of the syncer", Unit: "short", Stacked: true,
				Description: "SyncTargets by how far they are with the image and the settings of now.",
				Queries:     []query{{`sum by (state) (synctarget_controller_rollout_targets)`, `{{state}}`}},
			},
			{
				Title: "Rollout halted", Unit: "short",
				Description: "1 while the rollout does not go on, since SyncTargets did not become Ready.",
				Queries:     []query{{`max(synctarget_controller_rollout_halted)`, `halted`}},
			},
			{
				Title: "Abandoned steps of deletions", Unit: "short",
				Description: "In the last hour. The log says what may be left behind.",
				Queries:     []query{{`sum by (step) (increase(synctarget_controller_abandoned_steps_total[1h]))`, `{{step}}`}},
			},
		}},
		{"Controller", []panel{
			{
				Title: "Logical clusters", Unit: "short",
				Description: "That each replica serves. 0 on a standby.",
				Queries:     []query{{`sum by (pod) (synctarget_controller_logical_clusters)`, `{{pod}}`}},
			},
			{
				Title: "Work queues", Unit: "short",
				Description: "Objects that wait for their turn.",
				Queries:     []query{{`sum by (name) (workqueue_depth)`, `{{name}}`}},
			},
			{
				Title: "Duration of the phases, p99", Unit: "s",
				Description: "Deployed depends on the physical clusters, Valid on kcp.",
				Queries: []query{{`histogram_quantile(0.99, sum by (condition, le) ` +
					`(rate(synctarget_controller_phase_duration_seconds_bucket[$__rate_interval])))`, `{{condition}}`}},
			},
			{
				Title: "Objects applied to physical clusters", Unit: "ops",
				Description: "By result. At rest there are none.",
				Queries:     []query{{`sum by (result) (rate(synctarget_controller_agent_applies_total[$__rate_interval]))`, `{{result}}`}},
			},
			{
				Title: "CPU", Unit: "short", Description: "Cores in use.",
				Queries: []query{{`sum by (pod) (rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) synctarget_controller_logical_clusters)`, `{{pod}}`}},
			},
			{
				Title: "Memory", Unit: "bytes", Description: "Resident memory.",
				Queries: []query{{`sum by (pod) (process_resident_memory_bytes and on (instance) synctarget_controller_logical_clusters)`, `{{pod}}`}},
			},
		}},
	},
}
