package synctarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// missedBeat is a heartbeat that the watch does not deliver, and that is not in the cache either.
func (w *world) missedBeat(at time.Time) {
	w.t.Helper()
	stale := w.target()
	w.cache.reader = staleTarget{w.kcp.raw, stale}
	target := w.target()
	target.Status.LastHeartbeatTime = &metav1.Time{Time: at.Truncate(time.Second)}
	if err := w.kcp.raw.Status().Update(w.t.Context(), target); err != nil {
		w.t.Fatal(err)
	}
	w.kcp.refuse = func(request string) error { // what rests on a stale object is refused
		if strings.HasPrefix(request, "patch") {
			return apierrors.NewConflict(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
		}
		return nil
	}
}

// TestStalledWatch: silence of the watch is not silence of the syncer.
func TestStalledWatch(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(threshold - time.Second)
	w.missedBeat(w.clock.Now())
	w.clock.Step(time.Second)
	if result := w.pass(); !w.isReady() || result.RequeueAfter > threshold || len(w.kcp.writes) != 0 {
		t.Errorf("Ready = %s, RequeueAfter = %s, writes %q", w.condition(workloadv1alpha1.ConditionReady), result.RequeueAfter, w.kcp.writes)
	}
	if got, want := w.r.HealthDetails(), []string{`endpoint "default": the watch of SyncTargets or of Leases has not delivered a heartbeat that kcp holds; silence is verified by live reads`}; !slices.Equal(got, want) {
		t.Errorf("HealthDetails() = %q, want %q", got, want)
	}

	w.cache.reader, w.kcp.refuse = w.kcp.raw, func(string) error { return nil }
	w.r.observeHeartbeat(t.Context(), w.r.endpointOf(testCluster), w.target())
	if got, want := w.r.HealthDetails(), []string{`endpoint "default": heartbeats are judged`}; !slices.Equal(got, want) {
		t.Errorf("HealthDetails() = %q after an event, want %q", got, want)
	}
	w.clock.Step(threshold)
	if w.pass(); w.isReady() {
		t.Error("a syncer that died after the stall is Ready")
	}
}

// TestOnlyTargetOfAnEndpoint: that no heartbeat at all arrives does not hide a dead syncer.
func TestOnlyTargetOfAnEndpoint(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(threshold)
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
		t.Errorf("Ready = %s", got)
	}
	w.settle()
	w.pass()
	if live := slices.Index(w.kcp.reads, `get SyncTarget "edge-1"`); live >= 0 {
		t.Errorf("silence that is verified is read again: %q", w.kcp.reads)
	}
}

// TestUnverifiedSilence: without a live read nothing is concluded from silence.
func TestUnverifiedSilence(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(threshold)
	failure := error(apierrors.NewTooManyRequests("later", 1))
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "get SyncTarget") {
			return failure
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil || !w.isReady() {
		t.Errorf("Reconcile() = %v, Ready = %s", err, w.condition(workloadv1alpha1.ConditionReady))
	}
	noAnswer := []string{`endpoint "default": kcp did not answer a live read by which the silence of a syncer is verified; the condition Ready of its SyncTarget stays as it is`}
	if got := w.r.HealthDetails(); !slices.Equal(got, noAnswer) {
		t.Errorf("HealthDetails() = %q, want %q", got, noAnswer)
	}
	w.clock.Step(threshold)
	failure = notFound("synctargets", testName)
	if result := w.pass(); !w.isReady() || result.RequeueAfter < time.Second || result.RequeueAfter > retryMax {
		t.Errorf("Ready = %s, RequeueAfter = %s where kcp does not show the target", w.condition(workloadv1alpha1.ConditionReady), result.RequeueAfter)
	}
	failure = nil
	w.pass()
	if got, want := w.r.HealthDetails(), []string{`endpoint "default": heartbeats are judged`}; w.isReady() || !slices.Equal(got, want) {
		t.Errorf("Ready = %s, HealthDetails() = %q, want %q", w.condition(workloadv1alpha1.ConditionReady), got, want)
	}
}

// TestMassSilence: many targets that fall silent together are not declared dead at once.
func TestMassSilence(t *testing.T) {
	const (
		paused = "Unknown HealthEvaluationPaused: The heartbeats of many SyncTargets stopped within a minute, so kcp or the network may be at fault, not the syncer; this SyncTarget is Ready when its heartbeats return, and not healthy after 10m0s without one"
		ready  = "True Ready: Syncer is healthy and ready"
	)
	setup := func(t *testing.T) *world {
		w := usual(t)
		w.ready()
		for _, uid := range []string{"a", "b", "c"} {
			w.r.heartbeats.observe(defaultEndpoint, otherTarget(uid, someReady(workloadv1alpha1.ReasonReady)))
		}
		w.clock.Step(threshold)
		w.settle()
		if got := w.condition(workloadv1alpha1.ConditionReady); got != paused {
			t.Fatalf("Ready = %s, want %s", got, paused)
		}
		if got, want := w.r.HealthDetails(), []string{`endpoint "default": the heartbeats of many SyncTargets stopped within a minute; their condition Ready is Unknown`}; !slices.Equal(got, want) {
			t.Errorf("HealthDetails() = %q, want %q", got, want)
		}
		return w
	}
	t.Run("heartbeats return", func(t *testing.T) {
		w := setup(t)
		w.beat(w.clock.Now().Add(time.Minute))
		w.settle()
		if got := w.condition(workloadv1alpha1.ConditionReady); got != ready {
			t.Errorf("Ready = %s, want %s", got, ready)
		}
		if got, want := w.r.HealthDetails(), []string{`endpoint "default": heartbeats are judged`}; !slices.Equal(got, want) {
			t.Errorf("HealthDetails() = %q, want %q", got, want)
		}
	})
	t.Run("twice the threshold", func(t *testing.T) {
		w := setup(t)
		for _, uid := range []string{"a", "b", "c"} {
			w.r.heartbeats.forget(otherTarget(uid, nil).UID) // that others return or are deleted ends nothing for this one
		}
		if got := w.pass().RequeueAfter; got <= 0 || got > threshold {
			t.Errorf("RequeueAfter = %s, want at most %s", got, threshold)
		}
		w.clock.Step(threshold - time.Second)
		w.settle()
		if got := w.condition(workloadv1alpha1.ConditionReady); got != paused {
			t.Errorf("Ready = %s before twice the threshold has passed", got)
		}
		w.clock.Step(time.Second)
		w.settle()
		if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
			t.Errorf("Ready = %s after twice the threshold", got)
		}
	})
	t.Run("a restart", func(t *testing.T) {
		w := setup(t)
		w.restart()
		w.pass()
		if got := w.condition(workloadv1alpha1.ConditionReady); got != paused {
			t.Errorf("Ready = %s after a restart", got)
		}
		w.clock.Step(threshold)
		w.settle()
		if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
			t.Errorf("Ready = %s a threshold after a restart", got)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		w := setup(t)
		if w.r.isSilent(&scope{clusterName: testCluster, target: w.target(), key: testKey()}) {
			t.Error("a deletion does not wait for a syncer that may live")
		}
	})
}

// TestEndpoints: the targets of one endpoint say nothing of those of another.
func TestEndpoints(t *testing.T) {
	w := usual(t)
	w.r.EndpointOf = func(clusterName multicluster.ClusterName) string {
		return map[multicluster.ClusterName]string{testCluster: "https://a", "other": "https://b"}[clusterName]
	}
	w.r.observeHeartbeat(t.Context(), w.r.endpointOf(testCluster), w.target())
	w.ready()
	for _, uid := range []string{"1", "2", "3", "4"} {
		w.r.observeHeartbeat(t.Context(), w.r.endpointOf("other"), otherTarget(uid, someReady(workloadv1alpha1.ReasonReady)))
	}
	w.r.observeHeartbeat(t.Context(), w.r.endpointOf(testCluster), w.target())
	w.clock.Step(threshold)
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
		t.Errorf("Ready = %s", got)
	}
	if got := w.r.endpointOf("unknown"); got != defaultEndpoint {
		t.Errorf("the endpoint of an unknown logical cluster is %q", got)
	}
	want := []string{`endpoint "https://a": heartbeats are judged`, `endpoint "https://b": heartbeats are judged`}
	if got := w.r.HealthDetails(); !slices.Equal(got, want) {
		t.Errorf("HealthDetails() = %q, want %q", got, want)
	}
}
