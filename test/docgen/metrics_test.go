package main

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestGoFolders(t *testing.T) {
	root := fstest.MapFS{"cmd/a/main.go": {}, "pkg/b/b.go": {}, "pkg/b/testdata/c/c.go": {}, "test/d/d.go": {}}
	got, err := goFolders(root, "cmd", "pkg")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cmd", "cmd/a", "pkg", "pkg/b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestProgramOf(t *testing.T) {
	tests := map[string]string{
		"pkg/syncer":                         programSyncer,
		"pkg/syncer/heartbeat":               programSyncer,
		"cmd/syncer":                         programSyncer,
		"pkg/syncers":                        programController,
		"cmd/synctarget-controller":          programController,
		"pkg/reconciler/workload/synctarget": programController,
	}
	for folder, want := range tests {
		if got := programOf(folder); got != want {
			t.Errorf("programOf(%q) = %q, want %q", folder, got, want)
		}
	}
}

func TestMetricsPage(t *testing.T) {
	page, err := metricsPage([]metric{
		{Program: programController, Name: "b_total", Type: "counter", Labels: []string{"phase", "result"}, Help: "Counts <b>."},
		{Program: programController, Name: "a", Type: "gauge", Help: "Is a."},
		{Program: programSyncer, Name: "c_seconds", Type: "histogram", Help: "Takes c."},
	})
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "metrics.md", page)
}

func TestMetricsPageRefusesAProgramWithoutMetrics(t *testing.T) {
	if _, err := metricsPage([]metric{{Program: programController, Name: "a"}}); err == nil {
		t.Error("metricsPage() = nil, want an error")
	}
}
