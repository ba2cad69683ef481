package resource

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestDrainedIsToldBeforeTheRightsGo: whatever fails, and whenever, the report is made while the counterpart stands, and
// the counterpart goes in the end.
func TestDrainedIsToldBeforeTheRightsGo(t *testing.T) {
	p := newPlace(testOwner.Key, "shop")
	p.setEnding(&closing{})
	p.deafen = func() {}
	counterpart := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	counterpart.SetName(p.counterpart)
	counterpart.SetLabels(map[string]string{workloadv1alpha1.LabelKey: testOwner.Key})
	down := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), counterpart)
	kcp := &reporting{err: errors.New("somebody was faster")}
	kcp.UID = types.UID(testOwner.UID)
	e := &Engine{owner: testOwner, target: kcp, down: down, places: map[string]*place{"shop": p}}
	stands := func() bool {
		_, err := down.Resource(namespaces).Get(t.Context(), p.counterpart, metav1.GetOptions{})
		return err == nil
	}

	if _, err := e.closePlace(t.Context(), p); err == nil || !stands() {
		t.Fatalf("without the report, closePlace() = %v, the counterpart stands: %t", err, stands())
	}
	kcp.err = nil
	refuse := true
	down.PrependReactor("delete", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("connection refused")
	})
	if _, err := e.closePlace(t.Context(), p); err == nil || len(kcp.patches) != 1 || !strings.Contains(kcp.patches[0], `["shop"]`) {
		t.Fatalf("closePlace() = %v, reported %q", err, kcp.patches)
	}
	refuse = false
	if _, err := e.closePlace(t.Context(), p); err != nil || stands() || len(kcp.patches) != 1 || len(e.places) != 0 {
		t.Errorf("closePlace() = %v, the counterpart stands: %t, reported %q, places %v", err, stands(), kcp.patches, e.places)
	}
}

// reporting is a SyncTarget in kcp that takes reports.
type reporting struct {
	target
	err     error
	patches []string
}

func (u *reporting) PatchStatus(_ context.Context, patch []byte) error {
	if u.err == nil {
		u.patches = append(u.patches, string(patch))
	}
	return u.err
}
