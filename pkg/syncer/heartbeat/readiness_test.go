package heartbeat

import (
	"net/http"
	"testing"
)

func TestReadiness(t *testing.T) {
	type step struct {
		reason        string
		do            func(*testing.T, *fixture)
		own, accepted bool
	}
	attempt := func(t *testing.T, f *fixture) { _, _ = f.attempt(t.Context()) }
	cases := map[string][]step{
		"Leader": {
			{reason: "Before the first attempt nothing is known of the own cluster.", do: func(*testing.T, *fixture) {}, own: false, accepted: true},
			{reason: "It is not ready before kcp has accepted a heartbeat.", do: func(t *testing.T, f *fixture) {
				f.kcp.errs = []error{errDown}
				attempt(t, f)
			}, own: true, accepted: false},
			{reason: "It is as soon as kcp has.", do: attempt, own: true, accepted: true},
			{reason: "One refused heartbeat is forgiven.", do: func(t *testing.T, f *fixture) {
				f.clock.Step(interval)
				f.kcp.errs = []error{status(http.StatusForbidden)}
				attempt(t, f)
			}, own: true, accepted: true},
			{reason: "Refusals for three intervals are not.", do: func(t *testing.T, f *fixture) {
				f.clock.Step(2*interval + 1)
				f.kcp.errs = []error{status(http.StatusForbidden)}
				attempt(t, f)
			}, own: true, accepted: false},
			{reason: "The next accepted one mends it.", do: attempt, own: true, accepted: true},
			{reason: "A kcp that does not answer makes no syncer unready.", do: func(t *testing.T, f *fixture) {
				f.clock.Step(missedHeartbeats*interval + 1)
				f.kcp.errs = []error{errDown}
				attempt(t, f)
			}, own: true, accepted: true},
			{reason: "An own cluster that is away shows after three intervals.", do: func(t *testing.T, f *fixture) {
				f.clock.Step(missedHeartbeats*interval + 1)
				f.cluster.idErr = errDown
				attempt(t, f)
			}, own: false, accepted: true},
			{reason: "All is well again.", do: func(t *testing.T, f *fixture) {
				f.cluster.idErr = nil
				attempt(t, f)
			}, own: true, accepted: true},
		},
		"Standby": {
			{reason: "It is not ready before its cluster has answered.", do: func(t *testing.T, f *fixture) {
				f.cluster.idErr = errDown
				attempt(t, f)
			}, own: false, accepted: true},
			{reason: "It needs no heartbeat.", do: func(t *testing.T, f *fixture) {
				f.cluster.idErr = nil
				attempt(t, f)
			}, own: true, accepted: true},
			{reason: "Elected, it has to prove itself.", do: func(t *testing.T, f *fixture) {
				close(f.elected)
				f.kcp.errs = []error{errDown}
				attempt(t, f)
			}, own: true, accepted: false},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			f := newStandby(t)
			if name == "Leader" {
				close(f.elected)
			}
			for _, s := range steps {
				s.do(t, f)
				if err := f.OwnClusterAnswers(nil); (err == nil) != s.own {
					t.Errorf("\n%s\nOwnClusterAnswers(): want ready %t, got %v", s.reason, s.own, err)
				}
				if err := f.HeartbeatsAreAccepted(nil); (err == nil) != s.accepted {
					t.Errorf("\n%s\nHeartbeatsAreAccepted(): want ready %t, got %v", s.reason, s.accepted, err)
				}
			}
		})
	}
}
