package sync

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	gr, now := workloadv1alpha1.GroupResource{Resource: "configmaps"}, time.Now()
	m.applyDuration(gr, time.Second, nil)
	m.applyDuration(gr, time.Second, errors.New("connection refused"))
	m.applyDuration(gr, time.Second, apierrors.NewForbidden(schema.GroupResource{}, "a", nil))
	m.applyDuration(gr, time.Second, apierrors.NewApplyConflict([]metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict}}, "conflict"))
	m.syncLatency(gr, clock.RealClock{}, now)
	m.syncLatency(gr, clock.RealClock{}, time.Time{}) // a copy that was mended, not a change that travelled
	m.statusLatency(gr, clock.RealClock{}, now)
	m.statusLatency(gr, clock.RealClock{}, time.Time{})
	m.setDepth(func() int { return 3 })
	m.setObjects([]workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted, Objects: 5, Failing: 2}})
	m.setWatches(map[resourceOnSide]watchFailure{{gr, workspaceSide}: {}, {gr, clusterSide}: {since: now}})

	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("GatherAndLint() = %v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"synctarget_syncer_apply_duration_seconds": 4, "synctarget_syncer_sync_latency_seconds": 1, "synctarget_syncer_status_latency_seconds": 1, "synctarget_syncer_objects": 2, "synctarget_syncer_watch_healthy": 2, "synctarget_syncer_queue_depth": 1,
	} {
		if got, err := testutil.GatherAndCount(registry, name); got != want || err != nil {
			t.Errorf("%s has %d series, %v; want %d", name, got, err, want)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]bool{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "result" {
					results[label.GetValue()] = true
				}
			}
		}
		if h := family.GetMetric()[0].GetHistogram(); h != nil && h.GetSampleCount() != 1 {
			t.Errorf("%s counts %d", family.GetName(), h.GetSampleCount())
		}
	}
	if diff := cmp.Diff(map[string]bool{"success": true, "error": true, "refused": true, "conflict": true}, results); diff != "" {
		t.Errorf("results: -want +got\n%s", diff)
	}
}
