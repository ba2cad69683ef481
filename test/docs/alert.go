package docs

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/synctarget/synctarget/test/docs/markdown"
)

// alert is an alerting rule of Prometheus.
type alert struct {
	Name        string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// parseAlerts reads a rule file of Prometheus.
func parseAlerts(ruleFile []byte) ([]alert, error) {
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(ruleFile, &file); err != nil {
		return nil, fmt.Errorf("reading the alerts: %w", err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all, nil
}

// runbooks is where the page of the alerts is published.
const runbooks = "https://github.com/synctarget/synctarget/blob/main/docs/alerts.md#"

var (
	ownMetric     = regexp.MustCompile(`\bsynctarget_[a-z_]+`)
	histogramPart = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// checkAlerts verifies that the page has a section for each alert and no other one, that the alert leads to it, and that the programs
// serve the metrics that it asks for.
func checkAlerts(source string, alerts []alert, p, metrics page) []problem {
	var problems []problem
	report := func(path string, line int, format string, args ...any) {
		problems = append(problems, problem{Path: path, Line: line, Text: fmt.Sprintf(format, args...)})
	}
	explained, sections := anchors(p), map[string]bool{}
	for _, a := range alerts {
		anchor := strings.ToLower(a.Name)
		sections[anchor] = true
		if !explained[anchor] {
			report(p.Path, 1, "alert %s has no section; add \"## %s\" with what it means and what to do", a.Name, a.Name)
		}
		if a.Annotations["runbook_url"] != runbooks+anchor {
			report(source, 1, "runbook_url of alert %s must be %s", a.Name, runbooks+anchor)
		}
		for _, metric := range ownMetric.FindAllString(a.Expr, -1) {
			if !strings.Contains(metrics.Text, "`"+histogramPart.ReplaceAllString(metric, "")+"`") {
				report(source, 1, "alert %s asks for %s, which no program serves; see %s", a.Name, metric, metrics.Path)
			}
		}
	}
	for _, b := range p.Blocks {
		name, isSection := strings.CutPrefix(b.Text(), "## ")
		if b.Kind == markdown.Heading && isSection && !sections[strings.ToLower(name)] {
			report(p.Path, b.Line, "there is no alert %s in %s; remove the section", name, source)
		}
	}
	return problems
}
