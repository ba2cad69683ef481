package discovery

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestDocumentCache: what is kept, and what is sent by the server every time.
func TestDocumentCache(t *testing.T) {
	get := func(path, accept string) func(*testing.T, *http.Client, string) string {
		return func(t *testing.T, client *http.Client, url string) string {
			return mustDo(t, client, http.MethodGet, url+path, accept)
		}
	}
	tests := map[string]struct {
		reason        string
		act           func(s *apiServer)
		first, second func(*testing.T, *http.Client, string) string
		want          []string
		kept          int
	}{
		"unchanged":         {"", nil, get("/apis", "a"), get("/apis", "a"), []string{"/apis 200", "/apis 304"}, 1},
		"changed":           {"", func(s *apiServer) { s.set("/apis", "new") }, get("/apis", "a"), get("/apis", "a"), []string{"/apis 200", "/apis 200"}, 1},
		"another format":    {"Kubernetes has one ETag for all formats.", nil, get("/apis", "a"), get("/apis", "b"), []string{"/apis 200", "/apis 200"}, 1},
		"another document":  {"The documents of a group have hashes in their URLs.", nil, get("/other", "a"), get("/other", "a"), []string{"/other 200", "/other 200"}, 0},
		"with a query":      {"", nil, get("/apis?x=y", "a"), get("/apis?x=y", "a"), []string{"/apis 200", "/apis 200"}, 0},
		"loses its ETag":    {"", func(s *apiServer) { s.noETag = []string{"/apis"} }, get("/apis", "a"), get("/apis", "a"), []string{"/apis 200", "/apis 200"}, 1},
		"a failure":         {"The kept version may still be the current one.", func(s *apiServer) { s.status["/apis"] = 503 }, get("/apis", "a"), get("/apis", "a"), []string{"/apis 200", "/apis 503"}, 1},
		"of maximum size":   {"", nil, get("/api", "a"), get("/api", "a"), []string{"/api 200", "/api 304"}, 1},
		"too large":         {"", nil, get("/openapi/v3", "a"), get("/openapi/v3", "a"), []string{"/openapi/v3 200", "/openapi/v3 200"}, 0},
		"becomes too large": {"", func(s *apiServer) { s.set("/apis", strings.Repeat("x", maxDocument+1)) }, get("/apis", "a"), get("/apis", "a"), []string{"/apis 200", "/apis 200"}, 0},
		"a deletion": {"Only what is read is kept.", nil, func(t *testing.T, c *http.Client, url string) string {
			return mustDo(t, c, http.MethodDelete, url+"/apis", "a")
		}, get("/apis", "a"), []string{"/apis 200", "/apis 200"}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			s.documents = map[string]string{"/apis": "groups", "/other": "other", "/api": strings.Repeat("x", maxDocument), "/openapi/v3": strings.Repeat("x", maxDocument+1)}
			clock := clocktesting.NewFakeClock(time.Now())
			cache := newDocumentCache(http.DefaultTransport, clock, s.URL+"/api", s.URL+"/apis", s.URL+"/openapi/v3")
			client := &http.Client{Transport: cache}

			before := tc.first(t, client, s.URL)
			if tc.act != nil {
				tc.act(s)
			}
			after := tc.second(t, client, s.URL)
			if tc.act == nil && before != after {
				t.Errorf("the same document is %d bytes, then %d", len(before), len(after))
			}
			if requests, _ := s.taken(); !cmp.Equal(requests, tc.want) || len(cache.documents) != tc.kept {
				t.Errorf("%s\nrequests %q, want %q; kept %d, want %d", tc.reason, requests, tc.want, len(cache.documents), tc.kept)
			}
			if strings.HasPrefix(name, "becomes") && len(after) != maxDocument+1 {
				t.Errorf("the client gets %d bytes", len(after))
			}
		})
	}
}

func mustDo(t *testing.T, client *http.Client, method, url, accept string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
