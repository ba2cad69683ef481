package synctarget

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// scope is what one pass over one SyncTarget knows.
type scope struct {
	// clusterName is the logical cluster of the target; set by Reconcile.
	clusterName multicluster.ClusterName
	// target is a copy of the cached object. Phases read it; status.go alone writes its status. Set by Reconcile.
	target *workloadv1alpha1.SyncTarget
	// key is the target's key; set by Reconcile.
	key string
	// cached reads the target's workspace from the cache; set by Reconcile.
	cached client.Reader
	// upstream talks to the target's workspace, uncached; set by Reconcile.
	upstream client.Client
	// kubeconfig is the content of the referenced Secret; set by validate, or by removeAgent in a deletion.
	kubeconfig []byte
	// answered: kcp has answered a request of this pass, so what it does not answer is no outage; set by verifySilence
	// and validate.
	answered bool
	// clusterID is the physical cluster to pin; starts as status.clusterID, set by deploy or, in pull mode, by health.
	clusterID string
	// sighted: the claims show this service what it has to see, so what it does not see is not there; set by validate.
	sighted bool
	// namespaces is what is to become of status.namespaces, if planned; set by planNamespaces, or in a deletion by
	// closeAll.
	namespaces []workloadv1alpha1.NamespaceStatus
	planned    bool
	// namespaceLabels are the labels of the opened Namespaces that the workspace shows, by name; set by planNamespaces.
	namespaceLabels map[string]map[string]string
	// draining are the closing Namespaces that the syncer has yet to leave; set by closeNamespaces.
	draining []string
	// unclosed is why the syncer's rights in a closing Namespace could not be taken back, which is told on it and tried again;
	// set by followNamespaces.
	unclosed error
	// waiting: a counterpart that the syncer needs, or a RoleBinding that it needs no more, is still being deleted; set by
	// furnish and revoke.
	waiting bool
	// round is the look at everything installed that this pass is part of; set by deploy. unfinished: it goes on in another
	// pass; set by furnish.
	round      *round
	unfinished bool
	// clearing: a counterpart that stands for nothing is being removed; set by sweep.
	clearing bool
	// held are the Namespaces in which the syncer's finalizers could not be taken off; set by drain.
	held []string
	// standsIn: the syncer's token is no longer good, and the service strips in its place; set by strip.
	standsIn bool
	// letGo: a deletion waits no longer; set by reconcileDelete.
	letGo bool
}

// pullMode tells whether the user, not the service, installs the syncer.
func (s *scope) pullMode() bool { return s.target.Spec.KubeconfigSecretRef == nil }

// verdict is what a phase or a step found.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	// recheck is when to look again without an event; 0 is never.
	recheck time.Duration
	// undecided is set when nothing is known yet: a condition that exists is left as it is, for there is nothing new to
	// say, and an event brings us back.
	undecided bool
	// hiccup is set when kcp kept the phase from its work. Once that lasts for hiccupTime, the condition says so.
	hiccup bool
	// begun is set when what is waited for was only just begun: not even a deletion that lets go ends before recheck.
	begun bool
	// wrongSpec is set when the spec itself is at fault, so that no later phase can say anything of its own.
	wrongSpec bool
	// needsFinalizer is set when the phase is about to make something for the first time. The finalizer is the record of that,
	// so the pass adds it and does nothing else: a SyncTarget without it has nothing to remove, and is deleted at once.
	needsFinalizer bool
}

func (v verdict) ok() bool { return v.status == metav1.ConditionTrue }

// after schedules another look.
func (v verdict) after(d time.Duration) verdict {
	v.recheck = d
	return v
}

func passed(reason, message string) verdict {
	return verdict{status: metav1.ConditionTrue, reason: reason, message: message}
}

func blocked(reason, format string, args ...any) verdict {
	return verdict{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...)}
}

func unknown(reason, format string, args ...any) verdict {
	return verdict{status: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...)}
}

// phase is one step of the pipeline and the only source of one condition.
type phase struct {
	condition string
	// behind gives the verdict without running the phase where Valid leaves it nothing to say; nil runs always.
	behind func(valid verdict) (verdict, bool)
	// always comes before run, and is done even if the phase is held back; nil is nothing.
	always func(context.Context, *scope) error
	run    func(context.Context, *scope) (verdict, error)
	// failed is the verdict when run returns an error, which is retried with backoff.
	failed func(error) verdict
}

// onlyIfValid holds a phase back while Valid is not True.
func onlyIfValid(valid verdict) (verdict, bool) {
	v := unknown(workloadv1alpha1.ReasonValidationFailed, "Waiting for the condition Valid: %s", valid.message)
	v.undecided = valid.undecided
	return v, !valid.ok()
}

// unlessSpecIsWrong lets a phase mirror Valid while the spec is wrong.
func unlessSpecIsWrong(valid verdict) (verdict, bool) {
	return blocked(workloadv1alpha1.ReasonValidationFailed, "%s", valid.message), valid.wrongSpec
}

// phaseObserver is given what a phase that ran has found, and how long that took.
type phaseObserver func(condition string, took time.Duration, v verdict, err error)

// runPhases runs the pipeline and returns one verdict for each phase and the error to retry, if any. The first
// phase is the one that the others may stand behind.
func runPhases(ctx context.Context, phases []phase, s *scope, observe phaseObserver, now func() time.Time) (map[string]verdict, error) {
	verdicts := make(map[string]verdict, len(phases))
	var first *verdict
	var failure error
	for _, p := range phases {
		v, err := runPhase(ctx, p, first, s, observe, now)
		if failure == nil {
			failure = err
		}
		if first == nil {
			first = &v
		}
		verdicts[p.condition] = v
	}
	return verdicts, failure
}

// runPhase runs one phase, unless the verdict of the first holds it back; first is nil for the first itself.
func runPhase(ctx context.Context, p phase, first *verdict, s *scope, observe phaseObserver, now func() time.Time) (v verdict, err error) {
	start := now()
	held := false
	if p.behind != nil && first != nil {
		v, held = p.behind(*first)
	}
	if p.always != nil {
		err = p.always(ctx, s)
	}
	if held {
		return v, err
	}
	if err == nil {
		v, err = p.run(ctx, s)
	}
	if err != nil {
		v = p.failed(err)
	}
	observe(p.condition, now().Sub(start), v, err)
	return v, err
}

// failing is the verdict of a phase that kcp kept from its work. An answer is told as it is; a hiccup says nothing of the
// target, and what was found before stands while kcp is asked again, unless that lasts.
func failing(reason string, err error) verdict {
	if !isHiccup(err) {
		return blocked(reason, "%s", err)
	}
	v := blocked(reason, "kcp does not answer just now; it is asked again")
	if isAnswer(err) {
		v.message = fmt.Sprintf("kcp failed; the controller tries again: %s", err)
	}
	v.undecided, v.hiccup = true, true
	return v
}

// isHiccup tells what passes by itself, such as no answer of kcp or a lost race, from an answer that will be the same
// next time.
func isHiccup(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Status().Code {
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// concernsObject tells an answer that may be due to one object, such as that of a webhook for it, from one that concerns all.
func concernsObject(err error) bool {
	return !isHiccup(err) || apierrors.IsInternalError(err)
}

// isAnswer tells an answer of an API server from none.
func isAnswer(err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer)
}

// soonest is the earliest of the rechecks; 0 is never.
func soonest(verdicts map[string]verdict) time.Duration {
	var next time.Duration
	for _, v := range verdicts {
		if v.recheck > 0 && (next == 0 || v.recheck < next) {
			next = v.recheck
		}
	}
	return next
}
