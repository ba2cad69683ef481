package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProbes(t *testing.T) {
	var stuck error
	handler := newProbes(func(*http.Request) error { return stuck }, func() []string { return []string{`endpoint "a": heartbeats are judged`, `endpoint "b": stalled`} })
	tests := map[string]struct {
		code int
		want string
	}{
		"/healthz":         {http.StatusOK, "ok"},
		"/healthz/ping":    {http.StatusOK, "ok"},
		"/readyz":          {http.StatusOK, "ok"},
		"/readyz/ping":     {http.StatusOK, "ok"},
		"/readyz/other":    {http.StatusNotFound, "404 page not found\n"},
		"/healthz?verbose": {http.StatusOK, "[+]ping ok\n[+]watches ok\nhealthz check passed\n"},
		"/readyz?verbose": {
			http.StatusOK, "[+]ping ok\nhealthz check passed\nendpoint \"a\": heartbeats are judged\nendpoint \"b\": stalled\n",
		},
	}
	for path, tc := range tests {
		t.Run(path, func(t *testing.T) {
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
			if got := response.Body.String(); response.Code != tc.code || got != tc.want {
				t.Errorf("%d %q, want %d %q", response.Code, got, tc.code, tc.want)
			}
		})
	}
	stuck = errors.New("a watch should have ended")
	for path, code := range map[string]int{"/healthz": http.StatusInternalServerError, "/readyz": http.StatusOK} {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
		if response.Code != code {
			t.Errorf("%s with a watch that does not end: %d, want %d", path, response.Code, code)
		}
	}
}
