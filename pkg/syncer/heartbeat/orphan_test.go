package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

func TestAnswerOf(t *testing.T) {
	notServed := apierrors.NewGenericServerResponse(http.StatusNotFound, "patch", workloadv1alpha1.Resource("synctargets"), "edge-1", "", 0, true)
	cases := map[string]struct {
		reason string
		err    error
		want   orphan.Answer
	}{
		"Accepted":      {reason: "", want: orphan.Exists},
		"Recreated":     {reason: "", err: fmt.Errorf("%w: x", errRecreated), want: orphan.Recreated},
		"NotFound":      {reason: "", err: status(http.StatusNotFound), want: orphan.NotFound},
		"NotServed":     {reason: "", err: notServed, want: orphan.Unknown},
		"Unauthorized":  {reason: "", err: status(http.StatusUnauthorized), want: orphan.Unauthorized},
		"Uninitialized": {reason: "It was read, with our UID.", err: fmt.Errorf("%w: %w", errUninitialized, status(http.StatusUnprocessableEntity)), want: orphan.Exists},
		"Refused":       {reason: "It was read, with our UID.", err: status(http.StatusUnprocessableEntity), want: orphan.Exists},
		"Forbidden":     {reason: "", err: status(http.StatusForbidden), want: orphan.Unknown},
		"OwnCluster":    {reason: "It is the physical cluster that refuses its token.", err: fmt.Errorf("%w: %w", errOwnCluster, status(http.StatusUnauthorized)), want: orphan.Unknown},
		"Unavailable":   {reason: "", err: status(http.StatusServiceUnavailable), want: orphan.Unknown},
		"Unreachable":   {reason: "", err: context.DeadlineExceeded, want: orphan.Unknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := answerOf(tc.err, "edge-1"); got != tc.want {
				t.Errorf("\n%s\nanswerOf(%v): want %s, got %s", tc.reason, tc.err, tc.want, got)
			}
		})
	}
}

// TestStartEndsIfOrphaned: after how long Start returns, and for which reason.
func TestStartEndsIfOrphaned(t *testing.T) {
	const never = 0
	cases := map[string]struct {
		reason  string
		change  func(*fixture)
		standby bool
		// atLeast and within are when it returns.
		atLeast, within time.Duration
		answer          orphan.Answer
	}{
		"Recreated": {
			reason: "The second answer is enough.",
			change: func(f *fixture) {
				f.kcp.always = status(http.StatusUnprocessableEntity)
				f.kcp.target = target("u-2")
			},
			within: time.Second, answer: orphan.Recreated,
		},
		"NotFound": {
			reason:  "Not before the threshold.",
			change:  func(f *fixture) { f.kcp.always = status(http.StatusNotFound) },
			atLeast: orphan.DefaultThreshold, within: orphan.DefaultThreshold + interval, answer: orphan.NotFound,
		},
		"Unauthorized": {
			reason:  "Not before the threshold.",
			change:  func(f *fixture) { f.kcp.always = status(http.StatusUnauthorized) },
			atLeast: orphan.DefaultThreshold, within: orphan.DefaultThreshold + interval, answer: orphan.Unauthorized,
		},
		"FirstReadIsRefused": {
			reason: "A leader that cannot list its Nodes reads the SyncTarget before it reports.",
			change: func(f *fixture) {
				f.cluster.nodesErr = errDown
				f.kcp.getErr = status(http.StatusUnauthorized)
			},
			atLeast: orphan.DefaultThreshold, within: orphan.DefaultThreshold + interval, answer: orphan.Unauthorized,
		},
		"Unavailable": {reason: "", change: func(f *fixture) { f.kcp.always = status(http.StatusServiceUnavailable) }, within: never},
		"Forbidden":   {reason: "", change: func(f *fixture) { f.kcp.always = status(http.StatusForbidden) }, within: never},
		"OwnCluster":  {reason: "", change: func(f *fixture) { f.cluster.idErr = status(http.StatusUnauthorized) }, within: never},
		"Standby":     {reason: "It does not ask kcp.", change: func(f *fixture) { f.kcp.always = status(http.StatusNotFound) }, standby: true, within: never},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newStandby(t)
				if !tc.standby {
					close(f.elected)
				}
				tc.change(f)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- f.Start(ctx) }()
				var took time.Duration
				for took < time.Hour && len(ended) == 0 {
					synctest.Wait()
					f.clock.Step(100 * time.Millisecond)
					took += 100 * time.Millisecond
				}
				if tc.within == never {
					if len(ended) != 0 {
						t.Fatalf("\n%s\nStart() returned %v after %s", tc.reason, <-ended, took)
					}
					return
				}
				var orphaned *orphan.Error
				if err := <-ended; !errors.As(err, &orphaned) || orphaned.Answer != tc.answer {
					t.Errorf("\n%s\nStart() returned %v", tc.reason, err)
				}
				if took < tc.atLeast || took > tc.within+time.Second {
					t.Errorf("\n%s\nStart() returned after %s, want between %s and %s", tc.reason, took, tc.atLeast, tc.within)
				}
			})
		})
	}
}
