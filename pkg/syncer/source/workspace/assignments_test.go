package workspace

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// fakeServer is kcp, with SyncTargets and Assignments.
type fakeServer struct{ *dynamicfake.FakeDynamicClient }

func newFakeServer(objects ...runtime.Object) *fakeServer {
	version := workloadv1alpha1.SchemeGroupVersion
	return &fakeServer{dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		version.WithResource("synctargets"): "SyncTargetList", version.WithResource("assignments"): "AssignmentList",
	}, objects...)}
}

// watched counts the watches of a resource.
func (s *fakeServer) watched(resource string) (count int) {
	for _, action := range s.Actions() {
		if action.Matches("watch", resource) {
			count++
		}
	}
	return count
}

// TestWriteReport: the report alone is applied, to the version of the Assignment that the Plan has shown.
func TestWriteReport(t *testing.T) {
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	a := assigned(workloadv1alpha1.IntentRun)
	report := source.Report{
		Epoch: 4, DownstreamNamespace: "kcp-x", Objects: workloadv1alpha1.AssignmentObjects{Applied: 7, Failing: 1, BoundClaims: 2},
		Conditions: []metav1.Condition{{Type: workloadv1alpha1.ConditionApplied, Status: metav1.ConditionTrue, Reason: "Applied", LastTransitionTime: at}},
	}
	s := New(Config{Owner: testOwner})
	assignment := s.PlanOf(&workloadv1alpha1.SyncTarget{}, []*workloadv1alpha1.Assignment{a}).Assignments[0]
	for name, answer := range map[string]error{"written": nil, "changed since": apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("it has changed"))} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer()
			var got clienttesting.PatchActionImpl
			server.PrependReactor("patch", "assignments", func(action clienttesting.Action) (bool, runtime.Object, error) {
				got = action.(clienttesting.PatchActionImpl)
				return true, toUnstructured(t, a), answer
			})
			s := New(Config{Owner: testOwner, Client: server})
			if err := s.WriteReport(t.Context(), assignment, report); !errors.Is(err, answer) {
				t.Fatalf("WriteReport() = %v", err)
			}
			var applied map[string]any
			if err := json.Unmarshal(got.Patch, &applied); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"apiVersion": "workload.kcp.io/v1alpha1", "kind": "Assignment",
				"metadata": map[string]any{"name": "a", "namespace": a.Namespace, "uid": "a-1", "resourceVersion": "7"},
				"status": map[string]any{
					"observedEpoch": 4.0, "downstreamNamespace": "kcp-x", "objects": map[string]any{"applied": 7.0, "failing": 1.0, "boundClaims": 2.0},
					"conditions": []any{map[string]any{"type": "Applied", "status": "True", "reason": "Applied", "message": "", "lastTransitionTime": "2023-11-14T22:13:20Z"}},
				},
			}
			if diff := cmp.Diff(want, applied); diff != "" {
				t.Errorf("applied: -want +got\n%s", diff)
			}
			if got.Subresource != "status" || got.Namespace != a.Namespace || got.PatchOptions.FieldManager != workloadv1alpha1.FieldOwnerSyncer {
				t.Errorf("applied to %q in %q by %q", got.Subresource, got.Namespace, got.PatchOptions.FieldManager)
			}
		})
	}
}

// TestReportIsReadBack: what was reported is what the Plan shows, so that nothing is written twice.
func TestReportIsReadBack(t *testing.T) {
	condition := func(kind string) metav1.Condition { return metav1.Condition{Type: kind, Status: metav1.ConditionTrue} }
	a := assigned(workloadv1alpha1.IntentRun, func(a *workloadv1alpha1.Assignment) {
		a.Status.ObservedEpoch, a.Status.DownstreamNamespace = 4, "kcp-x"
		a.Status.Objects = &workloadv1alpha1.AssignmentObjects{Applied: 7}
		a.Status.Conditions = append(a.Status.Conditions, condition(workloadv1alpha1.ConditionAvailable), condition(workloadv1alpha1.ConditionApplied))
	})
	want := source.Report{
		Epoch: 4, DownstreamNamespace: "kcp-x", Objects: workloadv1alpha1.AssignmentObjects{Applied: 7},
		Conditions: []metav1.Condition{condition(workloadv1alpha1.ConditionApplied), condition(workloadv1alpha1.ConditionAvailable)},
	}
	got := New(Config{Owner: testOwner}).PlanOf(&workloadv1alpha1.SyncTarget{}, []*workloadv1alpha1.Assignment{a}).Assignments[0].Reported
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestWriteStatus: the resources are written to the SyncTarget of that UID and version, and nothing else.
func TestWriteStatus(t *testing.T) {
	target := newTarget(testOwner.UID)
	target.ResourceVersion = "9"
	s := New(Config{Owner: testOwner, Target: target})
	if err := s.WriteStatus(t.Context(), []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted}}); err != nil {
		t.Fatal(err)
	}
	want := `[{"op":"test","path":"/metadata/uid","value":"uid-1"},{"op":"test","path":"/metadata/resourceVersion","value":"9"},` +
		`{"op":"add","path":"/status/syncedResources","value":[{"group":"","resource":"configmaps","state":"Accepted"}]}]`
	if diff := cmp.Diff([]string{want}, target.patches); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
