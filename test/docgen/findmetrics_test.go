package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestFindMetrics(t *testing.T) {
	tests := map[string]struct {
		reason string
		source string
		want   []metric
	}{
		"Gauge": {
			source: `prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "Help of a."})`,
			want:   []metric{{Name: "a", Type: "gauge", Help: "Help of a."}},
		},
		"Vector": {
			source: `prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "a", Buckets: []float64{1}}, []string{"x", label})`,
			want:   []metric{{Name: "a", Type: "histogram", Labels: []string{"x", "result"}}},
		},
		"Function": {
			reason: "the function is no list of labels",
			source: `prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "a"}, func() float64 { return 1 })`,
			want:   []metric{{Name: "a", Type: "counter"}},
		},
		"FullName": {
			source: `promauto.NewSummary(prometheus.SummaryOpts{Namespace: space, Subsystem: "sub", Name: "a" + suffix})`,
			want:   []metric{{Name: "space_sub_a_seconds", Type: "summary"}},
		},
		"Desc": {
			source: `prometheus.NewDesc("a", "Help"+" of a.", []string{"x"}, nil)`,
			want:   []metric{{Name: "a", Type: "gauge", Labels: []string{"x"}, Help: "Help of a."}},
		},
		"DescOfCounter": {
			source: `prometheus.NewDesc("a_total", "Help.", nil, nil)`,
			want:   []metric{{Name: "a_total", Type: "counter", Help: "Help."}},
		},
		"Nested": {
			source: `register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a"}), &c{d: prometheus.NewDesc("b", "", nil, nil)})`,
			want:   []metric{{Name: "a", Type: "gauge"}, {Name: "b", Type: "gauge"}},
		},
		"Others": {
			reason: "other functions make no metrics",
			source: `prometheus.NewRegistry().Register(heartbeat.NewGauge("a"))`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := findMetrics(packageWith(t, tt.source))
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.want {
				tt.want[i].Program = programSyncer
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}

func TestFindMetricsRefusesWhatItCannotRead(t *testing.T) {
	tests := map[string]string{
		"Name":          `prometheus.NewGauge(prometheus.GaugeOpts{Name: nameOf(x)})`,
		"Options":       `prometheus.NewGauge(options)`,
		"Positional":    `prometheus.NewGauge(prometheus.GaugeOpts{"a", "b"})`,
		"NoOptions":     `prometheus.NewGauge()`,
		"Labels":        `prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a"}, labels)`,
		"Label":         `prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a"}, []string{x})`,
		"DescName":      `prometheus.NewDesc(prometheus.BuildFQName("a", "b", "c"), "", nil, nil)`,
		"DescHelp":      `prometheus.NewDesc("a", help(), nil, nil)`,
		"DescArguments": `prometheus.NewDesc("a")`,
	}
	for name, source := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := findMetrics(packageWith(t, source))
			if err == nil || !strings.HasPrefix(err.Error(), "pkg/syncer/x/a.go:") {
				t.Errorf("findMetrics() = %v, want an error that names the place", err)
			}
		})
	}
}

// packageWith is a package of the syncer with an expression.
func packageWith(t *testing.T, expression string) goPackage {
	t.Helper()
	root := fstest.MapFS{
		"pkg/syncer/x/a.go": {Data: []byte("package x\n\nfunc f() { _ = " + expression + " }\n")},
		"pkg/syncer/x/b.go": {Data: []byte("package x\n\nconst (\n\tlabel = \"result\"\n\tspace = \"space\"\n\tsuffix = \"_seconds\"\n)\n")},
	}
	p, err := parsePackage(root, "pkg/syncer/x")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
