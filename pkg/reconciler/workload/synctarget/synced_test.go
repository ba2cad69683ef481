package synctarget

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestSynced(t *testing.T) {
	accepted := func(objects, failing int32) workloadv1alpha1.SyncedResourceStatus {
		return workloadv1alpha1.SyncedResourceStatus{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted, Objects: objects, Failing: failing}
	}
	other := func(state workloadv1alpha1.SyncedResourceState) workloadv1alpha1.SyncedResourceStatus {
		return workloadv1alpha1.SyncedResourceStatus{Group: "apps", Resource: "deployments", State: state, Message: "why"}
	}
	unwatched := func(resource string, since time.Duration, failing int32) workloadv1alpha1.SyncedResourceStatus {
		at := metav1.NewTime(time.Unix(1700000000, 0).Add(since))
		return workloadv1alpha1.SyncedResourceStatus{
			Resource: resource, State: workloadv1alpha1.ResourceAccepted, Objects: 3, Failing: failing, UnwatchedSince: &at,
			Message: "the watch of the physical cluster fails: " + resource,
		}
	}
	tests := map[string]struct {
		reason string
		change func(*workloadv1alpha1.SyncTargetStatus)
		named  bool
		want   string
	}{
		"no report": {"", func(s *workloadv1alpha1.SyncTargetStatus) { s.SyncedResources = nil }, false, "Unknown AwaitingReport: "},
		"all right": {"", func(*workloadv1alpha1.SyncTargetStatus) {}, false, `True Synced: What is in the assigned Namespaces is in the physical cluster "edge-1"`},
		"opened a moment ago": {"The syncer has yet to look at it.", func(s *workloadv1alpha1.SyncTargetStatus) { s.SyncedResources[0].Objects = 77 }, false,
			`False NotSynced: Namespace "shop": some of what is in it has yet to reach`},
		"failing": {"", func(s *workloadv1alpha1.SyncTargetStatus) { s.SyncedResources[0] = accepted(9, 4) }, false, "False NotSynced: Some of the configmaps are refused"},
		"not served": {"Nobody asked for it by name.", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, other(workloadv1alpha1.ResourceMissing))
		}, false, "True Synced"},
		"named": {"", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, other(workloadv1alpha1.ResourceMissing))
		}, true, "False NotSynced: deployments.apps: Missing: why"},
		"not allowed": {"", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, other(workloadv1alpha1.ResourceForbidden))
		}, false, "False NotSynced: deployments.apps: Forbidden: why"},
		"not watched": {"What is not seen is not known.", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, unwatched("secrets", 0, 0))
		}, false, "Unknown WatchFailing: secrets: the watch of the physical cluster fails: secrets"},
		"not watched, one for longer": {"The first one stays named while others follow.", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, unwatched("services", time.Second, 0), unwatched("secrets", 0, 0))
		}, false, "Unknown WatchFailing: secrets: "},
		"not watched, in a new Namespace": {"The cause is named.", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources[0].Objects = 77 // not applied yet
			s.SyncedResources = append(s.SyncedResources, unwatched("secrets", 0, 0))
		}, false, "Unknown WatchFailing: secrets: "},
		"not watched, and failing": {"What is known to fail comes first.", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, unwatched("secrets", 0, 1))
		}, false, "False NotSynced: Some of the secrets are refused"},
		"not watched, and another not allowed": {"", func(s *workloadv1alpha1.SyncTargetStatus) {
			s.SyncedResources = append(s.SyncedResources, unwatched("secrets", 0, 0), other(workloadv1alpha1.ResourceForbidden))
		}, false, "False NotSynced: deployments.apps: Forbidden: why"},
		"not watched, and not served": {"Nobody asked for it.", func(s *workloadv1alpha1.SyncTargetStatus) {
			missing := unwatched("secrets", 0, 0)
			missing.State = workloadv1alpha1.ResourceMissing
			s.SyncedResources = append(s.SyncedResources, missing)
		}, false, "True Synced"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			if tc.named {
				w.edit(func(target *workloadv1alpha1.SyncTarget) {
					target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "apps", Resource: "deployments"}}
				})
			}
			w.report(func(s *workloadv1alpha1.SyncTargetStatus) {
				s.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{accepted(3, 0)}
				tc.change(s)
			})
			if name != "opened a moment ago" {
				w.applied("shop")
			}
			w.settle()
			if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s\nSynced = %s, want %s", tc.reason, got, tc.want)
			}
			if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "True") {
				t.Errorf("Ready depends on it: %s", got)
			}
		})
	}
}

// TestSyncedFollowsTheNamespaces: it is refused with the first reason, and gone with the last Namespace.
func TestSyncedFollowsTheNamespaces(t *testing.T) {
	w := usual(t)
	w.ready()
	if got := w.condition(workloadv1alpha1.ConditionSynced); got != "none" {
		t.Errorf("Synced = %s without a Namespace", got)
	}
	w.assign("default")
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, `False NotSynced: Namespace "default": it holds the kubeconfig`) {
		t.Errorf("Synced = %s", got)
	}
	w.withdraw("default")
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionSynced); got != "none" {
		t.Errorf("Synced = %s after the last one went", got)
	}
}

// TestSyncedIsUnknownWithoutASyncer: what a syncer said that has died since may not hold any more.
func TestSyncedIsUnknownWithoutASyncer(t *testing.T) {
	w := open(t)
	w.report(func(s *workloadv1alpha1.SyncTargetStatus) {
		s.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted}}
	})
	w.applied("shop")
	w.settle()
	w.clock.Step(threshold)
	w.settle()
	want := "Unknown AwaitingReport: The last report of the syncer may not hold any more, for the SyncTarget is not Ready"
	if got := w.condition(workloadv1alpha1.ConditionSynced); got != want {
		t.Errorf("Synced = %s, want %s", got, want)
	}
	w.beat(w.clock.Now())
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, "True Synced") {
		t.Errorf("Synced = %s after the syncer came back", got)
	}
}

// TestOpeningIsNotSynced: what waits for a cluster that is away has not arrived.
func TestOpeningIsNotSynced(t *testing.T) {
	w := open(t)
	w.report(func(s *workloadv1alpha1.SyncTargetStatus) {
		s.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted}}
	})
	w.applied("shop")
	w.there.refuse = func(string) error { return errInjected }
	w.assign("bank")
	_, _ = w.reconcile()
	want := `False NotSynced: Namespace "bank" is being opened; what that waits for, the condition Deployed says`
	if got := w.condition(workloadv1alpha1.ConditionSynced); got != want {
		t.Errorf("Synced = %s, want %s", got, want)
	}
}

// TestCountsCauseNoPass: a number that changes no answer costs nothing, one that does is looked at.
func TestCountsCauseNoPass(t *testing.T) {
	w := open(t)
	count := func(objects, failing int32) *workloadv1alpha1.SyncTarget {
		target := w.target()
		target.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted, Objects: objects, Failing: failing}}
		return target
	}
	if mayChangeVerdict(count(1, 0), count(2, 0)) || mayChangeVerdict(count(3, 1), count(3, 2)) {
		t.Error("a pass for a number")
	}
	if !mayChangeVerdict(count(3, 0), count(3, 1)) {
		t.Error("no pass for the first failure")
	}
	unwatched := func(since time.Duration) *workloadv1alpha1.SyncTarget {
		target, at := count(3, 0), metav1.NewTime(w.clock.Now().Add(since))
		target.Status.SyncedResources[0].UnwatchedSince = &at
		return target
	}
	if !mayChangeVerdict(count(3, 0), unwatched(0)) || !mayChangeVerdict(unwatched(0), count(3, 0)) {
		t.Error("no pass for a watch that begins to fail, or works again")
	}
	if mayChangeVerdict(unwatched(0), unwatched(time.Hour)) {
		t.Error("a pass for a time")
	}
}
