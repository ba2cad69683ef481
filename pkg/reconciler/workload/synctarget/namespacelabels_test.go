package synctarget

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// relabel gives the Namespace "shop" these labels beside the one that shows it.
func (w *world) relabel(labels map[string]string) {
	w.t.Helper()
	var ns corev1.Namespace
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
		w.t.Fatal(err)
	}
	ns.Labels = namespace("shop").Labels
	maps.Copy(ns.Labels, labels)
	if err := w.kcp.raw.Update(w.t.Context(), &ns); err != nil {
		w.t.Fatal(err)
	}
}

// carried are the labels that the downstream Namespace of "shop" carries.
func (w *world) carried() map[string]string {
	w.t.Helper()
	live := w.downstreamNamespace()[0].(*corev1.Namespace)
	if err := w.there.raw.Get(w.t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
		w.t.Fatal(err)
	}
	maps.DeleteFunc(live.Labels, func(key, _ string) bool {
		return !strings.Contains(key, workloadv1alpha1.LabelDomainNamespace+"/") || strings.HasPrefix(key, "state.")
	})
	return live.Labels
}

// TestNamespaceLabelsAreFollowed: a change of the labels costs one write downstream, and no request afterwards.
func TestNamespaceLabelsAreFollowed(t *testing.T) {
	w := open(t)
	w.assign("bank")
	w.settle()
	apply := []string{"apply " + watchName(w.downstreamNamespace()[0])}
	for _, tc := range []struct {
		name         string
		labels, want map[string]string
		writes       []string
	}{
		{"added", map[string]string{"team": "web"}, map[string]string{"namespace.workload.kcp.io/team": "web"}, apply},
		{"changed", map[string]string{"team": "db"}, map[string]string{"namespace.workload.kcp.io/team": "db"}, apply},
		{"of kcp", map[string]string{"team": "db", "kcp.io/a": "b"}, map[string]string{"namespace.workload.kcp.io/team": "db"}, nil},
		{"replaced", map[string]string{"example.com/tier": "db"}, map[string]string{"example.com.namespace.workload.kcp.io/tier": "db"}, apply},
		{"removed", nil, map[string]string{}, apply},
	} {
		w.relabel(tc.labels)
		w.forget()
		w.pass()
		if diff := cmp.Diff(tc.writes, w.there.writes); diff != "" || len(w.kcp.writes) != 0 {
			t.Errorf("%s: writes downstream: -want +got\n%s\nupstream: %q", tc.name, diff, w.kcp.writes)
		}
		if tc.writes == nil && len(w.there.reads) != 0 {
			t.Errorf("%s: reads downstream for what is not carried: %q", tc.name, w.there.reads)
		}
		if diff := cmp.Diff(tc.want, w.carried()); diff != "" {
			t.Errorf("%s: labels: -want +got\n%s", tc.name, diff)
		}
		w.forget()
		w.pass()
		if asked := w.clusters.gets + len(w.there.reads) + len(w.there.writes); asked != 0 {
			t.Errorf("%s: %d requests downstream at rest: %q, %q", tc.name, asked, w.there.reads, w.there.writes)
		}
	}
}

// TestUnknownNamespaceLabelsAreKept: that a Namespace is not seen is no sign that it has lost its labels.
func TestUnknownNamespaceLabelsAreKept(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
		state string
	}{
		"cache is empty": {"The cache lags.", func(_ *testing.T, w *world) { w.cache.reader = emptyNamespaces{w.kcp.raw} }, "shop Open"},
		"hidden": {"The user took the claim's label off.", func(t *testing.T, w *world) {
			if err := w.kcp.raw.Delete(t.Context(), namespace("shop")); err != nil {
				t.Fatal(err)
			}
		}, "shop Open"},
		"closing": {"The copies in it still run.", func(_ *testing.T, w *world) { w.withdraw("shop") }, "shop Closing"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.relabel(map[string]string{"team": "web"})
			w.settle()
			tc.arrange(t, w)
			for range 2 {
				w.pass()
				w.wake()
			}
			if got := w.namespaces(); got != tc.state {
				t.Fatalf("%s\nnamespaces: %s", tc.reason, got)
			}
			if diff := cmp.Diff(map[string]string{"namespace.workload.kcp.io/team": "web"}, w.carried()); diff != "" || len(w.there.writes) != 0 {
				t.Errorf("%s\nlabels: -want +got\n%s\nwrites %q", tc.reason, diff, w.there.writes)
			}
		})
	}
}

// TestNamespaceEvents: a change of any label of an assigned Namespace queues the targets that it is assigned to. What the scheduler
// writes for display queues none.
func TestNamespaceEvents(t *testing.T) {
	w := usual(t)
	other := newTarget()
	other.Name, other.UID = "edge-2", "another"
	w.create(other)
	w.create(assignment("shop"))
	plain := namespace("shop")
	labelled := plain.DeepCopy()
	labelled.Labels["team"] = "web"
	annotated := plain.DeepCopy()
	annotated.Annotations = map[string]string{workloadv1alpha1.AnnotationPlacement: "{}"}
	anew := plain.DeepCopy()
	anew.UID = "another"
	deleted := plain.DeepCopy()
	deleted.DeletionTimestamp = ptr.To(metav1.Now())
	one := []string{testCluster + "/" + testName}
	for name, tc := range map[string]struct {
		before, after *corev1.Namespace
		want          []string
	}{
		"label added":    {plain, labelled, one},
		"label removed":  {labelled, plain, one},
		"deleted":        {plain, deleted, one},
		"created anew":   {plain, anew, one},
		"annotated":      {plain, annotated, []string{}},
		"never assigned": {namespace("bank"), namespace("bank"), []string{}},
	} {
		q := newQueue(t)
		namespaceEvents(testCluster, w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}, q)
		if diff := cmp.Diff(tc.want, queued(q)); diff != "" {
			t.Errorf("%s: queued: -want +got\n%s", name, diff)
		}
	}
}
