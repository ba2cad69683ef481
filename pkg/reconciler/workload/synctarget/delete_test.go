package synctarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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
	for failing, name := range []string{"agent", "identity", "secret"} {
		for how, answer := range map[string]func() (verdict, error){
			"not done": func() (verdict, error) { return blocked(workloadv1alpha1.ReasonRemoving, "waiting"), nil },
			"an error": func() (verdict, error) { return verdict{}, errInjected },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := deleted(t)
				var ran []string
				for i := range w.r.remove {
					step := w.r.remove[i]
					w.r.remove[i].run = func(context.Context, *scope) (verdict, error) {
						ran = append(ran, step.name)
						if i == failing {
							return answer()
						}
						return passed(workloadv1alpha1.ReasonRemoved, ""), nil
					}
				}
				result := w.pass()
				if diff := cmp.Diff([]string{"agent", "identity", "secret"}[:failing+1], ran); diff != "" {
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
	if got := w.kcp.names(t); len(got) != 6 {
		t.Errorf("the identity went before the agent: %q", got)
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
			if got := removalRecheck(tc.elapsed); got != tc.want {
				t.Errorf("removalRecheck(%s) = %s, want %s", tc.elapsed, got, tc.want)
			}
		})
	}
}

func TestRemovalFailed(t *testing.T) {
	tests := map[string]struct {
		reason  string
		prepare func(*world)
		want    string
	}{
		"the Secret is gone": {
			"By force, for we hold it.",
			func(w *world) {
				secret := &corev1.Secret{}
				key := client.ObjectKey{Namespace: "default", Name: "edge-1"}
				_ = w.kcp.raw.Get(w.t.Context(), key, secret)
				secret.Finalizers = nil
				_ = w.kcp.raw.Update(w.t.Context(), secret)
				_ = w.kcp.raw.Delete(w.t.Context(), secret)
			},
			`The syncer cannot be removed: Secret "default/edge-1" is not found; create it, with the label workload.kcp.io/visible=true that shows it to this service`,
		},
		"unreachable": {
			"", func(w *world) { w.clusters.err = fmt.Errorf("dialling: %w", pcluster.ErrUnreachable) },
			"The syncer cannot be removed: the call to the cluster failed",
		},
		"another cluster": {
			"Nothing is removed there.", func(w *world) { w.there.id = otherCluster },
			`The syncer cannot be removed: the kubeconfig leads to cluster "` + otherCluster + `", but the syncer is in cluster "` + thisCluster + `"`,
		},
		"the cluster refuses": {
			"", func(w *world) {
				w.there.refuse = func(request string) error {
					if strings.HasPrefix(request, "delete Deployment") {
						return errors.New(canary)
					}
					return nil
				}
			}, "The syncer cannot be removed: the call to the cluster failed",
		},
		"kcp refuses": {
			"", func(w *world) {
				w.kcp.refuse = func(request string) error {
					if strings.HasPrefix(request, "delete ServiceAccount") {
						return errInjected
					}
					return nil
				}
			}, `removing the syncer's identity from the workspace: deleting ServiceAccount "` + testNamespace() + `/syncer": injected`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := deleted(t)
			tc.prepare(w)
			for range 4 {
				w.pass()
			}
			w.forget()
			want := fmt.Sprintf("False RemovalFailed: %s. The deletion is retried until %s; to let go now, whatever is left behind, set the annotation workload.kcp.io/abandon=true",
				tc.want, w.target().DeletionTimestamp.Add(deadline).UTC().Format(time.RFC3339))
			if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
				t.Errorf("%s\nDeployed: -want +got\n%s", tc.reason, diff)
			}
			w.clock.Step(time.Minute)
			w.pass()
			if len(w.kcp.statuses) != 0 {
				t.Errorf("the message changes with the time: %q", w.kcp.statuses)
			}
		})
	}
}

// TestDeadlineAndAbandon: every deletion ends, says what may be left, and does all that it still can.
func TestDeadlineAndAbandon(t *testing.T) {
	tests := map[string]struct {
		letGo func(*world)
		cause string
	}{
		"deadline": {func(w *world) { w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline)) }, "after 15m0s"},
		"abandon": {func(w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) {
				target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
			})
		}, "by annotation"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := deleted(t)
			w.clusters.err = fmt.Errorf("dialling: %w", pcluster.ErrUnreachable)
			w.settle()
			if w.gone() {
				t.Fatal("let go too early")
			}
			tc.letGo(w)
			w.pass()
			if !w.gone() {
				t.Fatal("not let go")
			}
			want := []string{fmt.Sprintf(`Warning Abandoned: Deletion let go %s. May be left behind: Namespace, ClusterRole and ClusterRoleBinding %q in the physical cluster "edge-1". The syncer cannot be removed: the call to the cluster failed`,
				tc.cause, testNamespace())}
			if diff := cmp.Diff(want, w.events.events); diff != "" {
				t.Errorf("Events: -want +got\n%s", diff)
			}
			w.there.server = newServer(t, w.clock) // what is left there is left
			w.clean("the later steps")
		})
	}
	t.Run("just before the deadline", func(t *testing.T) {
		w := deleted(t)
		w.clusters.err = pcluster.ErrUnreachable
		w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline - 10*time.Second))
		if got := w.pass().RequeueAfter; got != 10*time.Second || w.gone() {
			t.Errorf("RequeueAfter = %s, gone = %t, want a pass at the deadline", got, w.gone())
		}
	})
	t.Run("every step", func(t *testing.T) {
		w := deleted(t)
		for i := range w.r.remove {
			w.r.remove[i].run = func(context.Context, *scope) (verdict, error) { return verdict{}, errInjected }
		}
		w.clock.Step(deadline)
		w.pass()
		if len(w.events.events) != 3 || !w.gone() {
			t.Errorf("Events: %q, gone = %t", w.events.events, w.gone())
		}
		for i, left := range []string{`in the physical cluster "edge-1". injected`, "in the workspace. injected", `finalizer "workload.kcp.io/synctarget-` + testKey() + `" on Secrets of the workspace. injected`} {
			if !strings.HasSuffix(w.events.events[i], left) {
				t.Errorf("Event %q does not name %q", w.events.events[i], left)
			}
		}
	})
	t.Run("an annotation of another value", func(t *testing.T) {
		w := deleted(t)
		w.clusters.err = pcluster.ErrUnreachable
		w.edit(func(target *workloadv1alpha1.SyncTarget) {
			target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "false"}
		})
		w.settle()
		if w.gone() {
			t.Error("let go")
		}
	})
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
	if len(w.r.pulses.byUID)+len(w.r.installed.byUID)+len(w.r.tokens.proven) != 0 {
		t.Errorf("remembered: %v, %v, %v", w.r.pulses.byUID, w.r.installed.byUID, w.r.tokens.proven)
	}
	want := []pcluster.ID{{ClusterName: testCluster, Name: testName, UID: testUID}}
	if diff := cmp.Diff(want, w.clusters.forgotten); diff != "" {
		t.Errorf("connections closed: -want +got\n%s", diff)
	}
}

// TestCrash ends the controller at each of its writes, made or not, and lets another one finish. The Secret is
// deleted together with the target, as kubectl delete -f does.
func TestCrash(t *testing.T) {
	life := func(w *world) {
		for quiet := 0; quiet < 2; {
			before := len(w.kcp.writes) + len(w.there.writes)
			if _, err := w.reconcile(); err != nil {
				w.restart()
			}
			if quiet++; before != len(w.kcp.writes)+len(w.there.writes) {
				quiet = 0
			}
		}
	}
	deletion := func(w *world) {
		w.delete()
		var secret corev1.Secret
		if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &secret); err != nil {
			w.t.Fatal(err)
		}
		if err := w.kcp.raw.Delete(w.t.Context(), &secret); err != nil {
			w.t.Fatal(err)
		}
		life(w)
	}
	dry := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
	life(dry)
	installs := [2]int{len(dry.kcp.writes), len(dry.there.writes)}
	deletion(dry)
	if !dry.gone() {
		t.Fatal("the deletion does not end without a crash")
	}
	removals := [2]int{len(dry.kcp.writes), len(dry.there.writes)}

	for side, name := range []string{"upstream", "downstream"} {
		for n := 1; n <= removals[side]; n++ {
			for _, lost := range []bool{false, true} {
				what := fmt.Sprintf("%s write %d, made %t", name, n, lost)
				w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
				s := []*server{w.kcp, w.there.server}[side]
				s.failWrite, s.lost = n, lost
				life(w)
				if n <= installs[side] {
					w.rollOut()
					w.wake()
					life(w)
					if !meta.IsStatusConditionTrue(w.target().Status.Conditions, workloadv1alpha1.ConditionDeployed) {
						t.Errorf("%s: Deployed = %s", what, w.condition(workloadv1alpha1.ConditionDeployed))
					}
				}
				deletion(w)
				if !w.gone() {
					t.Errorf("%s: the deletion does not end: %s", what, w.condition(workloadv1alpha1.ConditionDeployed))
					continue
				}
				w.clean(what)
				if slices.ContainsFunc(w.events.events, func(e string) bool { return strings.HasPrefix(e, "Warning Abandoned") }) {
					t.Errorf("%s: let go: %q", what, w.events.events)
				}
			}
		}
	}
}

// TestLettingGoWaitsForWhatSettles: a Namespace that is on its way out is nothing to warn of, but it does not hold the
// target for ever.
func TestLettingGoWaitsForWhatSettles(t *testing.T) {
	w := deleted(t)
	w.clusters.err = pcluster.ErrUnreachable
	w.kcp.slowNamespaces = true
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
	})
	if got := w.pass().RequeueAfter; got <= 0 || got > settling || w.gone() {
		t.Errorf("RequeueAfter = %s, gone = %t while the Namespace is on its way out", got, w.gone())
	}
	w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline + settling - time.Second))
	if got := w.pass().RequeueAfter; got != time.Second || w.gone() {
		t.Errorf("RequeueAfter = %s, gone = %t, want a pass when it is overdue", got, w.gone())
	}
	w.clock.Step(time.Second)
	w.pass()
	if !w.gone() {
		t.Fatal("a Namespace that hangs holds the target for ever")
	}
	last := w.events.events[len(w.events.events)-1]
	if !strings.HasPrefix(last, "Warning Abandoned") || !strings.Contains(last, "in the workspace") {
		t.Errorf("the last Event is %q", last)
	}
}
