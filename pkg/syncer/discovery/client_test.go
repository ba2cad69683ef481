package discovery

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	core  = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":""},"versions":[{"version":"v1","freshness":"Current"}]}]}`
	index = `{"paths":{"apis/example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/example.com/v1?hash=A"}}}`
)

// groups is aggregated discovery with these resources in example.com, which prefers v2 to v1.
func groups(freshness string, resources ...string) string {
	var of []string
	for _, r := range resources {
		of = append(of, fmt.Sprintf(`{"resource":%q,"responseKind":{"group":"","version":"","kind":"K"},"scope":"Namespaced","verbs":["list","watch"]}`, r))
	}
	list := strings.Join(of, ",")
	return fmt.Sprintf(`{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"example.com"},"versions":[
		{"version":"v2","resources":[%s],"freshness":%q},{"version":"v1","resources":[%s],"freshness":%q}]}]}`, list, freshness, list, freshness)
}

// apiServer serves documents by their path, as Kubernetes does: with an ETag, and 304 to those who know the document.
type apiServer struct {
	*httptest.Server
	mu        sync.Mutex
	documents map[string]string
	// noETag are the paths of documents without an ETag, and status is what a path answers instead of its document.
	noETag []string
	status map[string]int
	// requests are those since the last call of taken, with the status of the answer, and sent is the bytes of their
	// bodies.
	requests []string
	sent     int
}

const workspace = "/clusters/abc"

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{status: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, workspace)
	body, ok := s.documents[path]
	etag := fmt.Sprintf("%q", fmt.Sprintf("%X", sha256.Sum256([]byte(body))))
	status := http.StatusOK
	switch {
	case s.status[path] != 0:
		status, body = s.status[path], "{}"
	case !ok:
		status, body = http.StatusNotFound, "{}"
	case slices.Contains(s.noETag, path):
	default:
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			status, body = http.StatusNotModified, ""
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if strings.Contains(body, "APIGroupDiscoveryList") {
		w.Header().Set("Content-Type", clientdiscovery.AcceptV2)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	s.requests = append(s.requests, fmt.Sprint(path, " ", status))
	s.sent += len(body)
}

// set publishes a document.
func (s *apiServer) set(path, document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents[path] = document
}

// taken returns the requests since the last call, sorted, and the bytes of the answers.
func (s *apiServer) taken() (requests []string, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, sent = s.requests, s.sent
	s.requests, s.sent = nil, 0
	slices.Sort(requests)
	return requests, sent
}

// newAggregated is a server as Kubernetes is, without an ETag for its OpenAPI index. newLegacy is one as kcp is:
// without aggregated discovery of its groups, and without an ETag for them.
func newAggregated(t *testing.T) *apiServer {
	s := newAPIServer(t)
	s.documents = map[string]string{"/api": core, "/apis": groups("Current", "widgets"), "/openapi/v3": index}
	s.noETag = []string{"/openapi/v3"}
	return s
}

func newLegacy(t *testing.T) *apiServer {
	s := newAPIServer(t)
	s.documents = map[string]string{
		"/api": core, "/openapi/v3": index, "/api/v1": `{"groupVersion":"v1","resources":[]}`,
		"/apis":                `{"kind":"APIGroupList","groups":[{"name":"example.com","versions":[{"groupVersion":"example.com/v1","version":"v1"}]}]}`,
		"/apis/example.com/v1": `{"groupVersion":"example.com/v1","resources":[{"name":"widgets","namespaced":true,"kind":"Widget","verbs":["list","watch"]}]}`,
	}
	s.noETag = []string{"/apis", "/api/v1", "/apis/example.com/v1"}
	return s
}

func newTestClient(t *testing.T, s *apiServer) (*Client, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Now())
	c, err := NewClient(&rest.Config{Host: s.URL + workspace, QPS: -1}, clock)
	if err != nil {
		t.Fatal(err)
	}
	return c, clock
}

// run asks the server as a run of discovery does, which reads the OpenAPI index if the answer is another one.
func run(t *testing.T, c *Client, before *Answer, full bool) *Answer {
	t.Helper()
	answer, err := c.Discover(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	if answer != before {
		if _, err := c.OpenAPI().Paths(); err != nil {
			t.Log(err)
		}
	}
	return answer
}

// settled runs discovery until a full answer cannot lag behind the OpenAPI index any more.
func settled(t *testing.T, c *Client, clock *clocktesting.FakeClock) *Answer {
	t.Helper()
	answer := run(t, c, nil, false)
	clock.Step(settleTime)
	return run(t, c, answer, false)
}

// TestUnchanged: a side that serves what it served costs one or two small requests, and no document of it is decoded.
func TestUnchanged(t *testing.T) {
	tests := map[string]struct {
		reason string
		server func(*testing.T) *apiServer
		want   []string
	}{
		"Kubernetes": {"Its OpenAPI index has no ETag, so it is sent and compared.", newAggregated, []string{"/apis 304", "/openapi/v3 200"}},
		"kcp":        {"Its list of groups has no ETag, but the OpenAPI index covers all resources.", newLegacy, []string{"/openapi/v3 304"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := tc.server(t)
			c, clock := newTestClient(t, s)
			answer := settled(t, c, clock)
			s.taken()
			for range 5 {
				clock.Step(time.Minute)
				if run(t, c, answer, false) != answer {
					t.Error("there is another answer")
				}
				requests, sent := s.taken()
				if diff := cmp.Diff(tc.want, requests); diff != "" || sent > 1024 {
					t.Errorf("%s\n%d bytes, requests: -want +got\n%s", tc.reason, sent, diff)
				}
			}
		})
	}
}

// TestFullRuns: when a side is asked in full, whatever it says of its documents.
func TestFullRuns(t *testing.T) {
	tests := map[string]struct {
		reason string
		server func(*testing.T) *apiServer
		act    func(s *apiServer, clock *clocktesting.FakeClock)
		full   bool
		want   bool
	}{
		"nothing has changed":      {"", newLegacy, func(*apiServer, *clocktesting.FakeClock) {}, false, false},
		"a group has changed":      {"", newAggregated, func(s *apiServer, _ *clocktesting.FakeClock) { s.set("/apis", groups("Current", "gadgets")) }, false, true},
		"a schema has changed":     {"", newAggregated, func(s *apiServer, _ *clocktesting.FakeClock) { s.set("/openapi/v3", `{"paths":{}}`) }, false, true},
		"kcp serves something new": {"", newLegacy, func(s *apiServer, _ *clocktesting.FakeClock) { s.set("/openapi/v3", `{"paths":{}}`) }, false, true},
		"a watch was answered 404": {"The answer may be wrong.", newLegacy, func(*apiServer, *clocktesting.FakeClock) {}, true, true},
		"the answer is old":        {"For what no document shows.", newLegacy, func(_ *apiServer, c *clocktesting.FakeClock) { c.Step(fullInterval) }, false, true},
		"the index is not served":  {"", newAggregated, func(s *apiServer, _ *clocktesting.FakeClock) { s.status["/openapi/v3"] = http.StatusServiceUnavailable }, false, true},
		"the index is gone":        {"", newLegacy, func(s *apiServer, _ *clocktesting.FakeClock) { delete(s.documents, "/openapi/v3") }, false, true},
		"ETags that are new":       {"The documents are the same.", newLegacy, func(s *apiServer, _ *clocktesting.FakeClock) { s.noETag = append(s.noETag, "/openapi/v3") }, false, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := tc.server(t)
			c, clock := newTestClient(t, s)
			answer := settled(t, c, clock)
			tc.act(s, clock)
			if got := run(t, c, answer, tc.full) != answer; got != tc.want {
				t.Errorf("%s\nasked in full: %t, want %t", tc.reason, got, tc.want)
			}
		})
	}
}

// TestWithoutOpenAPI: a server whose OpenAPI index cannot be read is asked in full every time.
func TestWithoutOpenAPI(t *testing.T) {
	s := newAggregated(t)
	delete(s.documents, "/openapi/v3")
	c, clock := newTestClient(t, s)
	answer := settled(t, c, clock)
	s.taken()
	clock.Step(time.Minute)
	if run(t, c, answer, false) == answer {
		t.Error("the answer is kept")
	}
	if got, _ := s.taken(); !cmp.Equal(got, []string{"/api 304", "/apis 304", "/openapi/v3 404"}) {
		t.Errorf("requests: %q", got)
	}
}

// TestSettling: kcp may change its OpenAPI index before it serves the resource, which must be found all the same.
func TestSettling(t *testing.T) {
	s := newLegacy(t)
	c, clock := newTestClient(t, s)
	answer := settled(t, c, clock)
	clock.Step(time.Minute)
	s.set("/openapi/v3", `{"paths":{}}`)
	answer = run(t, c, answer, false)
	s.set("/apis/example.com/v1", `{"groupVersion":"example.com/v1","resources":[{"name":"gadgets","namespaced":true,"kind":"Gadget","verbs":["list","watch"]}]}`)
	clock.Step(time.Minute)
	answer = run(t, c, answer, false)
	if len(answer.Served[schema.GroupResource{Group: "example.com", Resource: "gadgets"}]) != 1 {
		t.Errorf("it serves %v", answer.Served)
	}
	clock.Step(time.Minute)
	if run(t, c, answer, false) != answer {
		t.Error("it does not settle")
	}
}

// TestFailedRun: after a run that has failed half way, what is kept of it must not vouch for the answer before.
func TestFailedRun(t *testing.T) {
	s := newAggregated(t)
	c, clock := newTestClient(t, s)
	settled(t, c, clock)
	s.set("/apis", groups("Current", "gadgets"))
	s.status["/api"] = http.StatusForbidden
	if _, err := c.Discover(t.Context(), false); err == nil {
		t.Fatal("it does not fail")
	}
	delete(s.status, "/api")
	answer := run(t, c, nil, false)
	if len(answer.Served[schema.GroupResource{Group: "example.com", Resource: "gadgets"}]) != 2 {
		t.Errorf("it serves %v", answer.Served)
	}
}

// TestUnavailableGroup: a group whose server is down is asked for again, unless the list of groups tells when it is
// back.
func TestUnavailableGroup(t *testing.T) {
	aggregated, legacy := newAggregated(t), newLegacy(t)
	aggregated.documents["/apis"] = groups("Stale")
	legacy.status["/apis/example.com/v1"] = http.StatusForbidden
	for name, s := range map[string]*apiServer{"aggregated": aggregated, "legacy": legacy} {
		t.Run(name, func(t *testing.T) {
			c, clock := newTestClient(t, s)
			answer := settled(t, c, clock)
			if answer.Unavailable["example.com"] == nil {
				t.Errorf("unavailable are %v", answer.Unavailable)
			}
			clock.Step(time.Minute)
			if kept := run(t, c, answer, false) == answer; kept != (s == aggregated) {
				t.Errorf("the answer is kept: %t", kept)
			}
		})
	}
}

// TestOrderOfVersions: versions are in the order that the server prefers, with every run.
func TestOrderOfVersions(t *testing.T) {
	c, _ := newTestClient(t, newAggregated(t))
	for range 20 {
		answer := run(t, c, nil, true)
		got := answer.Served[schema.GroupResource{Group: "example.com", Resource: "widgets"}]
		if len(got) != 2 || got[0].Version != "v2" {
			t.Fatalf("versions: %v", got)
		}
	}
}
