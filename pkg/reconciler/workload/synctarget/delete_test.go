package synctarget

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// deleted is a world whose target was ready and is being deleted, and says so.
func deleted(t *testing.T) *world {
	t.Helper()
	w := usual(t)
	w.ready()
	w.delete()
	w.pass()
	if got := w.target().Status.Phase; got != workloadv1alpha1.PhaseTerminating {
		t.Fatalf("phase = %s", got)
	}
	w.forget()
	return w
}

// finish passes until the target is gone.
func (w *world) finish() {
	w.t.Helper()
	for range 20 {
		if w.gone() {
			return
		}
		_, _ = w.reconcile()
	}
	w.t.Fatalf("the deletion does not end: Deployed = %s", w.condition(workloadv1alpha1.ConditionDeployed))
}

// clean fails the test unless nothing of ours is left on both sides.
func (w *world) clean(what string) {
	w.t.Helper()
	if left := w.there.names(w.t); len(left) != 0 {
		w.t.Errorf("%s: left downstream: %q", what, left)
	}
	if left := slices.DeleteFunc(w.kcp.names(w.t), func(name string) bool { return name == `Secret "default/edge-1"` }); len(left) != 0 {
		w.t.Errorf("%s: left upstream: %q", what, left)
	}
	var secret corev1.Secret
	err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &secret)
	if client.IgnoreNotFound(err) != nil || len(secret.Finalizers) != 0 {
		w.t.Errorf("%s: finalizers of the Secret: %q, %v", what, secret.Finalizers, err)
	}
}

func TestDeletionInOrder(t *testing.T) {
	w := usual(t)
	w.ready()
	w.delete()
	w.pass()
	if diff := cmp.Diff([]string{`patch-status SyncTarget "edge-1"`}, w.kcp.writes); diff != "" || len(w.there.writes) != 0 {
		t.Errorf("Terminating is not said before anything is removed: %s, %q", diff, w.there.writes)
	}
	if got := w.condition(workloadv1alpha1.ConditionReady); got != "False Terminating: SyncTarget is being deleted" {
		t.Errorf("Ready = %s", got)
	}
	w.forget()

	var order []string
	note := func(side string) func(string) error {
		return func(request string) error {
			verb, rest, _ := strings.Cut(request, " ")
			kind, _, _ := strings.Cut(rest, " ")
			if verb != "get" && verb != "list" {
				order = append(order, side+" "+verb+" "+kind)
			}
			return nil
		}
	}
	w.kcp.refuse, w.there.refuse = note("upstream"), note("downstream")
	w.finish()
	index := func(request string) int {
		t.Helper()
		i := slices.Index(order, request)
		if i < 0 {
			t.Fatalf("no %s in %q", request, order)
		}
		return i
	}
	sequence := []int{
		index("downstream delete Deployment"), index("downstream delete Namespace"), index("upstream delete ServiceAccount"),
		index("upstream delete Namespace"), len(order) - 1,
	}
	if !slices.IsSorted(sequence) {
		t.Errorf("the agent, the identity, the finalizer: %v in %q", sequence, order)
	}
	if order[len(order)-1] != "upstream patch SyncTarget" || slices.Index(order, "upstream patch SyncTarget") != len(order)-1 {
		t.Errorf("the finalizer goes last and in one write: %q", order)
	}
	w.clean("after the deletion")
}

func TestStepHoldsBackTheLater(t *testing.T) {
	for failing, name := range []string{"copies", "agent", "identity", "secret"} {
		for how, answer := range map[string]func() (stepResult, error){
			"not done": func() (stepResult, error) { return stepWaits(inProgress, "waiting"), nil },
			"an error": func() (stepResult, error) { return stepResult{}, errInjected },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := deleted(t)
				var ran []string
				for i := range w.r.remove {
					step := w.r.remove[i]
					w.r.remove[i].run = func(context.Context, *scope, deletion, *removal) (stepResult, error) {
						ran = append(ran, step.name)
						if i == failing {
							return answer()
						}
						return stepDone(""), nil
					}
				}
				result := w.pass()
				if diff := cmp.Diff([]string{"copies", "agent", "identity", "secret"}[:failing+1], ran); diff != "" {
					t.Errorf("steps that ran: -want +got\n%s", diff)
				}
				if w.gone() {
					t.Fatal("the finalizer is gone although a step is not done")
				}
				if result.RequeueAfter != time.Second {
					t.Errorf("RequeueAfter = %s, want 1s", result.RequeueAfter)
				}
			})
		}
	}
}

func TestSlowNamespacesAreWaitedFor(t *testing.T) {
	w := deleted(t)
	w.there.slowNamespaces, w.kcp.slowNamespaces = true, true
	w.settle()
	if got, want := w.condition(workloadv1alpha1.ConditionDeployed), `False Removing: Namespace "`+testNamespace()+`" is still being deleted: held by finalizer kubernetes`; got != want {
		t.Errorf("Deployed = %s, want %s", got, want)
	}
	w.there.finishNamespaces(t)
	w.settle()
	if w.gone() {
		t.Fatal("the target went before its identity")
	}
	w.kcp.finishNamespaces(t)
	w.finish()
	w.clean("after the deletion")
}

func TestRemovalRecheck(t *testing.T) {
	tests := map[string]struct{ elapsed, want time.Duration }{
		"the clock of kcp is ahead": {-time.Hour, time.Second},
		"at once":                   {0, time.Second},
		"young":                     {4 * time.Second, time.Second},
		"older":                     {40 * time.Second, 10 * time.Second},
		"old":                       {4 * time.Minute, time.Minute},
		"very old":                  {time.Hour, time.Minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := removalBackoff(tc.elapsed); got != tc.want {
				t.Errorf("removalBackoff(%s) = %s, want %s", tc.elapsed, got, tc.want)
			}
		})
	}
}

func TestDeletionInPullMode(t *testing.T) {
	w := newWorld(t, newTarget(pull), newBinding())
	w.settle()
	w.beat(w.clock.Now())
	w.settle()
	w.delete()
	w.kcp.slowNamespaces = true
	for range 5 {
		w.pass()
	}
	w.kcp.finishNamespaces(t)
	w.finish()
	w.clean("pull mode")
	if w.clusters.gets != 0 {
		t.Error("the physical cluster was dialled")
	}
	want := `Normal Removing: You installed this syncer: remove it from the physical cluster with the manifests you applied (Namespace, ClusterRole and ClusterRoleBinding "` + testNamespace() + `" in the physical cluster "edge-1")`
	told := slices.DeleteFunc(slices.Clone(w.events.events), func(e string) bool { return !strings.Contains(e, "You installed") })
	if diff := cmp.Diff([]string{want}, told); diff != "" {
		t.Errorf("the user is told once: -want +got\n%s", diff)
	}
}

// TestNothingInstalled: a target that never reached its cluster is gone without asking it.
func TestNothingInstalled(t *testing.T) {
	w := usual(t)
	w.clusters.err = pcluster.ErrUnreachable
	w.settle()
	w.delete()
	w.finish()
	w.clean("nothing installed")
	if w.clusters.gets != 0 {
		t.Error("the physical cluster was asked although nothing is installed there")
	}
	if slices.ContainsFunc(w.events.events, func(e string) bool { return strings.HasPrefix(e, "Warning") }) {
		t.Errorf("Events: %q", w.events.events)
	}
}

func TestDeletionWithoutOurFinalizer(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) {
		target.Finalizers, target.DeletionTimestamp = []string{"somebody/else"}, &metav1.Time{Time: time.Now()}
	})
	w.pass()
	if len(w.kcp.writes)+len(w.there.writes) != 0 {
		t.Errorf("wrote %q, %q", w.kcp.writes, w.there.writes)
	}
}

// TestForgetsWhenGone: nothing is remembered of a target that is gone.
func TestForgetsWhenGone(t *testing.T) {
	w := deleted(t)
	w.finish()
	if len(w.r.heartbeats.targets)+len(w.r.deletions.byUID)+len(w.r.installCache.byUID)+len(w.r.tokens.proven) != 0 {
		t.Errorf("remembered: %v, %v, %v", w.r.heartbeats.targets, w.r.installCache.byUID, w.r.tokens.proven)
	}
	want := []pcluster.ID{{ClusterName: testCluster, Name: testName, UID: testUID}}
	if diff := cmp.Diff(want, w.clusters.forgotten); diff != "" {
		t.Errorf("connections closed: -want +got\n%s", diff)
	}
}
