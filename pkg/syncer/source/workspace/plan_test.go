package workspace

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var (
	testOwner     = transform.Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}
	shopNamespace = source.Namespace{Cluster: testOwner.Workspace, Name: "shop"}
)

// TestPlanOf: what becomes of a Namespace in each state, and that its copies end only if the SyncTarget says that it is closing.
func TestPlanOf(t *testing.T) {
	now := metav1.Now()
	in := func(state workloadv1alpha1.NamespaceState) []workloadv1alpha1.NamespaceStatus {
		return []workloadv1alpha1.NamespaceStatus{{Name: "shop", State: state}}
	}
	const closing = workloadv1alpha1.NamespaceClosing
	tests := map[string]struct {
		reason     string
		change     func(*workloadv1alpha1.SyncTarget)
		intent     source.Intent
		withdrawal bool
	}{
		"opening":  {"The syncer has no rights in it yet.", func(u *workloadv1alpha1.SyncTarget) { u.Status.Namespaces = in(workloadv1alpha1.NamespaceOpening) }, source.Prepare, false},
		"refused":  {"", func(u *workloadv1alpha1.SyncTarget) { u.Status.Namespaces = in(workloadv1alpha1.NamespaceRefused) }, source.Prepare, false},
		"open":     {"", func(u *workloadv1alpha1.SyncTarget) { u.Status.Namespaces = in(workloadv1alpha1.NamespaceOpen) }, source.Run, false},
		"unlisted": {"An absence is no statement.", func(*workloadv1alpha1.SyncTarget) {}, source.Prepare, false},
		"closing":  {"", func(u *workloadv1alpha1.SyncTarget) { u.Status.Namespaces = in(closing) }, source.Withdraw, true},
		"withdrawn": {"It was reported, and the controller has yet to see that.", func(u *workloadv1alpha1.SyncTarget) {
			u.Status.Namespaces, u.Status.DrainedNamespaces = in(closing), []string{"shop"}
		}, source.Withdraw, false},
		"deleted": {"Copies go with a SyncTarget, by default.", func(u *workloadv1alpha1.SyncTarget) {
			u.Status.Namespaces, u.DeletionTimestamp, u.Spec.DeletionPolicy = in(closing), &now, workloadv1alpha1.DeletionPolicyDelete
		}, source.Withdraw, true},
		"orphaned": {"", func(u *workloadv1alpha1.SyncTarget) {
			u.Status.Namespaces, u.DeletionTimestamp, u.Spec.DeletionPolicy = in(closing), &now, workloadv1alpha1.DeletionPolicyOrphan
		}, source.Orphan, true},
		"orphaning target, closed Namespace": {"The policy is about the target's own end.", func(u *workloadv1alpha1.SyncTarget) {
			u.Status.Namespaces, u.Spec.DeletionPolicy = in(closing), workloadv1alpha1.DeletionPolicyOrphan
		}, source.Withdraw, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			u := &workloadv1alpha1.SyncTarget{}
			tc.change(u)
			plan := New(Config{Owner: testOwner}).PlanOf(u)
			got := source.Prepare
			for _, a := range plan.Assignments {
				if a.Namespace == shopNamespace {
					got = a.Intent
				}
			}
			if got != tc.intent {
				t.Errorf("%s\nintent = %d, want %d", tc.reason, got, tc.intent)
			}
			if how, wanted := plan.Withdrawal(shopNamespace); wanted != tc.withdrawal || wanted && how != tc.intent {
				t.Errorf("%s\nWithdrawal() = %d, %t", tc.reason, how, wanted)
			}
		})
	}
}

// TestReadPlanOfAnother: a SyncTarget of the same name and another UID is no word about ours, in the cache as live.
func TestReadPlanOfAnother(t *testing.T) {
	for uid, ours := range map[string]bool{testOwner.UID: true, "uid-2": false} {
		target := &fakeTarget{}
		target.UID = types.UID(uid)
		s := New(Config{Owner: testOwner, Target: target})
		if plan, err := s.ReadPlan(t.Context()); (plan != nil) != ours || (err == nil) != ours {
			t.Errorf("of UID %s: ReadPlan() = %v, %v", uid, plan, err)
		}
		if err := s.targets.GetStore().Add(toUnstructured(t, &target.SyncTarget)); err != nil {
			t.Fatal(err)
		}
		if plan := s.Plan(); (plan != nil) != ours {
			t.Errorf("of UID %s: Plan() = %v", uid, plan)
		}
	}
}

// TestWriteWithdrawnOfAnother: nothing is written to another SyncTarget, and nothing waits for it.
func TestWriteWithdrawnOfAnother(t *testing.T) {
	target := &fakeTarget{}
	target.UID = "uid-2"
	notWanted, err := New(Config{Owner: testOwner, Target: target}).WriteWithdrawn(t.Context(), map[source.Namespace]bool{shopNamespace: true})
	if err != nil || len(target.patches) != 0 || !cmp.Equal(notWanted, []source.Namespace{shopNamespace}) {
		t.Errorf("WriteWithdrawn() = %v, %v, patches %q", notWanted, err, target.patches)
	}
}

func TestApplyDrained(t *testing.T) {
	status := workloadv1alpha1.SyncTargetStatus{
		DrainedNamespaces: []string{"b", "stays"},
		Namespaces: []workloadv1alpha1.NamespaceStatus{
			{Name: "a", State: workloadv1alpha1.NamespaceClosing}, {Name: "b", State: workloadv1alpha1.NamespaceClosing},
			{Name: "open", State: workloadv1alpha1.NamespaceOpen},
		},
	}
	for name, tc := range map[string]struct {
		changes             map[string]bool
		drained, notClosing []string
	}{
		"added":          {map[string]bool{"a": true}, []string{"a", "b", "stays"}, nil},
		"removed":        {map[string]bool{"b": false}, []string{"stays"}, nil},
		"added again":    {map[string]bool{"b": true}, []string{"b", "stays"}, nil},
		"open":           {map[string]bool{"open": true, "a": true}, []string{"a", "b", "stays"}, []string{"open"}},
		"not in kcp":     {map[string]bool{"gone": true}, []string{"b", "stays"}, []string{"gone"}},
		"all taken back": {map[string]bool{"b": false, "stays": false, "gone": false}, []string{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			drained, notClosing := applyDrained(status, tc.changes)
			if diff := cmp.Diff([][]string{tc.drained, tc.notClosing}, [][]string{drained, notClosing}); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
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
