package main

import "fmt"

// board is a dashboard.
type board struct {
	Title, UID string
	// Variable is what a user chooses at the top; nil for nothing.
	Variable *variable
	Rows     []row
}

// all are the panels of all rows.
func (b board) all() []panel {
	var panels []panel
	for _, r := range b.Rows {
		panels = append(panels, r.Panels...)
	}
	return panels
}

// variable is a label by which the series of a dashboard are chosen.
type variable struct {
	Name, Label string
	// Metric is that whose series have the values.
	Metric string
}

type row struct {
	Title  string
	Panels []panel
}

// panel is a plot over time.
type panel struct {
	Title string
	// Unit is an ID of Grafana: short, s, bytes, or ops for each second.
	Unit        string
	Description string
	Stacked     bool
	Queries     []query
}

// query is in PromQL. Legend is a template of Grafana, as {{label}}.
type query struct{ Expr, Legend string }

// quantiles are the queries for p50 and p99 of a histogram of which the series with these labels count; by another label, too, if by is
// not empty.
func quantiles(buckets, labels, by string) []query {
	selector := buckets
	if labels != "" {
		selector += "{" + labels + "}"
	}
	grouping, suffix := "le", ""
	if by != "" {
		grouping, suffix = by+", le", " {{"+by+"}}"
	}
	var queries []query
	for _, q := range []struct{ quantile, name string }{{"0.5", "p50"}, {"0.99", "p99"}} {
		queries = append(queries, query{
			fmt.Sprintf(`histogram_quantile(%s, sum by (%s) (rate(%s[$__rate_interval])))`, q.quantile, grouping, selector), q.name + suffix,
		})
	}
	return queries
}

// boards are all dashboards, by the name of their file.
func boards() map[string]board {
	return map[string]board{"fleet": fleet, "target": target}
}
