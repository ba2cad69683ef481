package kcpprovider

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
)

var errInjected = errors.New("injected")

// aware fails to engage for so many times.
type aware struct {
	failures int
	calls    []time.Time
}

func (a *aware) Engage(context.Context, multicluster.ClusterName, cluster.Cluster) error {
	a.calls = append(a.calls, time.Now())
	if len(a.calls) <= a.failures {
		return errInjected
	}
	return nil
}

func TestRetryingAware(t *testing.T) {
	tests := map[string]struct {
		reason   string
		failures int
		// life is how long the logical cluster is engaged.
		life time.Duration
		want []time.Duration // the least of each pause
	}{
		"at once":       {"", 0, time.Hour, nil},
		"after a while": {"The pauses grow up to a limit.", 8, time.Hour, []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}},
		"disengaged":    {"It must not be engaged later.", 8, 2 * time.Second, []time.Duration{1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, disengage := context.WithTimeout(t.Context(), tc.life)
				defer disengage()
				a := &aware{failures: tc.failures}
				if err := (&retryingAware{aware: a, log: logr.Discard(), clock: clock.RealClock{}}).Engage(ctx, "one", nil); err != nil {
					t.Errorf("Engage() = %v", err)
				}
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				if len(a.calls) != len(tc.want)+1 {
					t.Fatalf("%s\nengaged at %v, want pauses of %d", tc.reason, a.calls, tc.want)
				}
				for i, least := range tc.want {
					pause := a.calls[i+1].Sub(a.calls[i])
					if least *= time.Second; pause < least || pause > least+least/5 {
						t.Errorf("%s\npause %d is %s, want %s and up to a fifth more", tc.reason, i, pause, least)
					}
				}
			})
		})
	}
}
