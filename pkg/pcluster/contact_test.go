package pcluster

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"
)

// Behind the same address there may be another cluster now, or none. What was learned a moment ago is believed.
func TestID(t *testing.T) {
	none := func(error) bool { return false }
	for name, test := range map[string]struct {
		reason string
		after  time.Duration // since the first contact
		answer http.HandlerFunc
		want   string
		is     func(error) bool
		asked  int
		dead   bool
	}{
		"fresh":  {"the first contact of this very pass", freshFor - 1, another, clusterUID, none, 0, false},
		"moved":  {"DNS leads elsewhere", freshFor, another, "other", none, 1, false},
		"stayed": {"", time.Hour, healthy, clusterUID, none, 1, false},
		"unavailable": {
			"", time.Hour, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""), "",
			func(err error) bool { return errors.Is(err, ErrUnreachable) }, 1, true,
		},
		"unauthorized": {"", time.Hour, refuse(http.StatusUnauthorized, "Unauthorized", ""), "", apierrors.IsUnauthorized, 1, true},
		"forbidden":    {"other calls may be allowed", time.Hour, refuse(http.StatusForbidden, "Forbidden", ""), "", apierrors.IsForbidden, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Now())
			server := newServer(t, nil)
			clusters := New(Options{Allow: loopback(), Clock: clock}) // not started, so nothing is probed
			t.Cleanup(func() { clusters.Forget(testID("a")) })
			cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
			if err != nil {
				t.Fatal(err)
			}
			clock.Step(test.after)
			server.answer(test.answer)
			got, err := cluster.ID(t.Context())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
			if (err != nil) != (test.want == "") || err != nil && !test.is(err) {
				t.Errorf("%s: ID() = %v", test.reason, err)
			}
			if asked := server.requestCount() - 1; asked != test.asked {
				t.Errorf("%s: %d requests, want %d", test.reason, asked, test.asked)
			}

			// What was learned is known from now on: the ID for a moment, the failure until a probe succeeds.
			server.answer(nil)
			again, err := cluster.ID(t.Context())
			if dead := err != nil; dead != test.dead {
				t.Errorf("%s: ID() = %v, want dead: %t", test.reason, err, test.dead)
			}
			if test.want != "" && again != test.want {
				t.Errorf("%s: %q after %q", test.reason, again, test.want)
			}
		})
	}
}

// An old client does not say whose it was, nor does a context that has ended ask.
func TestIDOfNoUse(t *testing.T) {
	server := newServer(t, nil)
	clusters, _ := startClusters(t, nil, nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.mu.Lock()
	cluster.learned = time.Time{}
	cluster.mu.Unlock()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cluster.ID(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("ID() = %v, want the context's error", err)
	}
	if _, err := cluster.ID(t.Context()); err != nil {
		t.Errorf("ID() = %v", err)
	}
	clusters.Forget(testID("a"))
	if _, err := cluster.ID(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("ID() = %v, want ErrReplaced", err)
	}
}
