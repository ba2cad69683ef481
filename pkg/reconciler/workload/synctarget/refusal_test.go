package synctarget

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// TestRefusal goes through the real client, to see what a user reads.
func TestRefusal(t *testing.T) {
	answer := func(code int, reason metav1.StatusReason) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":"%s says no"}`, code, reason, canary)
		}
	}
	tests := map[string]struct {
		reason  string
		handler http.HandlerFunc
		down    bool
		barred  bool
		want    string
		recheck time.Duration
	}{
		"401":            {"", answer(http.StatusUnauthorized, metav1.StatusReasonUnauthorized), false, false, "False DeploymentFailed", time.Minute},
		"403":            {"", answer(http.StatusForbidden, metav1.StatusReasonForbidden), false, false, "False DeploymentFailed", time.Minute},
		"down":           {"Nothing is known about what is in it.", nil, true, false, "Unknown ClusterUnreachable", time.Minute},
		"not Kubernetes": {"", http.NotFound, false, false, "Unknown ClusterUnreachable", time.Minute},
		"barred":         {"Loopback is not dialled.", http.NotFound, false, true, "False DeploymentFailed", 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewTLSServer(tc.handler)
			defer api.Close()
			if tc.down {
				api.Close()
			}
			allow := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			if tc.barred {
				allow = nil
			}
			w := newWorld(t, newTarget(), newBinding(), withKubeconfig(serverKubeconfig(api)))
			w.r.physical = connections{pcluster.New(pcluster.Options{Allow: allow})}
			result := w.pass()
			got := w.condition(workloadv1alpha1.ConditionDeployed)
			if !strings.HasPrefix(got, tc.want+": ") {
				t.Errorf("%s\nDeployed = %s, want %s", tc.reason, got, tc.want)
			}
			if strings.Contains(got, canary) {
				t.Errorf("the token is in the message: %s", got)
			}
			if result.RequeueAfter != tc.recheck {
				t.Errorf("%s\nRequeueAfter = %s, want %s", tc.reason, result.RequeueAfter, tc.recheck)
			}
			if got := w.condition(workloadv1alpha1.ConditionValid); !strings.HasPrefix(got, "True Valid") {
				t.Errorf("Valid = %s: the object is in order, whatever the cluster answers", got)
			}
		})
	}
}

// TestConnecting: while the first contact is under way there is nothing new to say, and a worker does not wait for it.
func TestConnecting(t *testing.T) {
	t.Run("first", func(t *testing.T) {
		w := usual(t)
		w.clusters.err = pcluster.ErrConnecting
		w.settle()
		if diff := cmp.Diff("False RollingOut: Waiting for the physical cluster to answer", w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
			t.Errorf("Deployed: -want +got\n%s", diff)
		}
	})
	t.Run("again", func(t *testing.T) {
		w := usual(t)
		w.clusters.err = pcluster.ErrUnreachable
		w.settle()
		before := w.condition(workloadv1alpha1.ConditionDeployed)
		w.clusters.err = pcluster.ErrConnecting
		w.forget()
		w.pass()
		if diff := cmp.Diff(before, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
			t.Errorf("Deployed flapped: -before +after\n%s", diff)
		}
		if len(w.kcp.statuses) != 0 {
			t.Errorf("wrote the status: %q", w.kcp.statuses)
		}
	})
	t.Run("in a deletion that is overdue", func(t *testing.T) {
		w := deleted(t)
		w.clusters.err = pcluster.ErrConnecting
		w.settle()
		w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline))
		w.pass()
		if w.gone() {
			t.Error("let go of a cluster that was about to answer")
		}
	})
}

// TestReplacedConnection: that the connection is another one now says nothing about the cluster.
func TestReplacedConnection(t *testing.T) {
	w := usual(t)
	w.clusters.err = fmt.Errorf("meeting: %w", pcluster.ErrReplaced)
	if _, err := w.reconcile(); !errors.Is(err, pcluster.ErrReplaced) {
		t.Errorf("Reconcile() = %v, want another pass at once", err)
	}
}
