package synctarget

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

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
						return apierrors.NewBadRequest("injected")
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
			want := []string{fmt.Sprintf(`Warning Abandoned: Deletion step abandoned %s. May be left behind: Namespace, ClusterRole and ClusterRoleBinding %q in the physical cluster "edge-1". The syncer cannot be removed: the call to the cluster failed`,
				tc.cause, testNamespace())}
			if diff := cmp.Diff(want, w.events.events); diff != "" {
				t.Errorf("Events: -want +got\n%s", diff)
			}
			if got := testutil.ToFloat64(w.r.Metrics.abandoned.WithLabelValues("agent")); got != 1 {
				t.Errorf("counted as given up: %v", got)
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
			w.r.remove[i].run = func(context.Context, *scope, deletion, *removal) (stepResult, error) {
				return stepResult{}, apierrors.NewBadRequest("injected")
			}
		}
		w.clock.Step(deadline)
		w.pass()
		if len(w.events.events) != 4 || !w.gone() {
			t.Errorf("Events: %q, gone = %t", w.events.events, w.gone())
		}
		for i, left := range []string{`May be left behind: nothing. injected`, `in the physical cluster "edge-1", and, if the Secret "default/edge-1" is there without the label that shows it to the service, finalizer "workload.kcp.io/synctarget-` + testKey() + `" on it. injected`, "in the workspace. injected", `finalizer "workload.kcp.io/synctarget-` + testKey() + `" on Secrets of the workspace. injected`} {
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

// TestRemovalGoesOn: where there is more to remove than a pass has time for, it goes on at once, and as long as it gets on it is
// not given up, unless the user does not wait.
func TestRemovalGoesOn(t *testing.T) {
	for name, tc := range map[string]struct {
		perPass          int
		abandoned, waits bool
	}{
		"at the deadline":    {2, false, true},
		"abandoned":          {2, true, false},
		"it does not get on": {0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			shops := []string{"shop-1", "shop-2", "shop-3", "shop-4", "shop-5"}
			ours := map[string]bool{}
			for _, name := range shops {
				w.assign(name)
				ours[fmt.Sprintf("delete Namespace %q", w.downstreamNamespaceOf(name)[0].GetName())] = true
			}
			w.settle()
			w.delete()
			w.pass()
			w.withdrawn(shops...)
			left := 0
			w.there.refuse = func(request string) error {
				if ours[request] {
					if left--; left < 0 {
						return context.DeadlineExceeded
					}
				}
				return nil
			}
			w.clock.Step(deadline)
			if tc.abandoned {
				abandon(t, w)
			}
			for pass := 0; pass < 5 && !w.gone(); pass++ {
				left = tc.perPass
				if again := w.pass().RequeueAfter; pass < 2 && !w.gone() && again != time.Second {
					t.Errorf("it goes on after %s: %s", again, w.condition(workloadv1alpha1.ConditionDeployed))
				}
			}
			if gaveUp := strings.Contains(strings.Join(w.events.events, ""), "Abandoned"); !w.gone() || gaveUp == tc.waits {
				t.Errorf("gone = %t, Events %q", w.gone(), w.events.events)
			}
		})
	}
}

// TestLettingGoWaitsForWhatSettles: a Namespace that is on its way out is nothing to warn of, but it does not hold the
// target for ever.
func TestLettingGoWaitsForWhatSettles(t *testing.T) {
	tests := map[string]struct {
		letGo func(*world)
		limit time.Duration
	}{
		"deadline": {func(w *world) { w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline)) }, deadline + completionTime},
		"abandon": {func(w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) {
				target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
			})
		}, completionTime},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := deleted(t)
			w.clusters.err = pcluster.ErrUnreachable
			w.kcp.slowNamespaces = true
			tc.letGo(w)
			if got := w.pass().RequeueAfter; got <= 0 || got > completionTime || w.gone() {
				t.Errorf("RequeueAfter = %s, gone = %t while the Namespace is on its way out", got, w.gone())
			}
			w.clock.SetTime(w.target().DeletionTimestamp.Add(tc.limit - time.Second))
			if got := w.pass().RequeueAfter; got <= 0 || got > completionTime || w.gone() {
				t.Errorf("RequeueAfter = %s, gone = %t just before it is overdue", got, w.gone())
			}
			w.clock.Step(2 * time.Second) // timestamps of the API are whole seconds
			w.pass()
			if !w.gone() {
				t.Fatal("a Namespace that hangs holds the target for ever")
			}
			last := w.events.events[len(w.events.events)-1]
			if !strings.HasPrefix(last, "Warning Abandoned") || !strings.Contains(last, "in the workspace") ||
				!strings.Contains(last, fmt.Sprintf("if the service stood in for the syncer, ClusterRoleBinding %q", testNamespace()+":access")) {
				t.Errorf("the last Event is %q", last)
			}
		})
	}
}
