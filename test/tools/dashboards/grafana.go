package main

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Of the 24 columns and of the height of a panel, in units of Grafana.
const (
	panelSpan   = 8
	panelHeight = 8
)

// grafanaJSON renders a dashboard for Grafana.
func grafanaJSON(b board) ([]byte, error) {
	//nolint:staticcheck // It is deprecated for the second version of the schema, which older releases of Grafana cannot import.
	builder := dashboard.NewDashboardBuilder(b.Title).Uid(b.UID).Tags([]string{"synctarget"}).
		Refresh("1m").Time("now-1h", "now").Timezone(common.TimeZoneBrowser).Readonly().
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"))
	if v := b.Variable; v != nil {
		values := fmt.Sprintf("label_values(%s, %s)", v.Metric, v.Name)
		builder.WithVariable(dashboard.NewQueryVariableBuilder(v.Name).Label(v.Label).Datasource(datasource()).
			Query(dashboard.StringOrMap{String: &values}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged))
	}
	for _, r := range b.Rows {
		builder.WithRow(dashboard.NewRowBuilder(r.Title))
		for _, p := range r.Panels {
			builder.WithPanel(grafanaPanel(p))
		}
	}
	built, err := builder.Build()
	if err != nil {
		return nil, fmt.Errorf("dashboard %q: %w", b.Title, err)
	}
	return json.MarshalIndent(built, "", "  ")
}

func grafanaPanel(p panel) *timeseries.PanelBuilder {
	builder := timeseries.NewPanelBuilder().Title(p.Title).Description(p.Description).Unit(p.Unit).Min(0).
		Span(panelSpan).Height(panelHeight).Datasource(datasource()).FillOpacity(10)
	if p.Stacked {
		builder.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	for _, q := range p.Queries {
		builder.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.Expr).LegendFormat(q.Legend).Range())
	}
	return builder
}

// datasource is the one that the user chooses.
func datasource() common.DataSourceRef {
	kind, uid := "prometheus", "${datasource}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}
