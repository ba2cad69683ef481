package plugin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// grove is a workspace with two SyncTargets, two Placements and a Namespace that waits for a cluster.
func grove(t *testing.T) []client.Object {
	t.Helper()
	s := newScene(t)
	second := syncing(newTarget("edge-2"))
	arriving := running(second, "shop")
	arriving.Status.Conditions = []metav1.Condition{condition("Admitted", "False", "Admitting", "Waiting for the ServiceAccount of the syncer")}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "settings"}}
	setReport(settings, s.target, rejection.Report{Refused: "too large: limit is 1048576 bytes"})
	local := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "local"}} // nobody reports on it
	elsewhere := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "elsewhere"}}
	setReport(elsewhere, second, rejection.Report{Message: "it runs on another cluster"})
	waiting := newPlacement("cafe", "cafe")
	waiting.Status.Namespaces[0].Message = "0/2 clusters: 2 cordoned"
	empty := newPlacement("empty", "none")
	empty.Status.Namespaces = nil
	empty.Status.Conditions = []metav1.Condition{condition("Scheduled", "False", "NoNamespaces", "spec.namespaceSelector selects no Namespace of the workspace")}
	return append(s.everything(), second, arriving, settings, local, elsewhere, waiting, empty)
}

func TestTree(t *testing.T) {
	for name, args := range map[string]string{
		"tree": "tree", "tree-one": "tree edge-2", "tree-no-objects": "tree edge-1 --objects=false", "tree-json": "tree edge-1 -o json", "tree-absent": "tree edge-9",
	} {
		t.Run(name, func(t *testing.T) { newServed(t, grove(t)...).golden(name, strings.Fields(args)...) })
	}
	t.Run("none", func(t *testing.T) { newServed(t).golden("tree-none", "tree") })
	t.Run("forbidden", func(t *testing.T) {
		w := newServed(t, grove(t)...)
		w.served.forbidden = []string{"configmaps"}
		w.golden("tree-forbidden", "tree", "edge-1")
	})
}

// TestTreePages: all objects are found, in pages, and no more requests are made than may be.
func TestTreePages(t *testing.T) {
	s := newScene(t)
	objects := s.everything()
	for i := range treePage + 1 {
		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("settings-%d", i)}}
		setReport(settings, s.target, rejection.Report{Ready: "Current", Time: now.Add(-time.Minute).Format(time.RFC3339)})
		objects = append(objects, settings)
	}
	w := newServed(t, objects...)
	if code := w.run("tree"); code != exitOK || strings.Count(w.out.String(), "[Current]  configmaps/settings-") != treePage+1 {
		t.Errorf("exit code %d, %d ConfigMaps: %s", code, strings.Count(w.out.String(), "configmaps/settings-"), &w.err)
	}
	// SyncTargets, Placements, Assignments, 2 pages of ConfigMaps, Deployments, Jobs
	if got := len(w.served.made()); got != 7 {
		t.Errorf("%d requests, want 7:\n%s", got, strings.Join(w.served.made(), "\n"))
	}

	c, err := metadata.NewForConfig(&rest.Config{Host: w.served.url + "/clusters/root:team"})
	if err != nil {
		t.Fatal(err)
	}
	f, pages := &treeFacts{}, 1
	omitted, err := f.readResource(t.Context(), c, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, &pages)
	if err != nil || !strings.Contains(omitted, "too many objects") || len(f.objects) != treePage || pages != 0 {
		t.Errorf("with one page it read %d objects, %d pages are left, omitted: %q, %v", len(f.objects), pages, omitted, err)
	}
}

// TestReportState: what has no copy in a cluster does not appear there.
func TestReportState(t *testing.T) {
	for name, tc := range map[string]struct {
		report         rejection.Report
		state, message string
	}{
		"current":              {rejection.Report{Ready: "Current", Time: "x"}, "Current", ""},
		"in progress":          {rejection.Report{Ready: "InProgress", Time: "x", Message: "1/2 replicas"}, "InProgress", "1/2 replicas"},
		"refused":              {rejection.Report{Refused: "invalid: x", Ready: "Differs"}, "Refused", "invalid: x"},
		"conflict":             {rejection.Report{Conflict: "spec.replicas", Ready: "Differs", Time: "x"}, "Differs", "spec.replicas"},
		"other values":         {rejection.Report{Differs: []string{"a", "b"}, Ready: "Differs", Time: "x"}, "Differs", "other values in: a, b"},
		"applied a moment ago": {rejection.Report{Time: "x"}, "Unknown", ""},
		"elsewhere":            {rejection.Report{Message: "it runs on another cluster"}, "", ""},
	} {
		if state, message := reportState(tc.report); state != tc.state || message != tc.message {
			t.Errorf("%s: %q, %q; want %q, %q", name, state, message, tc.state, tc.message)
		}
	}
}

// TestAcceptedResources: a resource is listed once, whatever the SyncTargets say of it, and only where it is synced.
func TestAcceptedResources(t *testing.T) {
	first, second := syncing(newTarget("edge-1")), syncing(newTarget("edge-2"))
	second.Status.SyncedResources = append(second.Status.SyncedResources,
		workloadv1alpha1.SyncedResourceStatus{Resource: "secrets", State: workloadv1alpha1.ResourceForbidden, Versions: []string{"v1"}})
	got := acceptedResources([]workloadv1alpha1.SyncTarget{*first, *second})
	want := "[/v1, Resource=configmaps apps/v1, Resource=deployments batch/v1, Resource=jobs]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
