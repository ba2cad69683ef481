package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

const (
	// columns is how many panels are side by side in a picture.
	columns = 3
	// tileWidth and tileHeight are the size of a panel in it, and padding is around it.
	tileWidth, tileHeight, padding vg.Length = 360, 220, 8
	// step is the time between two points.
	step = 5 * time.Second
)

// drawer runs the queries of dashboards, and draws what comes back.
type drawer struct {
	api   prometheus.API
	times prometheus.Range
}

// drawAll draws the dashboards with the data of the last time that a Prometheus holds, as PNG into a folder. It returns the titles of
// the panels for which there is no data.
func drawAll(ctx context.Context, url, folder string, last time.Duration) (empty []string, err error) {
	client, err := api.NewClient(api.Config{Address: url})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	d := drawer{api: prometheus.NewAPI(client), times: prometheus.Range{Start: now.Add(-last), End: now, Step: step}}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	for name, b := range boards() {
		without, err := d.drawFile(ctx, b, filepath.Join(folder, "dashboard-"+name+".png"))
		if err != nil {
			return nil, fmt.Errorf("dashboard %q: %w", b.Title, err)
		}
		empty = append(empty, without...)
	}
	return empty, nil
}

func (d drawer) drawFile(ctx context.Context, b board, path string) (empty []string, err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	empty, err = d.draw(ctx, b, file)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return empty, err
}

// draw draws the panels of a dashboard, one beside the other.
func (d drawer) draw(ctx context.Context, b board, to io.Writer) (empty []string, err error) {
	chosen, err := d.firstValue(ctx, b.Variable)
	if err != nil {
		return nil, err
	}
	panels := b.all()
	rows := (len(panels) + columns - 1) / columns
	image := vgimg.New(columns*tileWidth, vg.Length(rows)*tileHeight)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: padding, PadY: padding, PadRight: padding}
	canvas := draw.New(image)
	for i, p := range panels {
		drawn, series, err := d.panel(ctx, p, chosen)
		if err != nil {
			return nil, fmt.Errorf("panel %q: %w", p.Title, err)
		}
		if series == 0 {
			empty = append(empty, b.Title+": "+p.Title)
		}
		drawn.Draw(tiles.At(canvas, i%columns, i/columns))
	}
	_, err = vgimg.PngCanvas{Canvas: image}.WriteTo(to)
	return empty, err
}

// firstValue is the first value of a variable that the Prometheus knows, as a replacement of the variable; nil without a variable.
func (d drawer) firstValue(ctx context.Context, v *variable) (*strings.Replacer, error) {
	if v == nil {
		return strings.NewReplacer(), nil
	}
	values, _, _, err := d.api.LabelValues(ctx, v.Name, []string{v.Metric}, d.times.Start, d.times.End)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("no series of %s has the label %s", v.Metric, v.Name)
	}
	return strings.NewReplacer("$"+v.Name, string(values[0])), nil
}

// panel draws one panel, and returns how many series are in it.
func (d drawer) panel(ctx context.Context, p panel, chosen *strings.Replacer) (*plot.Plot, int, error) {
	drawn := plot.New()
	drawn.Title.Text = p.Title
	drawn.X.Tick.Marker = plot.TimeTicks{Format: "15:04"}
	drawn.Y.Label.Text = p.Unit
	drawn.X.Min, drawn.X.Max = float64(d.times.Start.Unix()), float64(d.times.End.Unix())
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Add(plotter.NewGrid())
	series := 0
	for _, q := range p.Queries {
		expr := strings.ReplaceAll(chosen.Replace(q.Expr), "$__rate_interval", "30s")
		value, _, _, err := d.api.QueryRange(ctx, expr, d.times)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", expr, err)
		}
		matrix, isMatrix := value.(model.Matrix)
		if !isMatrix {
			return nil, 0, fmt.Errorf("%s: the answer is a %s, not a matrix", expr, value.Type())
		}
		for _, stream := range matrix {
			points := pointsOf(stream)
			if len(points) == 0 {
				continue
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, 0, err
			}
			line.Color, line.Width = plotutil.Color(series), vg.Points(1.5)
			drawn.Add(line)
			drawn.Legend.Add(legendOf(q.Legend, stream.Metric), line)
			series++
		}
	}
	if series == 0 {
		drawn.Title.Text += " (no data)"
	}
	drawn.Y.Min = 0
	if drawn.Y.Max <= 0 {
		drawn.Y.Max = 1
	}
	drawn.Y.Max *= 1.4 // room for the legend
	return drawn, series, nil
}

// pointsOf are the values of a series that are numbers: a quantile of nothing is none.
func pointsOf(stream *model.SampleStream) plotter.XYs {
	var points plotter.XYs
	for _, v := range stream.Values {
		if y := float64(v.Value); !math.IsNaN(y) && !math.IsInf(y, 0) {
			points = append(points, plotter.XY{X: float64(v.Timestamp.Unix()), Y: y})
		}
	}
	return points
}

// legendOf fills a template of Grafana, as {{label}}, with the labels of a series.
func legendOf(template string, labels model.Metric) string {
	for name, value := range labels {
		template = strings.ReplaceAll(template, "{{"+string(name)+"}}", string(value))
	}
	return template
}
