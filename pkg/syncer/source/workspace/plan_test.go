package workspace

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var (
	testOwner     = transform.Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}
	shopNamespace = source.Namespace{Cluster: testOwner.Workspace, Name: "shop"}
)

// The handlers of client-go's errors sleep by a clock of their own, which does not fit the clock of a synctest bubble.
func init() { utilruntime.ErrorHandlers = nil }

// assigned is an Assignment of the Namespace "shop", with its rights.
func assigned(intent workloadv1alpha1.AssignmentIntent, change ...func(*workloadv1alpha1.Assignment)) *workloadv1alpha1.Assignment {
	a := &workloadv1alpha1.Assignment{
		TypeMeta: metav1.TypeMeta{APIVersion: workloadv1alpha1.SchemeGroupVersion.String(), Kind: "Assignment"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: workloadv1alpha1.SyncerNamespace(testOwner.Name, testOwner.Key), Name: "a", UID: "a-1", ResourceVersion: "7", Generation: 3,
			Labels: map[string]string{workloadv1alpha1.LabelKey: testOwner.Key, workloadv1alpha1.LabelUID: testOwner.UID},
		},
		Spec: workloadv1alpha1.AssignmentSpec{Namespace: workloadv1alpha1.ObjectReference{Name: "shop", UID: "shop-1"}, Epoch: 4, Intent: intent},
		Status: workloadv1alpha1.AssignmentStatus{Conditions: []metav1.Condition{{
			Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonAdmitted, ObservedGeneration: 3,
		}}},
	}
	for _, c := range change {
		c(a)
	}
	return a
}

// notAdmitted has the controller say why there are no rights.
func notAdmitted(reason string) func(*workloadv1alpha1.Assignment) {
	return func(a *workloadv1alpha1.Assignment) {
		a.Status.Conditions[0].Status, a.Status.Conditions[0].Reason = metav1.ConditionFalse, reason
	}
}

// withdrawnAt has the syncer say that nothing is left.
func withdrawnAt(epoch int64) func(*workloadv1alpha1.Assignment) {
	return func(a *workloadv1alpha1.Assignment) {
		a.Status.ObservedEpoch = epoch
		a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{Type: workloadv1alpha1.ConditionWithdrawn, Status: metav1.ConditionTrue})
	}
}

// TestIntent: what becomes of a Namespace by its Assignment, and that its copies end only if that says so and the syncer has its rights.
func TestIntent(t *testing.T) {
	now := metav1.Now()
	type assignment = workloadv1alpha1.Assignment
	const run, withdraw, orphan = workloadv1alpha1.IntentRun, workloadv1alpha1.IntentWithdraw, workloadv1alpha1.IntentOrphan
	deleted := func(policy workloadv1alpha1.DeletionPolicy) func(*workloadv1alpha1.SyncTarget) {
		return func(u *workloadv1alpha1.SyncTarget) { u.DeletionTimestamp, u.Spec.DeletionPolicy = &now, policy }
	}
	unseen := func(a *assignment) { a.Generation = 4 }
	tests := map[string]struct {
		reason     string
		assignment *assignment
		target     func(*workloadv1alpha1.SyncTarget)
		intent     source.Intent
		withdrawn  bool
	}{
		"run, not seen by the controller": {"", assigned(run, func(a *assignment) { a.Status.Conditions = nil }), nil, source.Prepare, false},
		"run, admitting":                  {"", assigned(run, notAdmitted(workloadv1alpha1.ReasonAdmitting)), nil, source.Prepare, false},
		"run, refused":                    {"", assigned(run, notAdmitted(workloadv1alpha1.ReasonNamespaceRefused)), nil, source.Prepare, false},
		"run":                             {"", assigned(run), nil, source.Run, false},
		"run, changed since":              {"The rights are there, whatever else of the spec has changed.", assigned(run, unseen), nil, source.Run, false},
		"run again, the report stands":    {"The controller may be about to take the rights back.", assigned(run, withdrawnAt(3), unseen), nil, source.Prepare, false},
		"run again, admitted again":       {"", assigned(run, withdrawnAt(3)), nil, source.Run, false},
		"withdraw":                        {"", assigned(withdraw), nil, source.Withdraw, false},
		"withdraw, never admitted":        {"Nothing was begun.", assigned(withdraw, func(a *assignment) { a.Status.Conditions = nil }), nil, source.Prepare, false},
		"withdraw, revoked":               {"It is over.", assigned(withdraw, notAdmitted(workloadv1alpha1.ReasonRevoked)), nil, source.Prepare, false},
		"withdrawn":                       {"", assigned(withdraw, withdrawnAt(4)), nil, source.Withdraw, true},
		"withdrawn at an earlier epoch":   {"It may have run since.", assigned(withdraw, withdrawnAt(3)), nil, source.Withdraw, false},
		"orphan":                          {"", assigned(orphan), nil, source.Orphan, false},
		"target deleted":                  {"Copies go with a SyncTarget, by default.", assigned(withdraw), deleted(workloadv1alpha1.DeletionPolicyDelete), source.Withdraw, false},
		"target deleted, and orphans":     {"", assigned(withdraw), deleted(workloadv1alpha1.DeletionPolicyOrphan), source.Orphan, false},
		"target that would orphan": {"The policy is about the target's own end.", assigned(withdraw), func(u *workloadv1alpha1.SyncTarget) {
			u.Spec.DeletionPolicy = workloadv1alpha1.DeletionPolicyOrphan
		}, source.Withdraw, false},
		"target deleted, run": {"It has yet to be withdrawn.", assigned(run), deleted(workloadv1alpha1.DeletionPolicyDelete), source.Run, false},
		"unknown intent":      {"A newer controller has written it.", assigned("Suspend"), nil, source.Prepare, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			u := &workloadv1alpha1.SyncTarget{}
			if tc.target != nil {
				tc.target(u)
			}
			got := New(Config{Owner: testOwner}).PlanOf(u, []*assignment{tc.assignment}).Assignment(shopNamespace)
			if got.Intent != tc.intent || got.IsWithdrawn() != tc.withdrawn || got.Epoch != 4 {
				t.Errorf("%s\nintent %d, withdrawn: %t, epoch %d", tc.reason, got.Intent, got.IsWithdrawn(), got.Epoch)
			}
		})
	}
}

// TestAssignmentOfANamespace: of several Assignments one counts: of this SyncTarget the oldest that is not over.
func TestAssignmentOfANamespace(t *testing.T) {
	const run, withdraw = workloadv1alpha1.IntentRun, workloadv1alpha1.IntentWithdraw
	named := func(name string, age time.Duration) func(*workloadv1alpha1.Assignment) {
		return func(a *workloadv1alpha1.Assignment) {
			a.Name, a.CreationTimestamp = name, metav1.NewTime(time.Unix(1_700_000_000, 0).Add(-age))
		}
	}
	labelled := func(name, value string) func(*workloadv1alpha1.Assignment) {
		return func(a *workloadv1alpha1.Assignment) { a.Labels[name] = value }
	}
	for name, tc := range map[string]struct {
		reason      string
		assignments []*workloadv1alpha1.Assignment
		want        string
	}{
		"one":                    {"", []*workloadv1alpha1.Assignment{assigned(run, named("a", 0))}, "a"},
		"another UID":            {"", []*workloadv1alpha1.Assignment{assigned(run, labelled(workloadv1alpha1.LabelUID, "uid-2"))}, ""},
		"another key":            {"", []*workloadv1alpha1.Assignment{assigned(run, labelled(workloadv1alpha1.LabelKey, "k"))}, ""},
		"in another Namespace":   {"", []*workloadv1alpha1.Assignment{assigned(run, func(a *workloadv1alpha1.Assignment) { a.Namespace = "shop" })}, ""},
		"the older withdraws":    {"Its copies go first.", []*workloadv1alpha1.Assignment{assigned(run, named("a", 0)), assigned(withdraw, named("b", time.Hour))}, "b"},
		"the older is over":      {"", []*workloadv1alpha1.Assignment{assigned(withdraw, named("b", time.Hour), notAdmitted(workloadv1alpha1.ReasonRevoked)), assigned(run, named("a", 0))}, "a"},
		"the older runs":         {"", []*workloadv1alpha1.Assignment{assigned(run, named("a", 0)), assigned(run, named("b", time.Hour))}, "b"},
		"of the same age":        {"Somebody has to be first.", []*workloadv1alpha1.Assignment{assigned(run, named("b", 0)), assigned(run, named("a", 0))}, "a"},
		"over, of the same name": {"", []*workloadv1alpha1.Assignment{assigned(withdraw, named("a", time.Hour), notAdmitted(workloadv1alpha1.ReasonRevoked))}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if plan := New(Config{Owner: testOwner}).PlanOf(&workloadv1alpha1.SyncTarget{}, tc.assignments); len(plan.Assignments) > 0 {
				got = plan.Assignments[0].Record.Name
				if len(plan.Assignments) > 1 {
					t.Errorf("%d Assignments of one Namespace", len(plan.Assignments))
				}
			}
			if got != tc.want {
				t.Errorf("%s\n%q counts, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// TestOrderAndStatus: the first of the clusters, and the one that writes the status, are what the spec says.
func TestOrderAndStatus(t *testing.T) {
	second := assigned(workloadv1alpha1.IntentRun, func(a *workloadv1alpha1.Assignment) { a.Spec.Order, a.Spec.WritesStatus = 1, true })
	for _, tc := range []struct {
		assignment          *workloadv1alpha1.Assignment
		first, writesStatus bool
	}{{assigned(workloadv1alpha1.IntentRun), true, false}, {second, false, true}} {
		got := New(Config{Owner: testOwner}).PlanOf(&workloadv1alpha1.SyncTarget{}, []*workloadv1alpha1.Assignment{tc.assignment}).Assignments[0]
		if got.First != tc.first || got.WritesStatus != tc.writesStatus {
			t.Errorf("of order %d: %+v", tc.assignment.Spec.Order, got)
		}
	}
}

// serving is a source whose server has these objects.
func serving(t *testing.T, target *fakeTarget, assignments ...*workloadv1alpha1.Assignment) (*Source, *fakeServer) {
	t.Helper()
	objects := []runtime.Object{toUnstructured(t, &target.SyncTarget)}
	for _, a := range assignments {
		objects = append(objects, toUnstructured(t, a))
	}
	server := newFakeServer(objects...)
	return New(Config{Owner: testOwner, Target: target, Client: server}), server
}

func newTarget(uid string) *fakeTarget {
	target := &fakeTarget{}
	target.SetGroupVersionKind(workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget"))
	target.UID, target.Name = types.UID(uid), testOwner.Name
	return target
}

// TestReadPlanOfAnother: a SyncTarget of the same name and another UID is no word about ours, in the cache as live.
func TestReadPlanOfAnother(t *testing.T) {
	for uid, ours := range map[string]bool{testOwner.UID: true, "uid-2": false} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := serving(t, newTarget(uid))
			if plan, err := s.ReadPlan(t.Context()); (plan != nil) != ours || (err == nil) != ours {
				t.Errorf("of UID %s: ReadPlan() = %v, %v", uid, plan, err)
			}
			run(t, s)
			if plan := s.Plan(); (plan != nil) != ours {
				t.Errorf("of UID %s: Plan() = %v", uid, plan)
			}
		})
	}
}

// run runs a source until its caches have been filled.
func run(t *testing.T, s *Source) (changes chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changes = make(chan struct{}, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx, func() { changes <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	synctest.Wait()
	return changes
}

// TestUnlistedIsNoPlan: a cache that has not been filled must not look like one that shows no Assignments. When it has been, there
// is a Plan, also if it is empty, and the sync is told.
func TestUnlistedIsNoPlan(t *testing.T) {
	for _, unlisted := range []string{"synctargets", "assignments"} {
		t.Run(unlisted, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, server := serving(t, newTarget(testOwner.UID), assigned(workloadv1alpha1.IntentRun))
				var listed atomic.Bool
				server.PrependReactor("list", unlisted, func(clienttesting.Action) (bool, runtime.Object, error) {
					return !listed.Load(), nil, errors.New("connection refused")
				})
				changes := run(t, s)
				if plan := s.Plan(); plan != nil {
					t.Fatalf("before %s are listed: Plan() = %+v", unlisted, plan)
				}
				for len(changes) > 0 {
					<-changes
				}
				listed.Store(true)
				time.Sleep(time.Minute) // longer than the backoff of an informer
				synctest.Wait()
				if plan := s.Plan(); plan == nil || len(plan.Assignments) != 1 || plan.Assignments[0].Intent != source.Run || len(changes) == 0 {
					t.Errorf("when everything is listed: Plan() = %+v, told %d times", plan, len(changes))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s, _ := serving(t, newTarget(testOwner.UID))
		changes := run(t, s)
		if plan := s.Plan(); plan == nil || len(plan.Assignments) != 0 || len(changes) == 0 {
			t.Errorf("without Assignments: Plan() = %+v, told %d times", plan, len(changes))
		}
	})
}

// TestPlanFollows: a change of an Assignment is in the Plan when the sync is told of it, and so is that it has vanished.
func TestPlanFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, server := serving(t, newTarget(testOwner.UID), assigned(workloadv1alpha1.IntentRun))
		changes := run(t, s)
		before := s.Plan()
		if s.Plan() != before {
			t.Error("the Plan is made anew without a change")
		}
		for len(changes) > 0 {
			<-changes
		}
		client := s.assignmentClient()
		if _, err := client.Update(t.Context(), toUnstructured(t, assigned(workloadv1alpha1.IntentWithdraw)), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		<-changes
		if got := s.Plan().Assignment(shopNamespace); got.Intent != source.Withdraw {
			t.Errorf("changed: intent %d", got.Intent)
		}
		if err := client.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		<-changes
		if got := s.Plan(); len(got.Assignments) != 0 {
			t.Errorf("vanished: %+v", got)
		}
		if watches := server.watched("assignments"); watches != 1 {
			t.Errorf("%d watches of Assignments", watches)
		}
	})
}

// TestReadPlan: the Assignments are read before the SyncTarget: who sees that a Namespace is withdrawn because the SyncTarget is being
// deleted must see that its policy leaves the copies where they are.
func TestReadPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newTarget(testOwner.UID)
		s, server := serving(t, target, assigned(workloadv1alpha1.IntentWithdraw))
		server.PrependReactor("list", "assignments", func(clienttesting.Action) (bool, runtime.Object, error) {
			target.DeletionTimestamp, target.Spec.DeletionPolicy = new(metav1.Now()), workloadv1alpha1.DeletionPolicyOrphan
			return false, nil, nil
		})
		plan, err := s.ReadPlan(t.Context())
		if err != nil || plan.Assignment(shopNamespace).Intent != source.Orphan {
			t.Errorf("ReadPlan() = %+v, %v", plan, err)
		}
		list := server.Actions()[0].(clienttesting.ListActionImpl)
		want := metav1.ListOptions{LabelSelector: "workload.kcp.io/uid=uid-1", Limit: 500}
		if diff := cmp.Diff(want, list.ListOptions); diff != "" || list.Namespace != "kcp-syncer-edge-1-0123456789abcdef" {
			t.Errorf("listed in %q: -want +got\n%s", list.Namespace, diff)
		}
	})
}

// fakeTarget is a SyncTarget in kcp.
type fakeTarget struct {
	workloadv1alpha1.SyncTarget
	patches []string
}

func (f *fakeTarget) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	return &f.SyncTarget, nil
}

func (f *fakeTarget) PatchStatus(_ context.Context, patch []byte) error {
	f.patches = append(f.patches, string(patch))
	return nil
}
