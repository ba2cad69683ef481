package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	metric        = regexp.MustCompile(`\b(synctarget|workqueue|process|go)_[a-z_]+`)
	histogramPart = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// TestMetricsExist: each query asks for metrics that the programs serve. Of those that are not their own, a library serves them.
func TestMetricsExist(t *testing.T) {
	content, err := os.ReadFile("../../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	served := string(content)
	foreign := map[string]bool{"workqueue_depth": true, "process_cpu_seconds_total": true, "process_resident_memory_bytes": true}
	for _, b := range boards() {
		for _, p := range b.all() {
			found := 0
			for _, q := range p.Queries {
				for _, name := range metric.FindAllString(q.Expr, -1) {
					found++
					if !foreign[name] && !strings.Contains(served, "`"+histogramPart.ReplaceAllString(name, "")+"`") {
						t.Errorf("%s, %q asks for %s, which no program serves", b.Title, p.Title, name)
					}
				}
			}
			if found == 0 {
				t.Errorf("%s, %q asks for no metric", b.Title, p.Title)
			}
		}
	}
}

// TestOwnMetricsAreShown: a metric that is added is shown, or is named here with the reason why not.
func TestOwnMetricsAreShown(t *testing.T) {
	content, err := os.ReadFile("../../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, b := range boards() {
		for _, p := range b.all() {
			for _, q := range p.Queries {
				for _, name := range metric.FindAllString(q.Expr, -1) {
					shown[histogramPart.ReplaceAllString(name, "")] = true
				}
			}
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(synctarget_[a-z_]+)` \\|").FindAllStringSubmatch(string(content), -1) {
		if !shown[row[1]] {
			t.Errorf("no dashboard shows %s", row[1])
		}
	}
}

// TestJSON: a panel of Grafana stands for each panel, in rows, with the data source and the Namespace that the user chooses.
func TestJSON(t *testing.T) {
	for name, b := range boards() {
		content, err := grafanaJSON(b)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			UID    string `json:"uid"`
			Panels []struct {
				Type, Title string
				Datasource  struct{ UID string }
				GridPos     struct{ X, Y, W, H int }
			}
			Templating struct{ List []struct{ Name string } }
		}
		if err := json.Unmarshal(content, &got); err != nil {
			t.Fatal(err)
		}
		if want := len(b.all()) + len(b.Rows); len(got.Panels) != want || got.UID != b.UID {
			t.Errorf("%s: %d panels and rows of %q, want %d of %q", name, len(got.Panels), got.UID, want, b.UID)
		}
		places := map[[2]int]string{}
		for _, p := range got.Panels {
			if p.Type == "row" {
				continue
			}
			if p.Datasource.UID != "${datasource}" {
				t.Errorf("%s, %q: data source %q", name, p.Title, p.Datasource.UID)
			}
			place := [2]int{p.GridPos.X, p.GridPos.Y}
			if other := places[place]; other != "" || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %q is at %+v, where %q is", name, p.Title, p.GridPos, other)
			}
			places[place] = p.Title
		}
		want := 1 // the data source
		if b.Variable != nil {
			want++
		}
		if len(got.Templating.List) != want {
			t.Errorf("%s: %d variables, want %d", name, len(got.Templating.List), want)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
