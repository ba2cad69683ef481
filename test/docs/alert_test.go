package docs

import (
	"os"
	"path"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ruleFile = `groups:
- name: a
  rules:
  - alert: SyncTargetLost
    expr: rate(synctarget_lost_seconds_bucket[5m]) > 0 and workqueue_depth > 0
    annotations: {runbook_url: "https://github.com/synctarget/synctarget/blob/main/docs/alerts.md#synctargetlost"}
  - alert: SyncTargetFound
    expr: synctarget_found > 0
`

func TestCheckAlerts(t *testing.T) {
	alerts, err := parseAlerts([]byte(ruleFile))
	if err != nil {
		t.Fatal(err)
	}
	got := checkAlerts("alerts.yaml", alerts, newPage("docs/alerts.md", "# Alerts\n\n## SyncTargetLost\n\nLook.\n\n## SyncTargetGone\n"),
		newPage("docs/reference/metrics.md", "| `synctarget_lost_seconds` | histogram |\n"))
	want := []problem{
		{Path: "docs/alerts.md", Line: 1, Text: `alert SyncTargetFound has no section; add "## SyncTargetFound" with what it means and what to do`},
		{Path: "alerts.yaml", Line: 1, Text: "runbook_url of alert SyncTargetFound must be https://github.com/synctarget/synctarget/blob/main/docs/alerts.md#synctargetfound"},
		{Path: "alerts.yaml", Line: 1, Text: "alert SyncTargetFound asks for synctarget_found, which no program serves; see docs/reference/metrics.md"},
		{Path: "docs/alerts.md", Line: 7, Text: "there is no alert SyncTargetGone in alerts.yaml; remove the section"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// readAlerts reads the alerts of the chart.
func readAlerts(t *testing.T) []alert {
	t.Helper()
	rules, err := os.ReadFile(path.Join(repository, alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := parseAlerts(rules)
	if err != nil || len(alerts) == 0 {
		t.Fatalf("%d alerts, %v", len(alerts), err)
	}
	return alerts
}
