package docs

import (
	"os"
	"path"
	"testing"
)

const (
	repository = "../.."
	conditions = "pkg/apis/workload/v1alpha1/conditions.go"
	alertsFile = "config/chart/alerts.yaml"
)

// TestDocumentation runs the checks on the pages of the repository.
func TestDocumentation(t *testing.T) {
	root := os.DirFS(repository)
	pages, err := loadPages(root)
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(*testing.T) []problem{
		"Links":     func(*testing.T) []problem { return checkLinks(root, pages) },
		"Reachable": func(*testing.T) []problem { return checkReachable(pages, "README.md") },
		"Readme":    func(t *testing.T) []problem { return checkLength(mustFind(t, pages, "README.md"), maxReadmeLines) },
		"Glossary":  func(t *testing.T) []problem { return checkGlossary(mustFind(t, pages, "docs/glossary.md")) },
		"Reasons": func(t *testing.T) []problem {
			return checkReasons(conditions, readReasons(t), mustFind(t, pages, "docs/troubleshoot.md"))
		},
		"Alerts": func(t *testing.T) []problem {
			return checkAlerts(alertsFile, readAlerts(t), mustFind(t, pages, "docs/alerts.md"), mustFind(t, pages, "docs/reference/metrics.md"))
		},
		"Prose": func(*testing.T) (problems []problem) {
			for _, p := range pages {
				problems = append(problems, checkProse(p)...)
			}
			return problems
		},
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			for _, p := range check(t) {
				t.Error(p)
			}
		})
	}
}

func mustFind(t *testing.T, pages []page, name string) page {
	t.Helper()
	p, ok := find(pages, name)
	if !ok {
		t.Fatalf("%s:1: the page does not exist; restore it, or change this test", name)
	}
	return p
}

func readReasons(t *testing.T) []constant {
	t.Helper()
	source, err := os.ReadFile(path.Join(repository, conditions))
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := reasonConstants(conditions, source)
	if err != nil {
		t.Fatal(err)
	}
	if len(reasons) == 0 {
		t.Fatalf("%s:1: there are no constants that begin with Reason; if they have moved, change this test", conditions)
	}
	return reasons
}
