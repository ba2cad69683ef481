package synctarget

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (w *world) isReady() bool {
	return meta.IsStatusConditionTrue(w.target().Status.Conditions, workloadv1alpha1.ConditionReady)
}

// TestKcpOutage: while kcp does not answer, nobody can tell us of a heartbeat. Silence counts anew from then on, and
// nobody becomes Ready by it either.
func TestKcpOutage(t *testing.T) {
	outage := func(w *world) {
		w.kcp.refuse = func(string) error { return errInjected }
		if _, err := w.reconcile(); err == nil {
			t.Error("a pass without kcp did not fail")
		}
		w.kcp.refuse = func(string) error { return nil }
	}
	t.Run("Ready", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.clock.Step(threshold + time.Minute)
		outage(w)
		if result := w.pass(); !w.isReady() || result.RequeueAfter > threshold {
			t.Errorf("Ready = %s, RequeueAfter = %s", w.condition(workloadv1alpha1.ConditionReady), result.RequeueAfter)
		}
		w.clock.Step(threshold)
		if w.pass(); w.isReady() {
			t.Error("Ready after a full threshold in which kcp answered")
		}
	})
	t.Run("Unhealthy", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.clock.Step(threshold)
		w.settle()
		outage(w)
		if w.pass(); w.isReady() {
			t.Error("an outage made a dead syncer Ready")
		}
	})
	t.Run("a part of kcp", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.kcp.refuse = func(request string) error {
			if strings.HasPrefix(request, "get Namespace") {
				return apierrors.NewTooManyRequests("later", 1)
			}
			return nil
		}
		for range 2 {
			w.clock.Step(threshold / 2)
			w.r.installCache.forgetIdentity(testUID)
			if _, err := w.reconcile(); err == nil {
				t.Error("no error")
			}
		}
		if w.isReady() {
			t.Error("kcp answered other requests all the time, so a heartbeat would have been heard")
		}
	})
	t.Run("an answer", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.clock.Step(threshold)
		w.kcp.refuse = func(request string) error {
			if strings.HasPrefix(request, "get Secret") {
				return apierrors.NewBadRequest("no")
			}
			return nil
		}
		if _, err := w.reconcile(); err == nil {
			t.Error("no error")
		}
		if w.isReady() {
			t.Error("kcp answered, if only to refuse: that is no excuse for silence")
		}
	})
}

// TestHiccup: that kcp did not answer once is no news of the target.
func TestHiccup(t *testing.T) {
	for name, err := range map[string]error{
		"no answer": errInjected,
		"busy":      apierrors.NewTooManyRequests("later", 1),
		"starting":  apierrors.NewServiceUnavailable("starting"),
		"failing":   apierrors.NewInternalError(errInjected),
		"too slow":  apierrors.NewTimeoutError("slow", 1),
	} {
		for _, request := range []string{"get Secret", "get Namespace"} {
			t.Run(name+", "+request, func(t *testing.T) {
				w := usual(t)
				w.ready()
				w.r.installCache.forgetIdentity(testUID)
				w.kcp.refuse = func(r string) error {
					if strings.HasPrefix(r, request) {
						return err
					}
					return nil
				}
				if result, got := w.reconcile(); !errors.Is(got, err) || result.RequeueAfter != 0 {
					t.Errorf("Reconcile() = %+v, %v, want the error alone", result, got)
				}
				if len(w.kcp.writes)+len(w.events.events) != 0 {
					t.Errorf("it wrote %q and said %q", w.kcp.writes, w.events.events)
				}
			})
		}
	}
}

// TestOldCopy: a pass that took its time may hold a target that is older than what the events brought meanwhile.
func TestOldCopy(t *testing.T) {
	w := usual(t)
	w.ready()
	old := w.target()
	w.clock.Step(10 * time.Second)
	w.beat(w.clock.Now())
	w.clock.Step(threshold - time.Second)
	w.r.health(&scope{target: old, key: testKey()})
	w.clock.Step(time.Second)
	if w.pass(); w.isReady() {
		t.Error("an old copy passed for a heartbeat")
	}
}

// TestSecondSyncer: a syncer in another cluster does not make the right one's heartbeats untrue.
func TestSecondSyncer(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(10 * time.Second)
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
		status.LastHeartbeatTime = &metav1.Time{Time: w.clock.Now()}
		status.Syncer = &workloadv1alpha1.SyncerStatus{ClusterID: otherCluster}
	})
	if w.pass(); !w.isReady() {
		t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
	}
	w.clock.Step(threshold)
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False AwaitingHeartbeat: Heartbeats come from a syncer in cluster") {
		t.Errorf("Ready = %s, after the right one fell silent", got)
	}
}

// TestWithdrawnKubeconfig: credentials that the user took back are not used again, and new ones are.
func TestWithdrawnKubeconfig(t *testing.T) {
	for name, data := range map[string]map[string][]byte{
		"emptied": {"kubeconfig": nil},
		"refused": {"kubeconfig": []byte("not: a kubeconfig")},
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			var secret corev1.Secret
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &secret); err != nil {
				t.Fatal(err)
			}
			before := secret.Data
			set := func(data map[string][]byte) {
				secret.Data = data
				if err := w.kcp.raw.Update(t.Context(), &secret); err != nil {
					t.Fatal(err)
				}
			}
			set(data)
			w.pass()
			if len(w.clusters.forgotten) != 1 || !w.isReady() {
				t.Errorf("connections closed: %v, Ready = %s", w.clusters.forgotten, w.condition(workloadv1alpha1.ConditionReady))
			}
			set(before)
			w.forget()
			w.settle()
			if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
				t.Errorf("Deployed = %s", got)
			}
		})
	}
}

// TestBackOff: what lasts is looked at ever more rarely.
func TestBackOff(t *testing.T) {
	w := usual(t)
	w.settle() // rolling out
	var got []time.Duration
	for _, step := range []time.Duration{0, 20 * time.Second, 40 * time.Second, time.Minute, time.Hour} {
		w.clock.Step(step)
		got = append(got, w.pass().RequeueAfter)
	}
	want := []time.Duration{rolloutRecheck, rolloutRecheck, 15 * time.Second, 30 * time.Second, time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("RequeueAfter: -want +got\n%s", diff)
	}
}

// TestRaces: a pass that loses one race after another does not spin.
func TestRaces(t *testing.T) {
	w := usual(t)
	w.settle()
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation++ })
	lost := apierrors.NewConflict(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "patch-status") {
			return lost
		}
		return nil
	}
	for _, want := range []time.Duration{conflictRetry, 2 * conflictRetry, 4 * conflictRetry} {
		if got := w.pass().RequeueAfter; got != want {
			t.Errorf("RequeueAfter = %s, want %s", got, want)
		}
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation++ })
	w.kcp.refuse = func(string) error { return lost }
	if got := w.pass().RequeueAfter; got != conflictRetry {
		t.Errorf("RequeueAfter = %s after a race that was won, want %s", got, conflictRetry)
	}
}

// TestLeftMeanwhile: a target that leaves during a pass is not remembered by what the pass learned.
func TestLeftMeanwhile(t *testing.T) {
	w := usual(t)
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply ServiceAccount") {
			target := w.target()
			target.Finalizers = nil
			if err := errors.Join(w.kcp.raw.Update(t.Context(), target), w.kcp.raw.Delete(t.Context(), target)); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	w.pass()
	if len(w.r.heartbeats.targets)+len(w.r.installCache.byUID)+len(w.r.tokens.proven) != 0 || len(w.clusters.forgotten) != 1 {
		t.Errorf("remembered: %v, %v, %v; closed: %v", w.r.heartbeats.targets, w.r.installCache.byUID, w.r.tokens.proven, w.clusters.forgotten)
	}
}
