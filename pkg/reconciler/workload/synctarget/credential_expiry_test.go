package synctarget

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// tokenUntil is a JSON Web Token that expires at this time.
func tokenUntil(at time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, at.Unix())) + "." + encode([]byte("signature"))
}

// TestCredentialExpiry: from two weeks before a credential of the kubeconfig expires, the condition Valid says so, without an event,
// and a metric counts the SyncTarget; both end with a new kubeconfig.
func TestCredentialExpiry(t *testing.T) {
	w := usual(t)
	expires := w.clock.Now().Add(30 * 24 * time.Hour).Truncate(time.Second)
	setToken := func(token string) {
		secret := newSecret()
		if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
			t.Fatal(err)
		}
		secret.Data["kubeconfig"] = bytes.ReplaceAll(testKubeconfig, []byte(canary), []byte(token))
		if err := w.kcp.raw.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	requireCount := func(want float64) {
		t.Helper()
		if got := testutil.ToFloat64(w.r.expiries.metric()); got != want {
			t.Errorf("%v credentials expire, want %v", got, want)
		}
	}
	const noNotice = "True Valid: SyncTarget validation passed"
	setToken(tokenUntil(expires))
	w.ready()
	if got := w.condition(workloadv1alpha1.ConditionValid); got != noNotice {
		t.Errorf("30 days before: %s", got)
	}
	requireCount(0)

	w.clock.Step(16 * 24 * time.Hour)
	w.settle()
	at := expires.UTC().Format(time.RFC3339)
	if got := w.condition(workloadv1alpha1.ConditionValid); got != noNotice+"; the token in the kubeconfig expires at "+at+": write a new kubeconfig to the Secret" {
		t.Errorf("14 days before: %s", got)
	}
	requireCount(1)

	w.clock.Step(14 * 24 * time.Hour)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionValid); !strings.Contains(got, "the token in the kubeconfig expired at "+at) {
		t.Errorf("when it has expired: %s", got)
	}
	requireCount(1)

	setToken(tokenUntil(w.clock.Now().Add(365 * 24 * time.Hour)))
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionValid); got != noNotice {
		t.Errorf("with a new token: %s", got)
	}
	requireCount(0)

	for _, end := range []func(){
		func() { setToken("{}") }, // the kubeconfig is invalid
		func() { w.edit(pull) },
	} {
		setToken(tokenUntil(w.clock.Now()))
		w.settle()
		requireCount(1)
		end()
		w.settle()
		requireCount(0)
	}
}

// TestExpiryIsSaidInTime: the pass at which something new is to be said comes without an event. A token that is replaced each day is
// no news while it is fresh.
func TestExpiryIsSaidInTime(t *testing.T) {
	now := time.Unix(1700000000, 0)
	const day = 24 * time.Hour
	claims := func(claims string, times ...any) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, claims, times...)) + "." + encode([]byte("signature"))
	}
	for name, tc := range map[string]struct {
		token string
		said  bool
		again time.Duration
	}{
		"long before":                  {tokenUntil(now.Add(expiryNotice + time.Hour)), false, time.Hour},
		"soon":                         {tokenUntil(now.Add(time.Hour)), true, time.Hour},
		"over":                         {tokenUntil(now.Add(-time.Hour)), true, 0},
		"a fresh token of a day":       {claims(`{"iat":%d,"exp":%d}`, now.Unix(), now.Add(day).Unix()), false, day * 2 / 3},
		"a token of a day, at its end": {claims(`{"iat":%d,"exp":%d}`, now.Add(-day*3/4).Unix(), now.Add(day/4).Unix()), true, day / 4},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := pcluster.Parse(bytes.ReplaceAll(testKubeconfig, []byte(canary), []byte(tc.token)))
			if err != nil {
				t.Fatal(err)
			}
			v := expiryOf(config).addTo(passed("Valid", ""), now)
			if v.requeueAfter != tc.again || (v.message != "") != tc.said {
				t.Errorf("%q, again after %s; want it said: %t, after %s", v.message, v.requeueAfter, tc.said, tc.again)
			}
		})
	}
}
