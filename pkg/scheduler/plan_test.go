package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// flow is a Namespace "web" that runs on edge-1, with edge-2 beside it.
type flow struct {
	*testing.T
	*world
	web *Namespace
}

func newFlow(t *testing.T, change func(*workloadv1alpha1.PlacementSpec)) *flow {
	w := newWorld()
	f := &flow{T: t, world: w, web: w.addNamespace("web", "shop")}
	w.addTarget("edge-1", "eu")
	w.addPlacement("shop", "shop", change)
	f.settle()
	w.addTarget("edge-2", "us")
	f.settle()
	f.expect("at first", "edge-1")
	f.events = nil
	return f
}

func (f *flow) settle() int { return f.world.settle(f.Fatalf) }

// run makes a pass every 5 seconds for a while.
func (f *flow) run(d time.Duration) {
	f.Helper()
	for range d / (5 * time.Second) {
		if _, err := f.apply(Plan(f.workspace()), -1); err != nil {
			f.Fatal(err)
		}
		f.step(5 * time.Second)
	}
}

// expect compares where the Namespace is to run.
func (f *flow) expect(when string, clusters ...string) {
	f.Helper()
	if got := f.running(f.web); !slices.Equal(got, clusters) {
		f.Errorf("%s: runs on %v, want %v; %s", when, got, clusters, f.web.Annotation)
	}
}

// assignment returns the Assignment of the Namespace on a SyncTarget; nil for none.
func (f *flow) assignment(target string) *workloadv1alpha1.Assignment {
	for _, a := range f.assignments {
		if a.Annotations[workloadv1alpha1.AnnotationSyncTarget] == target && a.Spec.Namespace.UID == f.web.UID {
			return a
		}
	}
	return nil
}

// told returns the reasons of the Events since the start.
func (f *flow) told() []string {
	var reasons []string
	for _, e := range f.events {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

func (f *flow) expectTold(reasons ...string) {
	f.Helper()
	if got := f.told(); !slices.Equal(got, reasons) {
		f.Errorf("Events %v, want %v", got, reasons)
	}
}

func drain(t *workloadv1alpha1.SyncTarget) {
	t.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: 5}
}

func cordon(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = true }

func tolerate(seconds int64) func(*workloadv1alpha1.PlacementSpec) {
	return func(spec *workloadv1alpha1.PlacementSpec) {
		spec.Tolerations = []workloadv1alpha1.PlacementToleration{{
			Key: workloadv1alpha1.TaintUnreachable, Operator: workloadv1alpha1.TolerationExists,
			Effect: workloadv1alpha1.TaintNoExecute, TolerationSeconds: ptr.To(seconds),
		}}
	}
}

func TestDrain(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-1"].change(drain)
	f.run(10 * time.Second)
	f.expect("while the replacement arrives", "edge-1", "edge-2")
	if d := f.targets["edge-1"].Status.Drain; d.Remaining != 1 || d.Moving != 1 {
		t.Errorf("status.drain = %+v, want one that moves", d)
	}
	f.run(30 * time.Second)
	f.expect("before it has been available for 30 seconds", "edge-1", "edge-2")
	f.run(15 * time.Second)
	f.expect("then", "edge-2")
	f.settle()
	if a := f.assignment("edge-2"); len(f.assignments) != 1 || a.Spec.Reason != workloadv1alpha1.AssignmentDrain || a.Spec.Replaces != "edge-1" ||
		a.Spec.Order != 0 || !a.Spec.WritesStatus {
		t.Errorf("%d Assignments, among them %+v", len(f.assignments), a.Spec)
	}
	if d := f.targets["edge-1"].Status.Drain; d.Remaining+d.Moving != 0 {
		t.Errorf("status.drain = %+v, want nothing left", d)
	}
	f.expectTold(EventMoving, EventMoved)
}

// TestOrderDuringAMove: Jobs run once while both clusters run, unless there are volumes to be made anew.
func TestOrderDuringAMove(t *testing.T) {
	for name, claims := range map[string]bool{"no claims": false, "claims that are left behind": true} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.Volumes = workloadv1alpha1.VolumesLeaveBehind })
			f.claims[f.web.UID] = claims
			f.step(time.Second)
			f.targets["edge-1"].change(drain)
			f.run(10 * time.Second)
			if old, replacement := f.assignment("edge-1").Spec, f.assignment("edge-2").Spec; (replacement.Order == 0) != claims ||
				old.Order != 0 || !old.WritesStatus || replacement.WritesStatus {
				t.Errorf("old %+v, replacement %+v", old, replacement)
			}
			f.settle()
			if a := f.assignment("edge-2").Spec; a.Order != 0 || !a.WritesStatus {
				t.Errorf("in the end %+v", a)
			}
		})
	}
}

func TestDrainStops(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-1"].change(drain)
	f.run(10 * time.Second)
	f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Drain = nil })
	f.run(5 * time.Second)
	f.expect("when the drain is taken back", "edge-1")
	f.settle()
	f.expect("and so it stays", "edge-1")
}

// TestWhatWorksStays: a replacement that runs is kept although the drain has stopped, where what it replaces does not
// run.
func TestWhatWorksStays(t *testing.T) {
	f := newFlow(t, nil)
	f.broken[copyKey{f.web.UID, f.targets["edge-1"].UID}] = true
	f.step(time.Second)
	f.targets["edge-1"].change(drain)
	f.run(20 * time.Second)
	f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Drain = nil })
	f.run(5 * time.Second)
	f.expect("when the drain is taken back", "edge-1", "edge-2")
	f.settle()
	f.expect("in the end", "edge-2")
}

// TestNameUsedAgain: both Namespaces would use the same one of the physical cluster.
func TestNameUsedAgain(t *testing.T) {
	f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) {
		spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"edge-1"}}
	})
	f.targets["edge-1"].down = f.now
	delete(f.namespaces, f.web.UID)
	again := f.addNamespace("web", "shop")
	f.run(30 * time.Second)
	if got := f.running(again); len(got) > 0 || !strings.Contains(again.Annotation, "1 being left by an earlier Namespace of the name") {
		t.Errorf("runs on %v: %s", got, again.Annotation)
	}
	f.targets["edge-1"].down = time.Time{}
	f.settle()
	if got := f.running(again); !slices.Equal(got, []string{"edge-1"}) {
		t.Errorf("in the end it runs on %v", got)
	}
}

func TestRevocation(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		intent   workloadv1alpha1.AssignmentIntent
		status   metav1.ConditionStatus
		why      string
		observed int64
		wantGone bool
	}{
		"revoked":                     {"", workloadv1alpha1.IntentWithdraw, metav1.ConditionFalse, workloadv1alpha1.ReasonRevoked, 3, true},
		"of an earlier generation":    {"The rights may have been given again.", workloadv1alpha1.IntentWithdraw, metav1.ConditionFalse, workloadv1alpha1.ReasonRevoked, 2, false},
		"has rights":                  {"", workloadv1alpha1.IntentOrphan, metav1.ConditionTrue, workloadv1alpha1.ReasonAdmitted, 3, false},
		"not yet given":               {"The syncer may be about to get them.", workloadv1alpha1.IntentWithdraw, metav1.ConditionFalse, workloadv1alpha1.ReasonAdmitting, 3, false},
		"to run, and revoked earlier": {"", workloadv1alpha1.IntentRun, metav1.ConditionFalse, workloadv1alpha1.ReasonRevoked, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			a := f.assignment("edge-1").DeepCopy()
			a.Generation, a.Spec.Intent = 3, c.intent
			a.Status.Conditions = []metav1.Condition{{Type: workloadv1alpha1.ConditionAdmitted, Status: c.status, Reason: c.why, ObservedGeneration: c.observed}}
			f.assignments[assignmentKey(a)] = a
			if got := len(Plan(f.workspace()).Delete) == 1; got != c.wantGone {
				t.Errorf("deleted: %v, want %v: %s", got, c.wantGone, c.reason)
			}
		})
	}
}

func TestReplacementFails(t *testing.T) {
	f := newFlow(t, nil)
	f.broken[copyKey{f.web.UID, f.targets["edge-2"].UID}] = true
	f.targets["edge-1"].change(drain)
	f.run(10 * time.Minute)
	f.expect("within the grace period", "edge-1", "edge-2")
	f.run(10 * time.Second)
	f.expect("after it", "edge-1")
	f.expectTold(EventMoving, EventMoveFailed)
	f.run(9 * time.Minute)
	if f.expect("and edge-2 is not tried again", "edge-1"); f.assignment("edge-2") == nil {
		t.Error("nothing tells that edge-2 has failed")
	}
	held := f.targets["edge-1"].Status.Drain.Held
	if len(held) != 1 || held[0].Reason != "0/2 clusters: 1 being drained, 1 has failed to run it recently" {
		t.Errorf("held: %+v", held)
	}
	clear(f.broken)
	f.run(3 * time.Minute)
	f.expect("after as long again it is, and takes over", "edge-2")
}

func TestHeld(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*flow)
		want   string
	}{
		"volumes": {"What is in volumes does not move.", func(f *flow) { f.claims[f.web.UID] = true }, "PersistentVolumeClaims are bound to volumes there"},
		"no cluster": {"A drain deletes nothing.", func(f *flow) { f.targets["edge-2"].change(cordon) },
			"0/2 clusters: 1 being drained, 1 cordoned"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			c.change(f)
			f.targets["edge-1"].change(drain)
			f.settle()
			f.expect(c.reason, "edge-1")
			status, held := f.placements["shop"].Status, f.targets["edge-1"].Status.Drain.Held
			if status.Summary.Held != 1 || status.Summary.Moving != 0 || len(held) != 1 || !strings.Contains(held[0].Reason, c.want) ||
				!strings.Contains(f.web.Annotation, c.want) || !strings.Contains(status.Namespaces[0].Message, c.want) {
				t.Errorf("summary %+v, held %+v, annotation %s", status.Summary, held, f.web.Annotation)
			}
		})
	}
}

func TestPurgeMode(t *testing.T) {
	mode := func(m workloadv1alpha1.PurgeMode) func(*workloadv1alpha1.PlacementSpec) {
		return func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.PurgeMode = m }
	}
	t.Run("Never", func(t *testing.T) {
		f := newFlow(t, mode(workloadv1alpha1.PurgeNever))
		f.targets["edge-1"].change(drain)
		f.settle()
		f.expect("in the end", "edge-2")
		if c := f.copies[copyKey{f.web.UID, f.targets["edge-1"].UID}]; c == nil || !c.orphaned {
			t.Errorf("the copies on edge-1 are %+v, want them to stay", c)
		}
	})
	t.Run("Directly", func(t *testing.T) {
		f := newFlow(t, mode(workloadv1alpha1.PurgeDirectly))
		f.targets["edge-1"].change(drain)
		f.targets["edge-1"].down = f.now
		f.run(30 * time.Second)
		f.expect("while the old copies may be there")
		if !strings.Contains(f.web.Annotation, `waits until the copies on SyncTarget \"edge-1\" are gone`) {
			t.Errorf("annotation %s", f.web.Annotation)
		}
		f.targets["edge-1"].down = time.Time{}
		f.run(10 * time.Second)
		f.expect("when they are gone", "edge-2")
		if a := f.assignment("edge-2").Spec; a.Replaces != "edge-1" || a.Reason != workloadv1alpha1.AssignmentDrain {
			t.Errorf("replacement %+v", a)
		}
	})
	t.Run("Directly, one after the other", func(t *testing.T) {
		f := newFlow(t, mode(workloadv1alpha1.PurgeDirectly))
		f.targets["edge-2"].change(cordon)
		other := f.addNamespace("xyz", "shop")
		f.settle()
		f.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
		f.targets["edge-1"].change(drain)
		f.broken[copyKey{f.web.UID, f.targets["edge-2"].UID}] = true
		f.run(5 * time.Minute)
		f.expect("the first one goes", "edge-2")
		if got := f.running(other); !slices.Equal(got, []string{"edge-1"}) {
			t.Errorf("the other runs on %v while the first one does not run", got)
		}
		c := Plan(f.workspace())
		if until := f.assignment("edge-2").CreationTimestamp.Add(10 * time.Minute); !c.NextCheck.Equal(until) {
			t.Errorf("next check at %s, want %s", c.NextCheck, until)
		}
		f.settle()
		if got := f.running(other); !slices.Equal(got, []string{"edge-2"}) {
			t.Errorf("in the end the other runs on %v", got)
		}
	})
	t.Run("Directly, and nothing else fits", func(t *testing.T) {
		f := newFlow(t, mode(workloadv1alpha1.PurgeDirectly))
		f.targets["edge-1"].change(drain)
		f.targets["edge-2"].change(cordon)
		f.settle()
		f.expect("it stays", "edge-1")
	})
}

func TestSilence(t *testing.T) {
	t.Run("is tolerated for ever by default", func(t *testing.T) {
		f := newFlow(t, nil)
		f.targets["edge-1"].down = f.now
		f.run(5 * time.Minute)
		f.step(1000 * time.Hour)
		f.run(time.Minute)
		f.expect("after weeks", "edge-1")
		available := conditionOf(f.placements["shop"].Status.Conditions, workloadv1alpha1.ConditionAvailable)
		if available.Status != metav1.ConditionUnknown || !strings.Contains(available.Message, "edge-1") {
			t.Errorf("Available = %+v, want Unknown: nobody knows", available)
		}
	})
	t.Run("moves it after tolerationSeconds", func(t *testing.T) {
		f := newFlow(t, tolerate(120))
		f.targets["edge-1"].down = f.now
		f.run(3 * time.Minute)
		f.expect("before", "edge-1")
		f.run(15 * time.Second)
		f.expect("after", "edge-1", "edge-2")
		if a := f.assignment("edge-2").Spec; a.Reason != workloadv1alpha1.AssignmentFailover || !a.WritesStatus || f.assignment("edge-1").Spec.WritesStatus {
			t.Errorf("replacement %+v", a)
		}
		f.run(time.Minute)
		f.expect("when the replacement has been available", "edge-2")
		if a := f.assignment("edge-1"); a == nil || a.Spec.Intent != workloadv1alpha1.IntentWithdraw {
			t.Error("edge-1 must find, when it returns, that it is to leave")
		}
		f.targets["edge-1"].down = time.Time{}
		f.settle()
		f.expect("failback: Manual", "edge-2")
		if len(f.copies) != 1 || len(f.assignments) != 1 {
			t.Errorf("copies %v, Assignments %v", f.copies, f.assignments)
		}
	})
	t.Run("return before the replacement is available", func(t *testing.T) {
		f := newFlow(t, tolerate(0))
		f.targets["edge-1"].down = f.now
		f.broken[copyKey{f.web.UID, f.targets["edge-2"].UID}] = true
		f.run(2 * time.Minute)
		f.expect("while it is away", "edge-1", "edge-2")
		f.targets["edge-1"].down = time.Time{}
		f.run(10 * time.Second)
		f.expect("the replacement goes", "edge-1")
	})
	t.Run("mass disconnect during a failover", func(t *testing.T) {
		f := newFlow(t, tolerate(60))
		f.targets["edge-1"].down = f.now
		f.run(130 * time.Second)
		f.expect("before", "edge-1", "edge-2")
		f.targets["edge-1"].paused = true
		f.run(5 * time.Minute)
		f.expect("the move stands still", "edge-1", "edge-2")
		f.targets["edge-1"].paused = false
		f.run(10 * time.Second)
		f.expect("and goes on after it", "edge-2")
	})
	t.Run("mass disconnect before the replacement is available", func(t *testing.T) {
		f := newFlow(t, tolerate(60))
		f.slow = 4 * time.Minute
		f.targets["edge-1"].down = f.now
		f.run(130 * time.Second)
		f.targets["edge-1"].paused = true
		f.run(5 * time.Minute)
		f.targets["edge-1"].paused = false
		f.run(10 * time.Second)
		f.expect("after it", "edge-1", "edge-2")
		f.run(4 * time.Minute)
		f.expect("in the end", "edge-2")
	})
	t.Run("tolerated for ever after all", func(t *testing.T) {
		f := newFlow(t, tolerate(0))
		f.targets["edge-1"].down = f.now
		f.run(70 * time.Second)
		f.expect("before", "edge-1", "edge-2")
		f.placements["shop"] = f.placements["shop"].DeepCopy()
		f.placements["shop"].Spec.Tolerations = nil
		f.run(5 * time.Second)
		f.expect("when the Placement has changed", "edge-1")
	})
	t.Run("mass disconnect", func(t *testing.T) {
		f := newFlow(t, tolerate(0))
		f.targets["edge-1"].down, f.targets["edge-1"].paused = f.now, true
		f.run(time.Hour)
		f.expect("nothing is evicted", "edge-1")
		f.targets["edge-1"].paused = false
		f.settle()
		f.expect("until evictions go on", "edge-2")
	})
}

func TestFailback(t *testing.T) {
	for policy, want := range map[workloadv1alpha1.FailbackPolicy]string{
		workloadv1alpha1.FailbackManual: "edge-2", workloadv1alpha1.FailbackAutomatic: "edge-1",
	} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { tolerate(0)(spec); spec.Failback = policy })
			f.targets["edge-1"].down = f.now
			f.run(5 * time.Minute)
			f.expect("after the failover", "edge-2")
			f.targets["edge-1"].down = time.Time{}
			f.settle()
			f.expect("after the return", want)
		})
	}
}

func TestCordonAndTaints(t *testing.T) {
	taint := func(effect workloadv1alpha1.TaintEffect) func(*workloadv1alpha1.SyncTarget) {
		return func(t *workloadv1alpha1.SyncTarget) {
			t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "gpu", Value: "a100", Effect: effect}}
		}
	}
	tolerateGPU := func(seconds *int64) func(*workloadv1alpha1.PlacementSpec) {
		return func(spec *workloadv1alpha1.PlacementSpec) {
			spec.Tolerations = []workloadv1alpha1.PlacementToleration{{Key: "gpu", Value: "a100", Effect: workloadv1alpha1.TaintNoExecute, TolerationSeconds: seconds}}
		}
	}
	for name, c := range map[string]struct {
		change func(*workloadv1alpha1.SyncTarget)
		spec   func(*workloadv1alpha1.PlacementSpec)
		want   string
	}{
		"cordon":                       {cordon, nil, "edge-1"},
		"NoSchedule":                   {taint(workloadv1alpha1.TaintNoSchedule), nil, "edge-1"},
		"PreferNoSchedule":             {taint(workloadv1alpha1.TaintPreferNoSchedule), nil, "edge-1"},
		"NoExecute":                    {taint(workloadv1alpha1.TaintNoExecute), nil, "edge-2"},
		"NoExecute, tolerated":         {taint(workloadv1alpha1.TaintNoExecute), tolerateGPU(nil), "edge-1"},
		"NoExecute, tolerated a while": {taint(workloadv1alpha1.TaintNoExecute), tolerateGPU(ptr.To(int64(300))), "edge-2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, c.spec)
			f.targets["edge-1"].change(c.change)
			f.settle()
			f.expect("in the end", c.want)
		})
	}
}

func TestTargetDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		policy workloadv1alpha1.DeletionPolicy
		change func(*flow)
		at     []string
		end    []string
	}{
		"moves first":      {"Make before break.", workloadv1alpha1.DeletionPolicyDelete, func(*flow) {}, []string{"edge-1", "edge-2"}, []string{"edge-2"}},
		"nothing fits":     {"The user has said so.", workloadv1alpha1.DeletionPolicyDelete, func(f *flow) { f.targets["edge-2"].change(cordon) }, nil, nil},
		"orphan":           {"The copies stay.", workloadv1alpha1.DeletionPolicyOrphan, func(*flow) {}, []string{}, []string{"edge-2"}},
		"with volumes":     {"They go with the SyncTarget.", workloadv1alpha1.DeletionPolicyDelete, func(f *flow) { f.claims[f.web.UID] = true }, []string{"edge-1", "edge-2"}, []string{"edge-2"}},
		"after a deadline": {"It cannot last for ever.", workloadv1alpha1.DeletionPolicyDelete, func(f *flow) { f.targets["edge-1"].deadline = f.now }, []string{}, []string{"edge-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			deleted := metav1.NewTime(f.now)
			f.targets["edge-1"].deadline = f.now.Add(15 * time.Minute)
			f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) {
				t.DeletionTimestamp, t.Spec.DeletionPolicy = &deleted, c.policy
			})
			c.change(f)
			f.step(time.Second)
			if _, err := f.apply(Plan(f.workspace()), -1); err != nil {
				t.Fatal(err)
			}
			if len(c.at) == 2 {
				f.expect(c.reason, c.at...)
			} else if a := f.assignment("edge-1"); a.Spec.Intent == workloadv1alpha1.IntentRun ||
				(a.Spec.Intent == workloadv1alpha1.IntentOrphan) != (c.policy == workloadv1alpha1.DeletionPolicyOrphan) {
				t.Errorf("edge-1: %+v: %s", a.Spec, c.reason)
			}
			f.settle()
			f.expect("in the end", c.end...)
			if f.targets["edge-1"] != nil {
				t.Error("the deletion does not end")
			}
		})
	}
}

// TestTargetDeletedSlowReplacement: where the old one goes anyway, a replacement is not given up.
func TestTargetDeletedSlowReplacement(t *testing.T) {
	f := newFlow(t, nil)
	f.broken[copyKey{f.web.UID, f.targets["edge-2"].UID}] = true
	deleted := metav1.NewTime(f.now)
	f.targets["edge-1"].deadline = f.now.Add(15 * time.Minute)
	f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = &deleted })
	f.run(14 * time.Minute)
	f.expect("after the grace period", "edge-1", "edge-2")
	f.run(2 * time.Minute)
	f.expect("after the deadline", "edge-2")
}

func TestPlacementEnds(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		change func(*flow)
		want   workloadv1alpha1.AssignmentReason
	}{
		"Placement deleted": {"", func(f *flow) { f.deletePlacement(f.placements["shop"]) }, workloadv1alpha1.AssignmentPlacementDeleted},
		"Placement deleted during a move": {"Both leave, the replacement too.", func(f *flow) {
			f.targets["edge-1"].change(drain)
			f.pass()
			f.expect("moves", "edge-1", "edge-2")
			f.deletePlacement(f.placements["shop"])
		}, workloadv1alpha1.AssignmentPlacementDeleted},
		"Placement gone": {"Nobody has seen it being deleted.", func(f *flow) { delete(f.placements, "shop") }, ""},
		"not selected":   {"", func(f *flow) { f.web.Labels = nil }, workloadv1alpha1.AssignmentPlacementChanged},
		"Placement invalid": {"It may be a slip.", func(f *flow) {
			f.placements["shop"].Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}, ""},
		"Namespace deleted": {"", func(f *flow) { f.web.Terminating = true }, workloadv1alpha1.AssignmentNamespaceDeleted},
		"Namespace gone":    {"", func(f *flow) { f.web.Gone = true }, workloadv1alpha1.AssignmentNamespaceDeleted},
		"Namespace hidden":  {"It may be there.", func(f *flow) { delete(f.namespaces, f.web.UID) }, ""},
		"Namespace made anew": {"It is another one.", func(f *flow) { delete(f.namespaces, f.web.UID); f.addNamespace("web", "other") },
			workloadv1alpha1.AssignmentNamespaceDeleted},
		"Namespace refused": {"", func(f *flow) { f.web.Refusal = "it holds a kubeconfig" }, workloadv1alpha1.AssignmentPlacementChanged},
		"Namespace hidden and Placement deleted": {"", func(f *flow) {
			delete(f.namespaces, f.web.UID)
			f.deletePlacement(f.placements["shop"])
		}, workloadv1alpha1.AssignmentPlacementDeleted},
		"Namespace hidden and one of two Placements deleted": {"The other one may select it.", func(f *flow) {
			f.addPlacement("next", "shop", nil)
			delete(f.namespaces, f.web.UID)
			f.deletePlacement(f.placements["shop"])
		}, ""},
		"Namespace hidden and SyncTarget deleted": {"", func(f *flow) {
			delete(f.namespaces, f.web.UID)
			f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) })
		}, workloadv1alpha1.AssignmentTargetDeleted},
		"SyncTarget hidden":  {"It may be there.", func(f *flow) { delete(f.targets, "edge-1"); delete(f.targets, "edge-2") }, ""},
		"another takes over": {"", func(f *flow) { f.deletePlacement(f.placements["shop"]); f.addPlacement("next", "shop", nil) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			c.change(f)
			passes := 2 // The first one may only add a finalizer.
			for range passes {
				if _, err := f.apply(Plan(f.workspace()), -1); err != nil {
					t.Fatal(err)
				}
			}
			a := f.assignment("edge-1")
			switch {
			case c.want == "" && a.Spec.Intent != workloadv1alpha1.IntentRun:
				t.Errorf("is withdrawn: %s: %s", a.Spec.Reason, c.reason)
			case c.want != "" && (a.Spec.Intent != workloadv1alpha1.IntentWithdraw || a.Spec.Reason != c.want):
				t.Errorf("%+v, want it withdrawn: %s", a.Spec, c.want)
			}
			f.settle()
			if running := f.running(f.web); c.want == workloadv1alpha1.AssignmentPlacementDeleted && len(running) > 0 {
				t.Errorf("in the end: runs on %v", running)
			}
			if p := f.placements["shop"]; p != nil && p.DeletionTimestamp != nil && !strings.Contains(fmt.Sprint(p.Status.Conditions), "The deletion waits") {
				t.Error("the deletion of the Placement does not end, and does not say why")
			}
		})
	}
}

// TestFinalizerWaitsForTheWrite: a Placement that is being deleted is let go when it has been written that its
// Namespaces are withdrawn, and before any cluster has confirmed it.
func TestFinalizerWaitsForTheWrite(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-1"].down = f.now
	f.deletePlacement(f.placements["shop"])
	c := Plan(f.workspace())
	if len(c.Update) != 1 || len(c.Placements) != 0 {
		t.Fatalf("first pass: %d Assignments, %d Placements", len(c.Update), len(c.Placements))
	}
	if _, err := f.apply(c, -1); err != nil {
		t.Fatal(err)
	}
	if c := Plan(f.workspace()); len(c.Placements) != 1 || len(c.Placements[0].Finalizers) != 0 {
		t.Errorf("second pass: %+v", c.Placements)
	}
}

// TestFinalizerComesFirst: nothing is assigned for a Placement whose deletion could be missed.
func TestFinalizerComesFirst(t *testing.T) {
	w := newWorld()
	w.addTarget("edge-1", "eu")
	w.addNamespace("web", "shop")
	w.addPlacement("shop", "shop", nil)
	if c := Plan(w.workspace()); len(c.Create)+len(c.Annotations) > 0 || len(c.Placements) != 1 || len(c.Placements[0].Finalizers) != 1 {
		t.Errorf("first pass: %+v", c)
	}
}

func TestNumberOfClusters(t *testing.T) {
	f := newFlow(t, nil)
	set := func(n int32) {
		changed := f.placements["shop"].DeepCopy()
		changed.Spec.NumberOfClusters = n
		f.placements["shop"] = changed
	}
	set(3)
	f.settle()
	f.expect("widened", "edge-1", "edge-2")
	status := f.placements["shop"].Status
	scheduled := conditionOf(status.Conditions, workloadv1alpha1.ConditionScheduled)
	if scheduled.Reason != workloadv1alpha1.ReasonUnschedulable || scheduled.Message != `Namespace "web": 0/2 clusters: 2 in use already` || status.Summary.Pending != 1 {
		t.Errorf("Scheduled = %+v, summary %+v", scheduled, status.Summary)
	}
	set(1)
	f.broken[copyKey{f.web.UID, f.targets["edge-1"].UID}] = true
	f.step(time.Second)
	f.settle()
	f.expect("narrowed, while the first one does not work", "edge-2")
	if a := f.assignment("edge-2").Spec; a.Order != 0 || !a.WritesStatus {
		t.Errorf("the one that stays: %+v", a)
	}
}

func TestBudgets(t *testing.T) {
	for name, c := range map[string]struct {
		maxConcurrent, maxUnavailable int32
		want                          int
	}{
		"of the Placement":  {5, 2, 2},
		"of the SyncTarget": {3, 100, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.MaxUnavailable = c.maxUnavailable })
			f.targets["edge-2"].change(cordon)
			for i := range 7 {
				f.addNamespace("other-"+string(rune('a'+i)), "shop")
			}
			f.settle()
			f.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
			f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) {
				t.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: c.maxConcurrent}
			})
			if got := len(Plan(f.workspace()).Create); got != c.want {
				t.Errorf("%d Namespaces begin to move, want %d", got, c.want)
			}
			f.run(10 * time.Second)
			if got := f.placements["shop"].Status.Summary.Moving; int(got) != c.want {
				t.Errorf("%d Namespaces move, want %d", got, c.want)
			}
			f.settle()
			f.expect("in the end", "edge-2")
			if got := f.targets["edge-2"].Status.Assignments.Running; got != 8 {
				t.Errorf("%d run on edge-2 in the end", got)
			}
		})
	}
}

func conditionOf(conditions []metav1.Condition, conditionType string) metav1.Condition {
	for _, c := range conditions {
		if c.Type == conditionType {
			return c
		}
	}
	return metav1.Condition{}
}
