package synctarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestAtRest: what was found right is not read again before something may have changed.
func TestAtRest(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*world)
		reads  bool
	}{
		"nothing":            {"", func(*world) {}, false},
		"a heartbeat":        {"", func(w *world) { w.clock.Step(time.Minute); w.beat(w.clock.Now()) }, false},
		"silence":            {"Without its rights in the workspace the syncer would be silent, too.", func(w *world) { w.clock.Step(w.r.HeartbeatThreshold) }, true},
		"almost the drift":   {"No jitter makes it shorter.", func(w *world) { w.clock.Step(driftInterval*8/10 - time.Second); w.beat(w.clock.Now()) }, false},
		"the drift interval": {"What nobody told us of is found.", func(w *world) { w.clock.Step(driftInterval * 12 / 10); w.beat(w.clock.Now()) }, true},
		"a sign":             {"A watched object changed.", func(w *world) { w.wake() }, true},
		"a changed spec":     {"", func(w *world) { w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation = 2 }) }, true},
		"a changed kubeconfig": {"It may lead elsewhere.", func(w *world) {
			secret := withKubeconfig(append(slices.Clone(testKubeconfig), "# rotated\n"...))
			secret.Finalizers = []string{workloadv1alpha1.Hold(testKey())}
			if err := w.kcp.raw.Update(w.t.Context(), secret); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		"another image": {"The controller was upgraded.", func(w *world) { w.r.SyncerImage = "syncer:v2" }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			tc.change(w)
			w.forget()
			w.pass()
			asked := w.clusters.gets + len(w.there.reads) + len(w.there.writes)
			if (asked > 0) != tc.reads {
				t.Errorf("%s\n%d requests downstream: %q, %q", tc.reason, asked, w.there.reads, w.there.writes)
			}
			if !tc.reads && (w.tokenGets != 0 || slices.ContainsFunc(w.kcp.reads, func(request string) bool { return request != `get Secret "default/edge-1"` })) {
				t.Errorf("%s\nrequests upstream at rest: %q", tc.reason, w.kcp.reads)
			}
		})
	}
}

// wake is a sign from the physical cluster, as relay takes it in.
func (w *world) wake() { w.r.installed.forget(testUID) }

// TestSignDuringAPass: what changes while everything is looked at may have been looked at before, and is looked at again.
func TestSignDuringAPass(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(request string) error {
		if strings.HasPrefix(request, "get Deployment") {
			w.there.refuse = func(string) error { return nil }
			w.wake()
		}
		return nil
	}
	w.wake()
	if again := w.pass().RequeueAfter; again >= time.Second {
		t.Errorf("it is looked at again after %s", again)
	}
	for _, want := range []bool{true, false} {
		w.forget()
		w.pass() // which the sign asked for
		if got := len(w.there.reads) > 0; got != want {
			t.Errorf("read again: %t, want %t", got, want)
		}
	}
}

// TestDriftIsRepaired: what was deleted by hand is back after the next sign, and the rest is left alone.
func TestDriftIsRepaired(t *testing.T) {
	w := usual(t)
	w.ready()
	var account corev1.ServiceAccount
	if err := w.there.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: "syncer"}, &account); err != nil {
		t.Fatal(err)
	}
	if err := w.there.raw.Delete(t.Context(), &account); err != nil {
		t.Fatal(err)
	}
	w.wake()
	w.pass()
	if diff := cmp.Diff([]string{`apply ServiceAccount "` + testNamespace() + `/syncer"`}, w.there.writes); diff != "" {
		t.Errorf("writes downstream: -want +got\n%s", diff)
	}
}

// TestUnwatched: a kubeconfig that may not watch costs a read a minute, and the user is told why.
func TestUnwatched(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refusal = apierrors.NewForbidden(corev1.Resource("secrets"), "kcp", errInjected)
	w.wake()
	result := w.pass()
	if want, got := "True Deployed: Syncer deployment successful; it is read once a minute instead of being watched: the kubeconfig's user may not", w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, want) {
		t.Errorf("Deployed = %s, want %s…", got, want)
	}
	if result.RequeueAfter != unwatchedRecheck {
		t.Errorf("RequeueAfter = %s, want %s", result.RequeueAfter, unwatchedRecheck)
	}
	for _, step := range []struct {
		after time.Duration
		reads bool
	}{{unwatchedRecheck - time.Second, false}, {time.Second, true}} {
		w.clock.Step(step.after)
		w.forget()
		w.pass()
		if got := w.clusters.gets > 0; got != step.reads {
			t.Errorf("read: %t, want %t", got, step.reads)
		}
	}
	w.there.refusal = nil
	w.wake()
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s", got)
	}
}
