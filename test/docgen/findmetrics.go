package main

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// constructor is a function of client_golang that makes a metric: NewGauge, NewGaugeVec, NewGaugeFunc and so on.
var constructor = regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary|Untyped)(Vec|Func)?$`)

// findMetrics returns the metrics that a package makes by the constructors of client_golang, in the order of the
// source.
func findMetrics(p goPackage) ([]metric, error) {
	f := metricFinder{goPackage: p, values: p.constants()}
	var found []metric
	var failed error
	for _, file := range p.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || failed != nil {
				return failed == nil
			}
			m, ok, err := f.metric(call)
			if failed = err; ok && err == nil {
				found = append(found, m)
			}
			return true
		})
	}
	return found, failed
}

type metricFinder struct {
	goPackage
	// values are the constants of the package.
	values map[string]ast.Expr
}

// metric reads a call. ok is false if it makes no metric.
func (f metricFinder) metric(call *ast.CallExpr) (m metric, ok bool, err error) {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isPackage(function.X, "prometheus", "promauto") {
		return metric{}, false, nil
	}
	match := constructor.FindStringSubmatch(function.Sel.Name)
	switch {
	case match != nil:
		m, err = f.fromOptions(call, strings.ToLower(match[1]), match[2] == "Vec")
	case function.Sel.Name == "NewDesc":
		m, err = f.fromDesc(call)
	default:
		return metric{}, false, nil
	}
	m.Program = programOf(f.Path)
	return m, true, err
}

func isPackage(e ast.Expr, names ...string) bool {
	identifier, ok := e.(*ast.Ident)
	if !ok {
		return false
	}
	for _, name := range names {
		if identifier.Name == name {
			return true
		}
	}
	return false
}

// fromOptions reads NewGauge(prometheus.GaugeOpts{…}) and its like; a vector has its labels as the second argument.
func (f metricFinder) fromOptions(call *ast.CallExpr, kind string, vector bool) (metric, error) {
	if len(call.Args) == 0 {
		return metric{}, f.unreadable(call, "a call with options")
	}
	options, ok := call.Args[0].(*ast.CompositeLit)
	if !ok {
		return metric{}, f.unreadable(call.Args[0], "a literal of the options")
	}
	texts := map[string]string{}
	for _, element := range options.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			return metric{}, f.unreadable(element, "a field with its name")
		}
		name := pair.Key.(*ast.Ident).Name // the compiler allows nothing else in a struct
		switch name {
		case "Namespace", "Subsystem", "Name", "Help":
			value, err := f.stringValue(f.values, pair.Value)
			if err != nil {
				return metric{}, err
			}
			texts[name] = value
		}
	}
	m := metric{Name: fullName(texts["Namespace"], texts["Subsystem"], texts["Name"]), Type: kind, Help: texts["Help"]}
	if !vector || len(call.Args) < 2 {
		return m, nil
	}
	var err error
	m.Labels, err = f.labels(call.Args[1])
	return m, err
}

// fromDesc reads NewDesc(name, help, labels, constLabels). The call does not contain the type of the metric. A name that
// ends in _total is a counter by the naming rules of Prometheus; any other counts as a gauge.
func (f metricFinder) fromDesc(call *ast.CallExpr) (metric, error) {
	if len(call.Args) != 4 {
		return metric{}, f.unreadable(call, "a call with four arguments")
	}
	name, err := f.stringValue(f.values, call.Args[0])
	if err != nil {
		return metric{}, err
	}
	help, err := f.stringValue(f.values, call.Args[1])
	if err != nil {
		return metric{}, err
	}
	labels, err := f.labels(call.Args[2])
	kind := "gauge"
	if strings.HasSuffix(name, "_total") {
		kind = "counter"
	}
	return metric{Name: name, Type: kind, Labels: labels, Help: help}, err
}

func (f metricFinder) labels(e ast.Expr) ([]string, error) {
	if isPackage(e, "nil") {
		return nil, nil
	}
	list, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil, f.unreadable(e, "a literal of the labels")
	}
	var labels []string
	for _, element := range list.Elts {
		label, err := f.stringValue(f.values, element)
		if err != nil {
			return nil, err
		}
		labels = append(labels, label)
	}
	return labels, nil
}

func (f metricFinder) unreadable(n ast.Node, wanted string) error {
	return fmt.Errorf("%s: docgen cannot read this metric; write %s here", f.FileSet.Position(n.Pos()), wanted)
}

// fullName is what Prometheus calls a metric: the parts that are not empty, joined by underscores.
func fullName(parts ...string) string {
	var kept []string
	for _, part := range parts {
		if part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "_")
}
