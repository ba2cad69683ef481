package metricsauth

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// apiServer answers access reviews: the token "reader" may get /metrics, "other" is known but may not, "down" meets a failure.
type apiServer struct {
	*httptest.Server
	reviews atomic.Int32
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.reviews.Add(1)
		w.Header().Set("Content-Type", "application/json")
		token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
		switch token {
		case "reader", "other":
			var review authorizationv1.SelfSubjectAccessReview
			body, _ := io.ReadAll(req.Body)
			if err := json.Unmarshal(body, &review); err != nil || req.URL.Path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
				t.Errorf("%s %s: %v\n%s", req.Method, req.URL, err, body)
			}
			attributes := review.Spec.NonResourceAttributes
			review.Status.Allowed = token == "reader" && attributes != nil && *attributes == authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
			_ = json.NewEncoder(w).Encode(review)
		case "down":
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Message: "secret words"})
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// newHandler serves "metrics" behind the filter. The config has credentials of its own, which must not be used.
func newHandler(t *testing.T, s *apiServer) http.Handler {
	t.Helper()
	filter, err := New(&rest.Config{Host: s.URL, BearerToken: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "metrics")
	}))
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func get(handler http.Handler, method, authorization string) (code int, body string) {
	req := httptest.NewRequest(method, "/metrics", http.NoBody)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func TestFilter(t *testing.T) {
	cases := map[string]struct {
		reason                string
		method, authorization string
		code                  int
		body                  string
		reviews               int32
	}{
		"Allowed":       {"Who may get /metrics reads them.", "GET", "Bearer reader", 200, "metrics", 1},
		"OtherVerb":     {"The right to get is no right to post.", "POST", "Bearer reader", 403, "may not get this URL", 1},
		"Forbidden":     {"A user without the right is told what to bind.", "GET", "Bearer other", 403, "nonResourceURL /metrics", 1},
		"Unknown":       {"A token that the cluster does not know is refused.", "GET", "Bearer stranger", 401, "does not accept", 1},
		"NoToken":       {"Without a token nobody is asked.", "GET", "", 401, "bearer token of this cluster is required", 0},
		"EmptyToken":    {"An empty token must not become the syncer's own.", "GET", "Bearer ", 401, "bearer token of this cluster is required", 0},
		"OtherScheme":   {"Basic authentication is none.", "GET", "Basic cmVhZGVy", 401, "bearer token of this cluster is required", 0},
		"APIServerAway": {"Without an answer nobody reads, and the API server's words stay in the log.", "GET", "Bearer down", 503, "did not say", 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			code, body := get(newHandler(t, s), tc.method, tc.authorization)
			if code != tc.code || !strings.Contains(body, tc.body) || strings.Contains(body, "secret words") {
				t.Errorf("%s\nwant %d with %q, got %d: %s", tc.reason, tc.code, tc.body, code, body)
			}
			if got := s.reviews.Load(); got != tc.reviews {
				t.Errorf("%s\nwant %d reviews, got %d", tc.reason, tc.reviews, got)
			}
		})
	}
}

// TestFilterAsksRarely: a scraper costs one review a minute, and a stranger with ever new tokens no more than the limit.
func TestFilterAsksRarely(t *testing.T) {
	s := newAPIServer(t)
	handler := newHandler(t, s)
	for range 10 {
		for authorization, want := range map[string]int{"Bearer reader": 200, "Bearer other": 403, "Bearer stranger": 401} {
			if code, body := get(handler, "GET", authorization); code != want {
				t.Fatalf("%s: want %d, got %d: %s", authorization, want, code, body)
			}
		}
	}
	if got := s.reviews.Load(); got != 3 {
		t.Errorf("want one review for each of three tokens, got %d", got)
	}

	limited := 0
	for i := range 10 * reviewBurst {
		if code, _ := get(handler, "GET", "Bearer stranger-"+strings.Repeat("x", i)); code == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited < 5*reviewBurst {
		t.Errorf("of %d requests with new tokens, only %d were refused at once", 10*reviewBurst, limited)
	}
	if code, _ := get(handler, "GET", "Bearer reader"); code != http.StatusOK {
		t.Errorf("a reader who is known must not wait behind strangers, got %d", code)
	}
}

// TestFilterForgetsFailures: that the API server did not answer holds for one request.
func TestFilterForgetsFailures(t *testing.T) {
	s := newAPIServer(t)
	handler := newHandler(t, s)
	get(handler, "GET", "Bearer down")
	before := s.reviews.Load()
	get(handler, "GET", "Bearer down")
	if s.reviews.Load() == before {
		t.Error("want the API server asked again")
	}
}
