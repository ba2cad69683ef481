package synctarget

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

func TestPhaseOf(t *testing.T) {
	now := metav1.Now()
	tests := map[string]struct {
		reason   string
		deleting bool
		ready    string
		beat     bool
		want     workloadv1alpha1.SyncTargetPhase
	}{
		"new":                  {"", false, "", false, workloadv1alpha1.PhasePending},
		"no heartbeat":         {"", false, workloadv1alpha1.ReasonAwaitingHeartbeat, false, workloadv1alpha1.PhasePending},
		"a wrong spec":         {"", false, workloadv1alpha1.ReasonValidationFailed, false, workloadv1alpha1.PhasePending},
		"ready":                {"", false, workloadv1alpha1.ReasonReady, true, workloadv1alpha1.PhaseReady},
		"silent":               {"", false, workloadv1alpha1.ReasonUnhealthy, true, workloadv1alpha1.PhaseNotReady},
		"a wrong spec, later":  {"There was a heartbeat once.", false, workloadv1alpha1.ReasonValidationFailed, true, workloadv1alpha1.PhaseNotReady},
		"deleted while ready":  {"", true, workloadv1alpha1.ReasonReady, true, workloadv1alpha1.PhaseTerminating},
		"deleted before ready": {"", true, "", false, workloadv1alpha1.PhaseTerminating},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			target.Status.Conditions = someReady(tc.ready)
			if tc.deleting {
				target.DeletionTimestamp = &now
			}
			if tc.beat {
				target.Status.LastHeartbeatTime = &now
			}
			if got := phaseOf(target); got != tc.want {
				t.Errorf("%s\nphaseOf() = %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

// TestOnePatchPerPass counts the writes to the target on the way to Ready, in trouble and at rest.
func TestOnePatchPerPass(t *testing.T) {
	w := usual(t)
	one := func(what string, want int) {
		t.Helper()
		w.pass()
		if len(w.kcp.statuses) > want {
			t.Errorf("%s: %d writes of the status, want %d: %q", what, len(w.kcp.statuses), want, w.kcp.statuses)
		}
		w.forget()
	}
	one("first contact", 1)
	one("install", 1)
	one("rolling out", 1)
	one("still rolling out", 0)
	w.rollOut()
	w.beat(w.clock.Now())
	one("ready", 1)
	one("at rest", 0)
	w.clock.Step(time.Minute)
	w.beat(w.clock.Now())
	one("another heartbeat", 0)
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells, target.Generation = nil, 2 })
	one("a wrong spec", 1)
	one("the same wrong spec", 0)
	w.clock.Step(threshold)
	one("silent", 0)
}

// TestPatchHoldsOnlyOurFields: what the syncer writes meanwhile must survive, and our decision must not rest on an
// old object.
func TestPatchHoldsOnlyOurFields(t *testing.T) {
	w := usual(t)
	w.ready()
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
		status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Group: "apps", Resource: "deployments", State: "Accepted"}}
	})
	w.clock.Step(threshold)
	w.pass()
	if len(w.kcp.statuses) != 1 {
		t.Fatalf("%d writes of the status, want 1: %q", len(w.kcp.statuses), w.kcp.statuses)
	}
	var body struct {
		Metadata map[string]any `json:"metadata"`
		Status   map[string]any `json:"status"`
	}
	if err := json.Unmarshal([]byte(w.kcp.statuses[0]), &body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"conditions", "phase"}, slices.Sorted(maps.Keys(body.Status))); diff != "" {
		t.Errorf("fields of the status in the patch: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"resourceVersion"}, slices.Sorted(maps.Keys(body.Metadata))); diff != "" {
		t.Errorf("fields of the metadata in the patch: -want +got\n%s", diff)
	}
	if status := w.target().Status; status.LastHeartbeatTime == nil || status.Syncer == nil || len(status.SyncedResources) != 1 {
		t.Errorf("what the syncer wrote is gone: %+v", status)
	}
}

func TestLastTransitionTime(t *testing.T) {
	w := usual(t)
	w.pass()
	w.pass()
	deployed := func() *metav1.Condition {
		return meta.FindStatusCondition(w.target().Status.Conditions, workloadv1alpha1.ConditionDeployed)
	}
	began := deployed().LastTransitionTime
	if !began.Time.Equal(w.clock.Now()) {
		t.Errorf("the first transition was at %s, want %s", began, w.clock.Now())
	}
	w.clock.Step(time.Minute)
	w.clusters.cluster = &physical{server: w.there.server, id: otherCluster}
	w.pass()
	if got := deployed(); got.Reason != workloadv1alpha1.ReasonClusterMismatch || !got.LastTransitionTime.Equal(&began) {
		t.Errorf("False to False: reason %s since %s, want ClusterMismatch since %s", got.Reason, got.LastTransitionTime, began)
	}
	w.clusters.cluster = w.there
	w.settle()
	w.rollOut()
	w.pass()
	if got := deployed(); got.Status != metav1.ConditionTrue || !got.LastTransitionTime.Time.Equal(w.clock.Now()) {
		t.Errorf("False to True: %s since %s, want True since %s", got.Status, got.LastTransitionTime, w.clock.Now())
	}
}

func TestObservedGeneration(t *testing.T) {
	w := usual(t)
	w.ready()
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation = 7 })
	w.settle()
	status := w.target().Status
	if status.ObservedGeneration != 7 {
		t.Errorf("observedGeneration = %d, want 7", status.ObservedGeneration)
	}
	for _, condition := range status.Conditions {
		if condition.ObservedGeneration != 7 {
			t.Errorf("%s: observedGeneration = %d, want 7", condition.Type, condition.ObservedGeneration)
		}
	}
	if status.Key != testKey() || status.ClusterID != thisCluster {
		t.Errorf("key = %q, clusterID = %q", status.Key, status.ClusterID)
	}
}

func TestParagraph(t *testing.T) {
	tests := map[string]struct {
		sentences []string
		want      string
	}{
		"one":      {[]string{"a"}, "a"},
		"some":     {[]string{"a", "b"}, "a. b"},
		"too many": {[]string{"äääääääääääääää", "b", "cccccccccccc", "d"}, "äääääääääääääää. b. And 2 more"},
		"too long": {[]string{strings.Repeat("a", 50), "b"}, strings.Repeat("a", 19) + "…. And 1 more"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := paragraph(tc.sentences, 40); got != tc.want || len([]rune(got)) > 40 {
				t.Errorf("paragraph() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTruncate(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"short":     {"abc", "abc"},
		"just fits": {"abcde", "abcde"},
		"long":      {"abcdef", "abcd…"},
		"not ASCII": {"äöüäöü", "äöüä…"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := sanitize.Truncate(tc.text, 5); got != tc.want {
				t.Errorf("sanitize.Truncate() = %q, want %q", got, tc.want)
			}
		})
	}
	w := usual(t)
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply Namespace") {
			return apierrors.NewInternalError(errors.New(strings.Repeat("ä", 40000)))
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil {
		t.Error("no error")
	}
	if got := len([]rune(meta.FindStatusCondition(w.target().Status.Conditions, workloadv1alpha1.ConditionDeployed).Message)); got != maxMessage {
		t.Errorf("a message of %d characters, want %d", got, maxMessage)
	}
}

func TestEventsOnlyOnChange(t *testing.T) {
	w := usual(t)
	said := func(what string, want ...string) {
		t.Helper()
		w.pass()
		if diff := cmp.Diff(want, w.events.events); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
		w.events.events = nil
	}
	said("first contact", "Normal Valid: SyncTarget validation passed", "Normal RollingOut: Installing the syncer",
		"Normal AwaitingHeartbeat: Waiting for the first heartbeat of the syncer")
	said("rolling out, for which the reason stays")
	w.rollOut()
	said("rolled out", "Normal Deployed: Syncer deployment successful")
	w.beat(w.clock.Now())
	said("ready", "Normal Ready: Syncer is healthy and ready")
	said("at rest")
	w.clock.Step(threshold)
	said("silent", `Warning Unhealthy: Syncer is not healthy: no heartbeat for more than 5m0s; see the Deployment "syncer" in the Namespace "`+testNamespace()+`" of the physical cluster`)
	said("still silent")
	w.beat(w.clock.Now())
	said("alive again", "Normal Ready: Syncer is healthy and ready")
	w.clusters.cluster = &physical{server: w.there.server, id: otherCluster}
	w.r.installCache.forget(testUID)
	w.pass()
	if len(w.events.events) != 1 || !strings.HasPrefix(w.events.events[0], "Warning ClusterMismatch: ") {
		t.Errorf("another cluster: %q", w.events.events)
	}
}

// TestNoEventWithoutWrite: an Event tells of what stands in the status.
func TestNoEventWithoutWrite(t *testing.T) {
	w := usual(t)
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "patch-status") {
			return errInjected
		}
		return nil
	}
	if _, err := w.reconcile(); !errors.Is(err, errInjected) {
		t.Fatalf("Reconcile() = %v", err)
	}
	if len(w.events.events) != 0 {
		t.Errorf("said %q of a status that was not written", w.events.events)
	}
}

func TestTimeToReadyOnce(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) {
		target.CreationTimestamp = metav1.NewTime(time.Now().Add(-42 * time.Second))
	})
	observed := func() int {
		t.Helper()
		families, err := w.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "synctarget_controller_time_to_ready_seconds" {
				return int(family.GetMetric()[0].GetHistogram().GetSampleCount())
			}
		}
		return -1
	}
	w.settle()
	if got := observed(); got != 0 {
		t.Errorf("%d observations before Ready, want 0", got)
	}
	w.beat(w.clock.Now())
	w.settle()
	if got := observed(); got != 1 {
		t.Errorf("%d observations when first Ready, want 1", got)
	}
	for range 2 {
		w.clock.Step(threshold)
		w.settle()
		w.beat(w.clock.Now())
		w.settle()
	}
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells = nil })
	w.settle()
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells = newTarget().Spec.Cells })
	w.beat(w.clock.Now().Add(time.Second))
	w.settle()
	if got := observed(); got != 1 {
		t.Errorf("%d observations after it was not Ready for a while, want 1", got)
	}
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) > 0 {
		t.Errorf("GatherAndLint() = %v, %v", problems, err)
	}
}

func TestIsFault(t *testing.T) {
	tests := map[string]bool{
		workloadv1alpha1.ReasonRollingOut: false, workloadv1alpha1.ReasonAwaitingInstall: false, workloadv1alpha1.ReasonAwaitingHeartbeat: false,
		workloadv1alpha1.ReasonRemoving: false, workloadv1alpha1.ReasonRemoved: false, workloadv1alpha1.ReasonTerminating: false,
		workloadv1alpha1.ReasonValidationFailed: true, workloadv1alpha1.ReasonDeploymentFailed: true, workloadv1alpha1.ReasonClusterMismatch: true,
		workloadv1alpha1.ReasonClusterUnreachable: true, workloadv1alpha1.ReasonUnhealthy: true, workloadv1alpha1.ReasonHealthCheckFailed: true,
		workloadv1alpha1.ReasonRemovalFailed: true, workloadv1alpha1.ReasonHealthEvaluationPaused: true,
	}
	for reason, want := range tests {
		if got := isFault(reason); got != want {
			t.Errorf("isFault(%s) = %t, want %t", reason, got, want)
		}
	}
}

// TestSyncedBeforeAdmitted: whoever sees that a Namespace is admitted does not find Synced as it was before.
func TestSyncedBeforeAdmitted(t *testing.T) {
	w := open(t)
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
		status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted}}
	})
	w.applied("shop")
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, "True Synced") {
		t.Fatalf("Synced = %s", got)
	}
	var synced string
	w.kcp.refuse = func(request string) error {
		if request == w.recordOf("books") {
			synced = w.condition(workloadv1alpha1.ConditionSynced)
		}
		return nil
	}
	w.assign("books")
	w.settle()
	if want := `False NotSynced: Namespace "books": some`; !strings.HasPrefix(synced, want) || !strings.HasPrefix(w.record("books"), "True Admitted") {
		t.Errorf("Synced = %q when Admitted was written, want %q; Admitted = %s", synced, want, w.record("books"))
	}
}

// TestStatusAfterARace: what others write to the SyncTarget during a pass keeps it from writing only if the pass rests on it.
func TestStatusAfterARace(t *testing.T) {
	count := func(target *workloadv1alpha1.SyncTarget) {
		target.Status.Assignments = &workloadv1alpha1.AssignmentCounts{Pending: 7}
	}
	tests := map[string]struct {
		reason string
		change func(*workloadv1alpha1.SyncTarget)
		// writes of the status that are tried.
		writes  int
		written bool
	}{
		"no race":              {"", nil, 1, true},
		"the scheduler counts": {"Its fields are of no concern here.", count, 2, true},
		"a heartbeat": {"Ready may be another.", func(target *workloadv1alpha1.SyncTarget) {
			target.Status.LastHeartbeatTime = ptr.To(metav1.Unix(2000000000, 0))
		}, 1, false},
		"the user": {"The spec may be another.", func(target *workloadv1alpha1.SyncTarget) { target.Annotations = map[string]string{"a": "b"} }, 1, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.clock.Step(threshold) // what was Ready is not
			writes := 0
			w.kcp.refuse = func(request string) error {
				if !strings.HasPrefix(request, "patch-status SyncTarget") {
					return nil
				}
				if writes++; writes == 1 && tc.change != nil {
					w.edit(tc.change)
					w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
						target := &workloadv1alpha1.SyncTarget{Status: *status}
						tc.change(target)
						*status = target.Status
					})
				}
				return nil
			}
			w.pass()
			if writes != tc.writes || !w.isReady() != tc.written {
				t.Errorf("%s\n%d writes, Ready = %s", tc.reason, writes, w.condition(workloadv1alpha1.ConditionReady))
			}
		})
	}
}

// TestHeartbeatDuringPass: a syncer without a Lease writes to the SyncTarget with each heartbeat. Where kcp is slow, each pass meets one,
// and would never write what it has found.
func TestHeartbeatDuringPass(t *testing.T) {
	w := usual(t)
	w.ready()
	stale := w.target()
	w.cache.reader = staleTarget{w.kcp.raw, stale}
	w.clock.Step(time.Minute)
	w.beat(w.clock.Now())
	w.clusters.cluster = &physical{server: w.there.server, id: otherCluster}
	w.r.installCache.forget(testUID)
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False ClusterMismatch") {
		t.Errorf("Deployed = %s", got)
	}
	if got := w.target().Status.LastHeartbeatTime; !got.Time.Equal(w.clock.Now()) {
		t.Errorf("the heartbeat of %s is gone: %s", w.clock.Now(), got)
	}
}

// TestRestsOnHeartbeat: a pass that ends Ready rests on the heartbeat, and so does whatever there was none for before.
func TestRestsOnHeartbeat(t *testing.T) {
	before, after := newTarget(), newTarget()
	before.Status.LastHeartbeatTime = &metav1.Time{Time: time.Unix(1, 0)}
	after.Status.LastHeartbeatTime = &metav1.Time{Time: time.Unix(2, 0)}
	if restsOnSame(before, after, true) || !restsOnSame(before, after, false) {
		t.Error("a later heartbeat counts where Ready ends, and only there")
	}
	before.Status.LastHeartbeatTime = nil
	if restsOnSame(before, after, false) {
		t.Error("the first heartbeat does not count")
	}
	before.Status.Conditions = someReady(workloadv1alpha1.ReasonReady)
	silent := map[string]verdict{workloadv1alpha1.ConditionReady: blocked(workloadv1alpha1.ReasonUnhealthy, "silent")}
	if !endsReady(before, silent) || endsReady(newTarget(), silent) || endsReady(before, nil) {
		t.Error("endsReady() is wrong")
	}
}
