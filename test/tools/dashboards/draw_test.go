package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDraw: each query is asked with its variables replaced, and what has no data is told.
func TestDraw(t *testing.T) {
	now := time.Now().Unix()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var data any = []string{"kcp-syncer-a"}
		if strings.HasSuffix(r.URL.Path, "/query_range") {
			expr := r.FormValue("query")
			asked = append(asked, expr)
			result := []any{}
			if !strings.Contains(expr, "orphaned") {
				result = append(result, map[string]any{
					"metric": map[string]string{"resource": "secrets"}, "values": [][]any{{now - 60, "1"}, {now - 30, "NaN"}, {now, "2"}},
				})
			}
			data = map[string]any{"resultType": "matrix", "result": result}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	}))
	defer server.Close()
	folder := t.TempDir()
	empty, err := drawAll(t.Context(), server.URL, folder, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"SyncTarget: Orphaned"}; !slices.Equal(empty, want) {
		t.Errorf("no data for %q, want %q", empty, want)
	}
	if !slices.Contains(asked, `min by (resource, side) (synctarget_syncer_watch_healthy{namespace="kcp-syncer-a"})`) ||
		slices.ContainsFunc(asked, func(expr string) bool { return strings.Contains(expr, "$") }) {
		t.Errorf("queries %q", asked)
	}
	for name := range boards() {
		if config, err := png.DecodeConfig(bytes.NewReader(read(t, folder+"/dashboard-"+name+".png"))); err != nil || config.Width < 1000 {
			t.Errorf("picture of %s: %+v, %v", name, config, err)
		}
	}
}
