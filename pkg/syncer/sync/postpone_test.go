package sync

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestReportFollowsABurst: during a burst of creations in a Namespace, the report on a new copy waits, but not for long, and nothing
// else does.
func TestReportFollowsABurst(t *testing.T) {
	created, report := []string{"down create", "up patch"}, []string{"down create", "up patch", "up patch"}
	tests := map[string]struct {
		reason string
		// others are being created when the copy is, and still at the next pass, after wait.
		others, still int
		wait          time.Duration
		change        func(*testing.T, *server)
		first, next   []string
	}{
		"a few others":          {"They do not wait long for each other.", manyCreations - 2, manyCreations - 2, time.Second, nil, report, report},
		"many others":           {"The report waits.", manyCreations, manyCreations, time.Second, nil, created, created},
		"many others, for ever": {"It has waited long enough.", manyCreations, manyCreations, reportDelayMax, nil, created, report},
		"the burst pauses":      {"Others may follow.", manyCreations, 0, burstEnd - time.Millisecond, nil, created, created},
		"the burst is over":     {"", manyCreations, 0, burstEnd, nil, created, report},
		"the copy gets a status": {"A user waits for it.", manyCreations, manyCreations, time.Second, func(t *testing.T, s *server) {
			dst := s.pass.dst.DeepCopy()
			dst.Object["status"] = map[string]any{"phase": "Bound"}
			s.cache(t, s.pass.resource.down, dst)
		}, created, report},
		"the object changes": {"A change does not wait.", manyCreations, manyCreations, time.Second, func(t *testing.T, s *server) {
			s.version = "8"
			src := s.live(t)
			src.Object["data"] = map[string]any{"a": "2"}
			if _, err := s.up.Resource(configMaps).Namespace("shop").Update(t.Context(), src, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}, created, []string{"down create", "down patch", "up patch", "up patch", "up update"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, sourceOf(fresh), nil)
			clock := clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			s.pass.clock = clock
			wantTime := timestamp(clock.Now())
			pass := func(others int, want []string) {
				t.Helper()
				s.pass.namespace.creations.underWay = others
				again, err := s.run(t)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, s.writes(t)); diff != "" {
					t.Errorf("%s\nwrites: -want +got\n%s", tc.reason, diff)
				}
				if reported := s.report(t).Time != ""; !reported && (again < reportDelay || again > 2*reportDelay) {
					t.Errorf("there is no report, and the object is looked at again after %s", again)
				} else if reported && s.report(t).Time != wantTime {
					t.Errorf("the copy is reported to be of %s", s.report(t).Time)
				}
				if got := s.pass.namespace.creations.underWay; got != others {
					t.Errorf("%d copies count as being created after the pass, and %d before", got, others)
				}
			}
			pass(tc.others, tc.first)
			clock.Step(tc.wait)
			if tc.change != nil {
				tc.change(t, s)
			}
			if slices.Contains(tc.next, "down patch") {
				wantTime = timestamp(clock.Now()) // of the apply
			}
			pass(tc.still, tc.next)
		})
	}
}

// TestCreationThatFails: a copy that could not be created is not being created any more.
func TestCreationThatFails(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	s.err = errors.New("connection refused")
	if _, err := s.run(t); err == nil {
		t.Error("the pass succeeds")
	}
	if got := s.pass.namespace.creations.underWay; got != 0 {
		t.Errorf("%d copies count as being created", got)
	}
}
