package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestDiagnose(t *testing.T) {
	cases := map[string]struct {
		reason  string
		err     error
		standby bool
		state   string
		says    string
	}{
		"Accepted":      {reason: "All is well.", state: "accepted", says: "accepted"},
		"Standby":       {reason: "A standby has nothing accepted.", standby: true, state: "standby", says: "waiting to be elected"},
		"OwnCluster":    {reason: "The side is named.", err: fmt.Errorf("%w: %w", errOwnCluster, status(http.StatusUnauthorized)), state: "ownCluster", says: "Namespace kube-system"},
		"Recreated":     {reason: "The operator learns that this syncer is useless.", err: fmt.Errorf("%w: x", errRecreated), state: "recreated", says: "can be removed"},
		"Uninitialized": {reason: "Though the server says invalid.", err: fmt.Errorf("%w: %w", errUninitialized, status(http.StatusUnprocessableEntity)), state: "uninitialized", says: "synctarget-controller"},
		"NotFound":      {reason: "Two causes, both named.", err: status(http.StatusNotFound), state: "notFound", says: "binds the API"},
		"Unauthorized":  {reason: "What to renew.", err: status(http.StatusUnauthorized), state: "unauthorized", says: "renew the Secret"},
		"Forbidden":     {reason: "Which verbs.", err: status(http.StatusForbidden), state: "forbidden", says: "patch on its status"},
		"Invalid":       {reason: "A version skew.", err: status(http.StatusUnprocessableEntity), state: "refused", says: "version"},
		"BadRequest":    {reason: "A version skew.", err: status(http.StatusBadRequest), state: "refused", says: "version"},
		"Timeout":       {reason: "Silence.", err: context.DeadlineExceeded, state: "unreachable", says: "network"},
		"ServerError":   {reason: "Whatever else.", err: status(http.StatusServiceUnavailable), state: "unreachable", says: "address"},
		"Wrapped":       {reason: "Never by text.", err: fmt.Errorf("patching: %w", status(http.StatusForbidden)), state: "forbidden", says: "verb"},
		"Lookalike":     {reason: "Never by text.", err: errors.New("forbidden"), state: "unreachable", says: "network"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			state, meaning := diagnose(tc.err, !tc.standby)
			if state != tc.state || !strings.Contains(meaning, tc.says) {
				t.Errorf("\n%s\ndiagnose(%v): want %q saying %q, got %q saying %q", tc.reason, tc.err, tc.state, tc.says, state, meaning)
			}
		})
	}
}
