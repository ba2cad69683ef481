package cache

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

// The handlers of client-go's errors sleep by a clock of their own, which does not fit the clock of a synctest bubble.
func init() { utilruntime.ErrorHandlers = nil }

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// TestHealth: a watch is unhealthy when its requests have been failing for UnhealthyAfter.
func TestHealth(t *testing.T) {
	start := time.Now()
	refused := errors.New("connection refused")
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no"))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	type request struct {
		verb  string
		after time.Duration
		err   error
	}
	const s = time.Second
	tests := map[string]struct {
		reason    string
		requests  []request
		since     time.Duration // -1 if it is healthy
		lastError string
	}{
		"no request yet":         {"", nil, -1, ""},
		"a list and a watch":     {"", []request{{"list", 0, nil}, {"watch", s, nil}}, -1, ""},
		"fails for a moment":     {"", []request{{"list", 0, nil}, {"list", 31 * s, refused}}, -1, ""},
		"fails for long":         {"", []request{{"list", 0, nil}, {"list", 30 * s, refused}}, 30 * s, "connection refused"},
		"fails in another way":   {"The time counts on.", []request{{"list", 10 * s, refused}, {"list", 50 * s, forbidden}}, 10 * s, `configmaps is forbidden: no`},
		"cannot watch":           {"It sees changes with the next list only.", []request{{"watch", 0, refused}, {"list", 20 * s, nil}, {"watch", 21 * s, refused}}, 0, "connection refused"},
		"can watch again":        {"", []request{{"watch", 0, refused}, {"list", 20 * s, nil}, {"watch", 21 * s, nil}}, -1, ""},
		"works again":            {"", []request{{"list", 0, refused}, {"list", 40 * s, nil}}, -1, ""},
		"fails anew":             {"The time begins anew.", []request{{"list", 0, refused}, {"list", 40 * s, nil}, {"list", 41 * s, refused}}, -1, ""},
		"ended with the process": {"", []request{{"cancelled", 0, context.Canceled}}, -1, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var s ResourceCache
			for _, r := range tc.requests {
				switch at := start.Add(r.after); r.verb {
				case "list":
					s.health.recordList(t.Context(), r.err, at)
				case "watch":
					s.health.recordWatch(t.Context(), r.err, at)
				case "cancelled":
					s.health.recordWatch(cancelled, r.err, at)
				}
			}
			since, lastError := s.Health(start.Add(time.Minute))
			if tc.since < 0 != since.IsZero() || tc.since >= 0 && !since.Equal(start.Add(tc.since)) || lastError != tc.lastError {
				t.Errorf("%s\nHealth() = %s after the start, %q", tc.reason, since.Sub(start), lastError)
			}
		})
	}
}

// TestHealthOfInformer: the lists and watches of the informer count.
func TestHealthOfInformer(t *testing.T) {
	unreachable := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	forbidden := apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no"))
	for name, tc := range map[string]struct {
		reason, verb string
		err          error
	}{
		"list":                {"", "list", unreachable},
		"watch":               {"The informer goes on trying to watch.", "watch", unreachable},
		"watch, but not list": {"The informer lists before it tries again.", "watch", forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kinds := map[schema.GroupVersionResource]string{configMaps: "ConfigMapList"}
				client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
				var fails atomic.Bool
				client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
					return fails.Load() && tc.verb == "list", nil, tc.err
				})
				client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
					return fails.Load() && tc.verb == "watch", nil, tc.err
				})
				s := New(client, configMaps, "n", clock.RealClock{}, "")
				fails.Store(true)
				started := time.Now()
				go s.Run(t.Context())
				time.Sleep(time.Minute)
				if since, lastError := s.Health(time.Now()); since.IsZero() || since.Sub(started) > time.Second || lastError != causeOf(tc.err) {
					t.Errorf("%s\nafter a minute of failures: %s, %q", tc.reason, since, lastError)
				}
				fails.Store(false)
				time.Sleep(time.Minute)
				if since, lastError := s.Health(time.Now()); !since.IsZero() {
					t.Errorf("it works again: %s, %q", since, lastError)
				}
			})
		})
	}
}

// TestCauseOf: the cause does not differ from attempt to attempt.
func TestCauseOf(t *testing.T) {
	const address = "https://10.0.0.2:6443/api/v1/configmaps?timeoutSeconds=412"
	local, remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 43512}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 6443}
	read := &net.OpError{Op: "read", Net: "tcp", Source: local, Addr: remote, Err: errors.New("connection reset by peer")}
	for want, err := range map[string]error{
		"read tcp 10.0.0.2:6443: connection reset by peer": &url.Error{Op: "Get", URL: address, Err: read},
		"unexpected EOF": &url.Error{Op: "Get", URL: address, Err: errors.New("unexpected EOF")},
		"no":             errors.New("no"),
	} {
		if got := causeOf(err); got != want {
			t.Errorf("causeOf() = %q, want %q", got, want)
		}
	}
}
