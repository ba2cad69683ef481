package pcluster

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const mayNotList = `the kubeconfig's user may not list deployments.apps "d" in namespace "n" (403 Forbidden)`

// Whoever may not watch is not dead. The caller is told once, when it begins and when it ends, and the cluster is not
// asked often.
func TestWatchRefused(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusForbidden, "Forbidden", "") })
	s.cutWatches()
	s.told(t, "the refusal")
	if diff := cmp.Diff(mayNotList, errorText(s.cluster.Unwatched())); diff != "" {
		t.Errorf("Unwatched(), -want +got:\n%s", diff)
	}
	before := s.attempts()
	s.step = 15 * time.Second
	took := s.stepUntil(t, "two attempts", func() bool { return s.attempts() == before+2 })
	if took < 2*refusedRetry-time.Minute {
		t.Errorf("two attempts took %s", took)
	}
	if _, err := s.clusters.Get(t.Context(), testID("a"), s.kubeconfig("t")); err != nil || len(s.changes) != 0 {
		t.Errorf("Get() = %v, %d changes, want the cluster alive", err, len(s.changes))
	}

	s.set(func() { s.refusal = nil })
	s.told(t, "the end of the refusal")
	if err := s.cluster.Unwatched(); err != nil {
		t.Errorf("Unwatched() = %v, though the watch holds", err)
	}
	s.modify()
	s.told(t, "a change")
}

// What else may keep a watch from holding, and whether the caller has to look by itself.
func TestUnwatched(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		code   int
		watch  bool // only the watch is refused, not the look
		want   string
	}{
		"may not list":     {"", http.StatusForbidden, false, mayNotList},
		"may not watch":    {"", http.StatusForbidden, true, strings.Replace(mayNotList, "list", "watch", 1)},
		"not served":       {"", http.StatusMethodNotAllowed, true, `the cluster failed to watch deployments.apps "d" in namespace "n" (405 Method Not Allowed)`},
		"busy":             {"time mends it", http.StatusTooManyRequests, false, ""},
		"too old":          {"the next look mends it", http.StatusGone, true, ""},
		"failing":          {"", http.StatusInternalServerError, false, ""},
		"credentials gone": {"then the cluster is dead, and everybody knows", http.StatusUnauthorized, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			s.set(func() {
				s.refusal = func(w http.ResponseWriter, r *http.Request) {
					if test.watch && !r.URL.Query().Has("watch") {
						s.list(w)
						return
					}
					refuse(test.code, "", "")(w, r)
				}
			})
			before := s.requestCount()
			s.cutWatches()
			s.stepUntil(t, "an attempt", func() bool { return s.requestCount() > before })
			if test.want != "" {
				s.stepUntil(t, "the refusal", func() bool { return s.cluster.Unwatched() != nil })
			}
			if diff := cmp.Diff(test.want, errorText(s.cluster.Unwatched())); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
		})
	}
}

// A server that never ends a watch does not keep it for ever: we end it ourselves, and that is no failure.
func TestWatchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clusters, _ := startClusters(t, nil, nil)
		cluster, err := clusters.cluster(testID("a"), tokenKubeconfig("https://edge:6443", nil, "t"))
		if err != nil {
			t.Fatal(err)
		}
		var asked time.Duration
		cluster.http = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}}
			response.Body = io.NopCloser(strings.NewReader(`{"metadata": {"resourceVersion": "1"}}`))
			if query := r.URL.Query(); query.Has("watch") {
				seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
				asked = time.Duration(seconds) * time.Second
				response.Body = silent{r.Context()}
			}
			return response, nil
		})}
		began := time.Now()
		ended := make(chan error)
		go func() { ended <- (&watcher{cluster: cluster, path: "/api/v1/namespaces"}).follow(cluster.ctx) }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("follow() = %v, want a watch that ended well", err)
			}
		case <-time.After(24 * time.Hour):
			t.Error("it lasted for a day")
			clusters.Forget(testID("a"))
			<-ended
		}
		if over := time.Since(began) - asked; asked < watchTimeout || over < watchGrace || over > watchGrace+time.Second {
			t.Errorf("it lasted %s longer than the %s asked for, want about %s", over, asked, watchGrace)
		}
	})
}

// silent is a body that says nothing until the request ends, as of every transport.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (s silent) Close() error { return nil }
