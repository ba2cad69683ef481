package v1alpha1

// Condition types of a SyncTarget, in the order of the phases that own them.
const (
	// ConditionValid says whether the spec, the accepted permission claims and the kubeconfig can be used.
	ConditionValid = "Valid"
	// ConditionDeployed says whether the syncer is installed in the physical cluster as it should be.
	ConditionDeployed = "Deployed"
	// ConditionReady says whether the syncer is alive: whether its heartbeats arrive.
	ConditionReady = "Ready"
	// ConditionSynced sums up what the syncer reports of the assigned Namespaces; without any it is absent. Ready does not
	// depend on it.
	ConditionSynced = "Synced"
)

// Condition types of SyncTargets and Placements for tools that know neither: the convention of kstatus. Each is present only while it
// is True, with the reason and the message of the condition that it stands for.
const (
	// ConditionStalled says that the object has failed, and that time alone does not mend it.
	ConditionStalled = "Stalled"
	// ConditionReconciling says that the object is not yet as it should be, and that this is under way.
	ConditionReconciling = "Reconciling"
)

// Reasons of the Valid condition.
const (
	// ReasonValid: everything that can be judged without the physical cluster is in order.
	ReasonValid = "Valid"
	// ReasonValidationFailed: the message names the field, claim, Secret or kubeconfig entry to correct.
	// Deployed and Ready carry it too when they stand behind a Valid that is not True.
	ReasonValidationFailed = "ValidationFailed"
	// ReasonSecretTerminating: all is in order, but the referenced Secret is being deleted; the message says what it waits for.
	ReasonSecretTerminating = "SecretTerminating"
)

// Reasons of the Deployed condition.
const (
	// ReasonDeployed: the syncer runs as it should.
	ReasonDeployed = "Deployed"
	// ReasonDeploymentFailed: an API server refused what the installation needs; the message says what.
	ReasonDeploymentFailed = "DeploymentFailed"
	// ReasonRollingOut: the installation is under way; the message says what it waits for.
	ReasonRollingOut = "RollingOut"
	// ReasonAwaitingInstall: pull mode, and the user has yet to apply the syncer's manifests.
	ReasonAwaitingInstall = "AwaitingInstall"
	// ReasonClusterMismatch: the kubeconfig leads to another cluster than the one pinned in status.clusterID.
	ReasonClusterMismatch = "ClusterMismatch"
	// ReasonTargetLimitReached: the service connects to a limited number of SyncTargets of a workspace, and older ones come first.
	// It goes on by itself when one of those is deleted.
	ReasonTargetLimitReached = "TargetLimitReached"
	// ReasonRolloutHalted: the syncer runs as it should, but keeps an earlier image, or other settings of the service, since the
	// rollout of the new ones is halted. Deployed is True. It goes on when the operator of the service has mended the cause.
	ReasonRolloutHalted = "RolloutHalted"
	// ReasonClusterUnreachable: the physical cluster does not answer; nothing is known about the syncer there.
	ReasonClusterUnreachable = "ClusterUnreachable"
)

// Reasons of the Ready condition.
const (
	// ReasonReady: heartbeats arrive.
	ReasonReady = "Ready"
	// ReasonUnhealthy: the last heartbeat is older than the threshold.
	ReasonUnhealthy = "Unhealthy"
	// ReasonAwaitingHeartbeat: no heartbeat that counts has arrived yet.
	ReasonAwaitingHeartbeat = "AwaitingHeartbeat"
	// ReasonHealthEvaluationPaused: the heartbeats of many SyncTargets stopped together, so that the fault may not be with this
	// one's syncer; the message says when it is judged again.
	ReasonHealthEvaluationPaused = "HealthEvaluationPaused"
	// ReasonScaledToZero: spec.syncer.replicas is 0, so no syncer runs.
	ReasonScaledToZero = "ScaledToZero"
	// ReasonHealthCheckFailed: the heartbeat could not be judged.
	ReasonHealthCheckFailed = "HealthCheckFailed"
)

// Reasons that occur only while a SyncTarget is being deleted, on Deployed.
const (
	// ReasonRemoving: the syncer is being removed; the message says what is waited for.
	ReasonRemoving = "Removing"
	// ReasonRemovalFailed: something stands in the way of the removal; the message names it and the way out.
	ReasonRemovalFailed = "RemovalFailed"
	// ReasonRemoved: nothing of the syncer is left in the physical cluster.
	ReasonRemoved = "Removed"
	// ReasonTerminating: Ready of a SyncTarget that is being deleted.
	ReasonTerminating = "Terminating"
	// ReasonAbandoned: the Warning event that names what a deletion may have left behind.
	ReasonAbandoned = "Abandoned"
)

// Reasons of the Synced condition.
const (
	// ReasonSynced: what is in the assigned Namespaces is in the physical cluster as it should be.
	ReasonSynced = "Synced"
	// ReasonNotSynced: something is not; the message names it and where to look.
	ReasonNotSynced = "NotSynced"
	// ReasonAwaitingReport: the syncer has not reported yet.
	ReasonAwaitingReport = "AwaitingReport"
	// ReasonWatchFailing: the syncer cannot watch a resource, so that changes may be missing; the message names the resource,
	// the side and the cause.
	ReasonWatchFailing = "WatchFailing"
)

// ReasonNamespaceRefused is the reason of the condition Admitted, and of the Warning event, of a Namespace that is never synced.
const ReasonNamespaceRefused = "NamespaceRefused"

// ReasonNamespaceLeft is the Normal event for a Namespace in the physical cluster that is left standing, since it holds, or may
// hold, something of others.
const ReasonNamespaceLeft = "NamespaceLeft"

// ReasonTokenRotated is the Normal event of a SyncTarget whose syncer uses another token, so that the earlier one is deleted.
const ReasonTokenRotated = "TokenRotated"

// Condition types of a Placement. ConditionApplied and ConditionAvailable are condition types of an Assignment, too.
const (
	// ConditionScheduled says whether each selected Namespace has the clusters that it is to have.
	ConditionScheduled = "Scheduled"
	// ConditionApplied says whether everything that is to run has reached the physical clusters.
	ConditionApplied = "Applied"
	// ConditionAvailable says whether everything that is to run does.
	ConditionAvailable = "Available"
)

// Condition types of an Assignment alone.
const (
	// ConditionAdmitted says whether the syncer has its rights in the Namespace, on both sides.
	ConditionAdmitted = "Admitted"
	// ConditionWithdrawn says that nothing of the syncer is left in the Namespace, at the epoch that is observed.
	ConditionWithdrawn = "Withdrawn"
)

// Reasons of the Scheduled condition.
const (
	// ReasonScheduled: each selected Namespace has its clusters.
	ReasonScheduled = "Scheduled"
	// ReasonUnschedulable: a Namespace has not, since too few SyncTargets fit; the message says why each does not.
	ReasonUnschedulable = "Unschedulable"
	// ReasonNoNamespaces: the Placement selects no Namespace.
	ReasonNoNamespaces = "NoNamespaces"
	// ReasonConflict: another Placement counts for the Namespaces that this one selects.
	ReasonConflict = "Conflict"
	// ReasonInvalidPlacement: the spec cannot be used; the message says what to correct.
	ReasonInvalidPlacement = "Invalid"
)

// Reasons of the conditions Applied and Available, of Placements and Assignments.
const (
	// ReasonApplied: everything has reached the physical cluster.
	ReasonApplied = "Applied"
	// ReasonApplying: some of it has yet to.
	ReasonApplying = "Applying"
	// ReasonObjectsFailing: the physical cluster refuses some of it, or it has failed there.
	ReasonObjectsFailing = "ObjectsFailing"
	// ReasonAvailable: everything runs.
	ReasonAvailable = "Available"
	// ReasonNotAvailable: something has yet to become ready; the message names it.
	ReasonNotAvailable = "NotAvailable"
)

// Reasons of the Admitted condition of an Assignment, and of Withdrawn.
const (
	// ReasonAdmitted: the syncer has its rights.
	ReasonAdmitted = "Admitted"
	// ReasonAdmitting: it has yet to get them; the message says what that waits for.
	ReasonAdmitting = "Admitting"
	// ReasonRevoking: its rights are being taken back; the message says what that waits for.
	ReasonRevoking = "Revoking"
	// ReasonRevoked: its rights have been taken back, and nothing is left to do.
	ReasonRevoked = "Revoked"
	// ReasonWithdrawn: nothing of the syncer is left.
	ReasonWithdrawn = "Withdrawn"
	// ReasonWithdrawing: copies have yet to go.
	ReasonWithdrawing = "Withdrawing"
)
