package synctarget

import (
	"cmp"
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// installAction says with which settings a syncer is installed.
type installAction int

const (
	// installUnchanged: it has the settings of the controller, and keeps them.
	installUnchanged installAction = iota
	// installWanted: it gets the settings of the controller, and is no part of a rollout.
	installWanted
	// installInRollout: it gets the settings of the controller, as part of a rollout.
	installInRollout
	// keepSettings: it keeps the settings that it has. All else is as its SyncTarget says.
	keepSettings
	// keepSyncer: its Deployment and its Secret are left as they are, except for the token.
	keepSyncer
)

// installFacts are what the action follows from.
type installFacts struct {
	// installed is nil where there is no syncer.
	installed *agent.Installed
	wanted    agent.Settings
	// mayBeReady is set unless the SyncTarget is known not to be Ready.
	mayBeReady bool
	// granted: it is this SyncTarget's turn.
	granted bool
	// isDeployed: its Pods are as its SyncTarget says.
	isDeployed bool
	// ownImage is spec.syncer.image.
	ownImage string
}

// isChangedByUser tells, of an installation that did not record its settings, whether its user has changed it since: then it is not
// held back. What shows is another image, and a rollout that is under way or does not succeed.
func (f installFacts) isChangedByUser() bool {
	return f.installed.Template == "" && (!f.isDeployed || f.ownImage != "" && f.ownImage != f.installed.ContainerImage)
}

// decideInstall decides with which settings a syncer is installed.
func decideInstall(f installFacts) installAction {
	switch {
	case f.installed == nil:
		return installWanted
	case f.installed.Image != f.wanted.Image && (f.installed.Image == "" || f.wanted.Image == "") && f.installed.Template != "":
		return installWanted // its user has set, or removed, spec.syncer.image
	case f.installed.Version() == f.wanted.Version():
		return installUnchanged
	case !f.mayBeReady:
		return installWanted // there is nothing to lose, and it may be what makes it Ready
	case f.isChangedByUser():
		return installWanted
	case f.granted:
		return installInRollout
	case f.installed.Template == f.wanted.Template:
		return keepSettings
	case f.installed.Template != "" && f.installed.Spec != f.wanted.Spec:
		return installWanted // its user has changed spec.syncer, and this release cannot do so with the settings of the one before
	}
	return keepSyncer
}

// installPlan is what a pass installs.
type installPlan struct {
	action installAction
	config agent.Config
	// kept and wanted are the images of a syncer that keeps what it has.
	kept, wanted string
}

func (p installPlan) keeps() bool { return p.action == keepSettings || p.action == keepSyncer }

// planInstall decides what is installed now. It reads what is installed unless that is known to be up to date.
func (r *Reconciler) planInstall(ctx context.Context, s *scope, cfg agent.Config, cluster physicalCluster) (installPlan, error) {
	wanted := cfg.Settings()
	if rolledOut, known := r.rollouts.hasVersion(s.target.UID, wanted.Version()); known {
		cfg.RolledOut = rolledOut
		return installPlan{action: installUnchanged, config: cfg}, nil
	}
	installed, err := agent.ReadInstalled(ctx, cluster.Client(), s.target, workloadv1alpha1.SyncerNamespace(s.target.Name, s.key))
	if err != nil {
		return installPlan{}, err
	}
	facts := installFacts{installed: installed, wanted: wanted, granted: r.rollouts.isGranted(s.target.UID)}
	ready := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionReady)
	facts.mayBeReady = ready != nil && ready.Status != metav1.ConditionFalse
	if spec := s.target.Spec.Syncer; spec != nil {
		facts.ownImage = spec.Image
	}
	if installed != nil {
		facts.isDeployed = meta.IsStatusConditionTrue(s.target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	}
	return newInstallPlan(decideInstall(facts), cfg, installed, r.Clock.Now()), nil
}

// newInstallPlan returns how the action is carried out.
func newInstallPlan(action installAction, cfg agent.Config, installed *agent.Installed, now time.Time) installPlan {
	p := installPlan{action: action, config: cfg}
	switch action {
	case installUnchanged:
		p.config.RolledOut = installed.RolledOut
	case installInRollout:
		p.config.RolledOut = now
	case keepSettings:
		p.config = cfg.WithSettings(installed.Settings)
		p.config.RolledOut = installed.RolledOut
	case keepSyncer:
		if installed.Template != "" {
			p.config = cfg.WithSettings(installed.Settings) // should the Secret have to be made anew
		}
		p.config.KeepSyncer, p.config.RolledOut = true, installed.RolledOut
	}
	if p.keeps() {
		p.kept = installed.ContainerImage
		p.wanted = cmp.Or(cfg.Settings().Image, p.kept)
	}
	return p
}
