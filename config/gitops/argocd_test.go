// Package gitops_test checks what tools for GitOps are told.
package gitops_test

import (
	"os"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestArgoCD: the health that Argo CD shows is the one that kstatus computes, and so Flux, for both kinds.
func TestArgoCD(t *testing.T) {
	progress := func(conditionType string) *workloadv1alpha1.SyncTargetStatus {
		return &workloadv1alpha1.SyncTargetStatus{ObservedGeneration: 2, Conditions: []metav1.Condition{
			{Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Cause", Message: "why"},
			{Type: conditionType, Status: metav1.ConditionTrue, Reason: "Cause", Message: "why"},
		}}
	}
	done := &workloadv1alpha1.SyncTargetStatus{ObservedGeneration: 2, Conditions: []metav1.Condition{
		{Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready"},
	}}
	outdated := done.DeepCopy()
	outdated.ObservedGeneration = 1
	kinds := checks(t)
	if len(kinds) != 2 {
		t.Errorf("checks of %d kinds, want those of SyncTarget and Placement", len(kinds))
	}
	for name, tc := range map[string]struct {
		status          *workloadv1alpha1.SyncTargetStatus
		health, message string
		kstatus         kstatus.Status
	}{
		"new":       {nil, "Progressing", "The controller has yet to look at it", kstatus.InProgressStatus},
		"changed":   {outdated, "Progressing", "The controller has yet to look at it", kstatus.InProgressStatus},
		"stalled":   {progress(workloadv1alpha1.ConditionStalled), "Degraded", "Cause: why", kstatus.FailedStatus},
		"under way": {progress(workloadv1alpha1.ConditionReconciling), "Progressing", "Cause: why", kstatus.InProgressStatus},
		"done":      {done, "Healthy", "", kstatus.CurrentStatus},
	} {
		object := objectWith(t, tc.status)
		computed, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			t.Fatal(err)
		}
		if name != "new" && computed.Status != tc.kstatus { // kstatus sees nothing of an object without a status
			t.Errorf("%s: kstatus says %s, want %s", name, computed.Status, tc.kstatus)
		}
		for kind, check := range kinds {
			if health, message := run(t, check, object); health != tc.health || message != tc.message {
				t.Errorf("%s, %s: %s, %q, want %s, %q", kind, name, health, message, tc.health, tc.message)
			}
		}
	}
}

// checks are the health checks of the file, by their key.
func checks(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.UnmarshalStrict(content, &configMap); err != nil {
		t.Fatal(err)
	}
	return configMap.Data
}

func objectWith(t *testing.T, status *workloadv1alpha1.SyncTargetStatus) map[string]any {
	t.Helper()
	target := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Generation: 2}}
	if status != nil {
		target.Status = *status
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(target)
	if err != nil {
		t.Fatal(err)
	}
	if status == nil {
		delete(object, "status")
	}
	return object
}

// run evaluates a health check as Argo CD does: the object is the global obj, and the check returns a table.
func run(t *testing.T, check string, object map[string]any) (health, message string) {
	t.Helper()
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(check); err != nil {
		t.Fatal(err)
	}
	result, isTable := state.Get(-1).(*lua.LTable)
	if !isTable {
		t.Fatalf("the check returns %s, want a table", state.Get(-1).Type())
	}
	return lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message"))
}

// toLua converts what JSON can hold.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, element := range value {
			table.RawSetString(key, toLua(state, element))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(toLua(state, element))
		}
		return table
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	}
	return lua.LNil
}
