// Package synctarget reconciles SyncTargets in every workspace that binds the APIExport workload.kcp.io.
//
// The life of a SyncTarget is two lists in controller.go. The phases run in order while it lives, and all but one
// decide a condition:
//
//	validate              Valid      the spec, the permission claims, the Secret and the kubeconfig in it
//	reconcileNamespaces   -          which Namespaces are opened or closed, and the rights that are taken back
//	deploy                Deployed   the syncer's identity in the workspace; the syncer in the physical cluster
//	health                Ready      the heartbeats of the syncer
//
// The steps of a deletion run in order, and each keeps the later ones from running until it is done or abandoned:
// the copies, the agent, the identity, the Secret. Then the SyncTarget's finalizer is removed.
//
// A phase returns a verdict and what later phases need, and writes no status. One patch writes the status, or none
// where nothing changed; beside it, the condition Admitted is written to each Assignment of which it changes. What a
// user must correct waits for an event, what only takes time is tried again after a set time, and an error is retried
// with backoff. Heartbeats are judged by when this controller saw them change, so no clock but its own matters.
//
// # What becomes of a SyncTarget
//
//	situation                            conditions                                            file
//	the spec is wrong                    Valid False, Deployed Unknown, Ready False:           validate.go
//	                                       ValidationFailed
//	the Secret is missing, or a claim    Valid False, Deployed Unknown: ValidationFailed;      validate.go, claims.go
//	  is not accepted                      Ready follows the heartbeats
//	it is installed for the first time   Deployed False RollingOut, then True; Ready False     deploy.go,
//	                                       AwaitingHeartbeat, then True                          syncer_identity.go
//	the user installs it (pull mode)     Deployed False AwaitingInstall until a heartbeat      deploy.go
//	the cluster cannot be reached, or    Deployed Unknown ClusterUnreachable, or False         deploy_verdicts.go
//	  refuses the installation             DeploymentFailed; Ready follows the heartbeats
//	the kubeconfig leads to another      Deployed False ClusterMismatch; nothing is            deploy.go
//	  cluster                              installed or removed
//	what is installed changes            it is installed again                                 watch.go, install_cache.go,
//	                                                                                             deploy.go
//	the controller has another image     Deployed stays; one after the other is updated, and   rollout_plan.go,
//	  or other settings for syncers        RolloutHalted if one does not become Ready            rollout_waves.go
//	a Namespace is assigned              Assignment: Admitted False Admitting, then True       namespaces.go,
//	                                                                                             downstream_namespaces.go
//	it holds credentials                 Assignment: Admitted False NamespaceRefused           namespaces.go
//	it is withdrawn, and the syncer      Assignment: Admitted False Revoking, then Revoked     namespaces.go, orphans.go
//	  has left it
//	an Assignment is absent              nothing ends                                          namespaces.go, orphans.go
//	the syncer falls silent              Ready False Unhealthy after the threshold             heartbeat_tracker.go
//	many fall silent at once             Ready Unknown HealthEvaluationPaused                  mass_silence.go
//	kcp does not answer                  all stay as they are for a minute, then say so        transient_errors.go
//	too many in the workspace            Deployed False TargetLimitReached                     target_limit.go
//	it is deleted                        Ready False Terminating; Deployed False Removing      delete.go
//	its deletion fails                   Deployed False RemovalFailed; after the deadline, or  delete_deadline.go
//	                                       by annotation, an Event says what may be left
//	its workspace leaves                 this process forgets it                               engagement.go
//
// # Files
//
//	controller.go             Config, Reconciler, the two lists
//	reconcile.go              one pass
//	scope.go, phases.go       what a pass starts with and finds; how phases are run
//	result.go, status.go      verdicts; how they become the status, and Events
//	validate.go, claims.go    the phase validate
//	namespaces.go             the phase reconcileNamespaces; namespace_plan.go is what it returns
//	deploy.go                 the phase deploy; deploy_verdicts.go says what a cluster's answers mean
//	syncer_identity.go        the syncer's identity in the workspace
//	admission.go              the condition Admitted of Assignments
//	downstream_namespaces.go  the Namespaces in the physical cluster; orphans.go deletes those that stand for nothing any more
//	grant_rights.go           what the syncer may do in the physical cluster, as far as the kubeconfig can grant it
//	secret_finalizer.go       the finalizer on the Secret with the kubeconfig
//	credential_expiry.go      when the credentials of the kubeconfig expire
//	install_cache.go          what was found installed, so that it is not read again in each pass
//	proven_namespaces.go      the same for the assigned Namespaces
//	rollout_plan.go           whether a SyncTarget gets other settings now; rollout_waves.go says whose turn it is
//	health.go                 the phase health, which judges by what follows
//	heartbeat_record.go       what is known of the heartbeats of one SyncTarget
//	heartbeat_tracker.go      keeps the records of all; mass_silence.go tells when many fall silent at once
//	eviction.go               whether Namespaces may be moved away from silent SyncTargets
//	synced.go                 the condition Synced, from the syncer's own reports
//	delete.go                 runs the steps of a deletion
//	delete_deadline.go        decides when a step is abandoned; delete_record.go is what was tried so far
//	delete_drain.go, delete_agent.go, delete_identity.go   the steps
//	controller_identity.go    the controller's own user in a workspace
//	watch.go, watch_*.go, engagement.go, fair_queue.go   what brings a pass
package synctarget
