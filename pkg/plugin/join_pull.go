package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// runPull registers the cluster, and prints or applies the manifests of the syncer.
func (j *join) runPull(ctx context.Context, up *writer, live *workloadv1alpha1.SyncTarget) error {
	var down *writer
	if j.applyToContext != "" || j.applyToKubeconfig != "" {
		cluster, err := j.downstream(j.applyToKubeconfig, j.applyToContext)
		if err != nil {
			return err
		}
		if err := j.sameCluster(ctx, cluster, live); err != nil {
			return err
		}
		down = j.newWriter(cluster, j.mode)
	}
	if err := j.ensureBinding(ctx, up, j.exportPath, j.yes, j.timeout); err != nil {
		return err
	}
	if err := j.ensureTarget(ctx, up, nil); err != nil {
		return err
	}
	if j.mode != dryRunNone {
		j.progress.say("The manifests of the syncer contain the token that the controller creates, so a dry run has none.")
		return j.print(up)
	}
	config, err := j.awaitConfig(ctx, up.connection, j.name, j.timeout)
	if err != nil {
		return err
	}
	if down == nil {
		return j.render(config)
	}
	if err := j.apply(ctx, down, config); err != nil {
		return err
	}
	if err := j.print(up, down); err != nil || !j.wait {
		return err
	}
	return j.awaitReady(ctx, up.connection, j.name, j.timeout, func(ctx context.Context) string { return whyNoHeartbeat(ctx, down, config) })
}

// awaitConfig waits until the controller has prepared the workspace for a syncer that the user installs.
func (p *plugin) awaitConfig(ctx context.Context, workspace *connection, name string, timeout time.Duration) (agent.Config, error) {
	var config agent.Config
	next := fmt.Sprintf("see what keeps the controller from it: kubectl synctarget status %s", name)
	err := p.poll(ctx, "the syncer's identity", timeout, next, func(ctx context.Context) (observation, error) {
		target, err := readTarget(ctx, workspace, name)
		if err != nil {
			return observation{}, err
		}
		config, err = agent.ReadConfig(ctx, workspace, target)
		if missing := (*agent.NotPublishedError)(nil); errors.As(err, &missing) {
			return observation{waiting: identityProblem(target, missing)}, nil
		}
		return observation{done: err == nil}, err
	})
	return config, err
}

// identityProblem says why there is no identity of the syncer yet: in the words of the condition that is not True, if there is one.
func identityProblem(target *workloadv1alpha1.SyncTarget, missing *agent.NotPublishedError) string {
	for _, condition := range notTrue(target) {
		if condition.Type == workloadv1alpha1.ConditionValid || condition.Reason == workloadv1alpha1.ReasonDeploymentFailed {
			return conditionText(condition)
		}
	}
	return missing.Error()
}

// render prints the manifests.
func (p *plugin) render(config agent.Config) error {
	if err := agent.Render(p.Out, config); err != nil {
		return err
	}
	p.progress.say("The manifests contain a credential: keep them as you keep a password. Apply them in the physical cluster:\n"+
		"  kubectl synctarget manifests %[1]s | kubectl --context=CLUSTER apply --server-side -f -\n"+
		"Then see whether the cluster is Ready:\n  kubectl synctarget status %[1]s", config.Target.Name)
	return nil
}

// apply applies the manifests of the syncer. What an earlier SyncTarget of the name has left is removed first, as the controller
// does it in push mode.
func (j *join) apply(ctx context.Context, down *writer, config agent.Config) error {
	key := workloadv1alpha1.Key(config.ClusterName, j.name)
	objects := agent.Manifests(config)
	changed := 0
	next := "see what holds them in the physical cluster, remove it, and run the command again"
	err := j.poll(ctx, "the manifests to be applied", j.timeout, next, func(ctx context.Context) (observation, error) {
		now, err := agent.Apply(ctx, down, objects, fieldOwner)
		changed += now
		var leftover *agent.LeftoverError
		var terminating *agent.TerminatingError
		switch {
		case errors.As(err, &leftover):
			waiting, _, err := agent.RemoveLeftovers(ctx, down, j.name, key, config.Target.UID)
			if waiting == "" {
				waiting = "what an earlier SyncTarget of this name has left is being removed"
			}
			return observation{waiting: waiting}, err
		case errors.As(err, &terminating):
			return observation{waiting: err.Error()}, nil
		}
		return observation{done: err == nil}, err
	})
	if err != nil {
		return fmt.Errorf("applying the manifests in %s: %w", down.name, err)
	}
	down.progress.say("%s: %d manifests of the syncer applied, %d created or changed", down.name, len(objects), changed)
	down.written = objects
	return nil
}

// whyNoHeartbeat says what the cluster shows of a syncer whose heartbeats do not arrive.
func whyNoHeartbeat(ctx context.Context, down *writer, config agent.Config) string {
	namespace := workloadv1alpha1.SyncerNamespace(config.Target.Name, workloadv1alpha1.Key(config.ClusterName, config.Target.Name))
	rollout, err := agent.Rollout(ctx, down, namespace)
	switch {
	case err != nil:
		return err.Error()
	case !rollout.Ready:
		return rollout.Message
	}
	return fmt.Sprintf("the syncer runs in the cluster, where it connects to kcp at %s; its log says whether that fails: kubectl -n %s logs deployment/%s",
		config.KcpURL, namespace, agent.DeploymentName)
}
