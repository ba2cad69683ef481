package pcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// roundTripper is a server without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An answer that switches the protocol, for a call and for a watch. By HTTP/1.1: there, nothing but the answer's own
// bytes ends the reading of what follows it.
func TestSwitchedProtocol(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+
			"Connection: Upgrade\r\nUpgrade: "+canary+"\r\nContent-Type: application/json\r\n\r\n")
	}))
	t.Cleanup(server.Close)
	clusters, _ := startClusters(t, nil, nil)
	cluster, err := clusters.cluster(testID("a"), tokenKubeconfig(server.URL, server.Certificate().Raw, "t"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("the server at %q does not answer like a Kubernetes API server", server.Listener.Addr())

	for name, query := range map[string]string{"call": "", "watch": "?watch=true"} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			go func() {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/namespaces"+query, nil)
				if err == nil {
					_, err = cluster.answerFilter.RoundTrip(r)
				}
				failed <- err
			}()
			if diff := cmp.Diff(want, errorText(await(t, "the refusal", failed))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// endless is a body that ends only when it is closed, whatever happens to the request.
type endless struct {
	open  context.Context
	close context.CancelFunc
}

func newEndless() (e endless) {
	e.open, e.close = context.WithCancel(context.Background())
	return e
}

func (e endless) Read([]byte) (int, error) {
	<-e.open.Done()
	return 0, errors.New(canary)
}

func (e endless) Close() error {
	e.close()
	return nil
}

// Reading an answer ends with the request, even where the transport does not see to that.
func TestBodyEndsWithRequest(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want string
	}{
		"canceled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, "context canceled"},
		"out of time": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 0)
		}, `the server at "edge:6443" does not answer in time`},
	} {
		t.Run(name, func(t *testing.T) {
			b := &answerFilter{host: "edge:6443", next: roundTripper(func(*http.Request) (*http.Response, error) {
				header := http.Header{"Content-Type": {"application/json"}}
				return &http.Response{StatusCode: http.StatusOK, Header: header, Body: newEndless()}, nil
			})}
			ctx, cancel := test.end(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() {
				_, err := b.RoundTrip(httptest.NewRequestWithContext(ctx, http.MethodGet, "https://edge:6443/api", nil))
				failed <- err
			}()
			if diff := cmp.Diff(test.want, errorText(await(t, "the end", failed))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLargeAnswers: large answers take places, which they keep until their call ends, and small ones need none.
func TestLargeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clusters, _ := startClusters(t, nil, nil)
		read := func(clusterName string, size int, limit time.Duration) (end context.CancelFunc, answer chan error) {
			b := &answerFilter{
				host:    "edge:6443",
				reserve: func(ctx context.Context) error { return clusters.reserve(ctx, clusterName) },
				next: roundTripper(func(r *http.Request) (*http.Response, error) {
					return &http.Response{
						StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
						Body: io.NopCloser(strings.NewReader(strings.Repeat("x", size))),
					}, nil
				}),
			}
			ctx, end := context.WithTimeout(t.Context(), limit)
			answer = make(chan error, 1)
			go func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://edge:6443/api", nil)
				if err == nil {
					var response *http.Response
					if response, err = b.RoundTrip(r); err == nil && response.ContentLength != int64(size) {
						err = fmt.Errorf("%d bytes", response.ContentLength)
					}
				}
				answer <- err
			}()
			synctest.Wait()
			return end, answer
		}
		var ends []context.CancelFunc
		for range largeAnswersPerWorkspace {
			end, answer := read("a", maxResponseBytes, Budget)
			ends = append(ends, end)
			if err := <-answer; err != nil {
				t.Fatal(err)
			}
		}
		for what, tc := range map[string]struct {
			clusterName string
			size        int
		}{"a small answer": {"a", largeAnswer - 1}, "another workspace": {"b", largeAnswer}} {
			end, answer := read(tc.clusterName, tc.size, time.Second)
			if len(answer) == 0 || <-answer != nil {
				t.Errorf("%s waits, or failed", what)
			}
			end()
		}
		_, waits := read("a", largeAnswer, time.Second)
		if len(waits) != 0 {
			t.Error("more large answers than a workspace may have")
		}
		time.Sleep(time.Second)
		if err := <-waits; !errors.Is(err, errBusy) || endsContact(err) || isAboutCluster(err) {
			t.Errorf("after waiting in vain: %v", err)
		}
		_, waits = read("a", largeAnswer, time.Second)
		ends[0]()
		synctest.Wait()
		if len(waits) == 0 || <-waits != nil {
			t.Error("the place of a call that ended is not free")
		}
		for _, end := range ends {
			end()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := clusters.large.Calls("a") + clusters.large.Calls("b"); got != 0 {
			t.Errorf("%d places are kept", got)
		}
	})
}
