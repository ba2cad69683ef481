package synctarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

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
		"another report of the installation": {"The syncer saw a change.", func(w *world) {
			w.clock.Step(reportInterval)
			w.reportInstallation("changed")
		}, true},
		"a syncer that cannot report it": {"It is of an earlier version, so a change may not be seen.", func(w *world) {
			w.reportInstallation("")
			w.wake()
			w.pass()
			w.clock.Step(unwatchedRecheck)
		}, true},
		"a changed spec": {"", func(w *world) { w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation = 2 }) }, true},
		"a changed kubeconfig": {"It may lead elsewhere.", func(w *world) {
			secret := withKubeconfig(append(slices.Clone(testKubeconfig), "# rotated\n"...))
			secret.Finalizers = []string{workloadv1alpha1.SyncTargetFinalizer(testKey())}
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

// TestRereadWithoutReports: where no syncer reports changes of its installation, everything is read again at the latest after
// unwatchedRecheck, whatever a syncer has reported before.
func TestRereadWithoutReports(t *testing.T) {
	fallSilent := func(w *world) reconcile.Result { w.clock.Step(threshold); return w.pass() }
	tests := map[string]struct {
		change func(*world) reconcile.Result
		often  bool
	}{
		"heartbeats arrive": {func(w *world) reconcile.Result { w.wake(); return w.pass() }, false},
		"silent":            {fallSilent, true},
		"silent, and a restart of the controller": {func(w *world) reconcile.Result {
			fallSilent(w)
			w.restart()
			return w.pass()
		}, true},
		"silent, and heard again": {func(w *world) reconcile.Result {
			fallSilent(w)
			w.beat(w.clock.Now())
			w.pass()
			w.wake()
			return w.pass()
		}, false},
		"scaled to zero": {func(w *world) reconcile.Result {
			w.edit(func(target *workloadv1alpha1.SyncTarget) {
				target.Generation++
				target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
			})
			w.settle()
			deployment := w.deployment()
			deployment.Status.Replicas, deployment.Status.UpdatedReplicas = 0, 0
			deployment.Status.ReadyReplicas, deployment.Status.AvailableReplicas = 0, 0
			if err := w.there.raw.Status().Update(w.t.Context(), deployment); err != nil {
				w.t.Fatal(err)
			}
			w.clock.Step(stoppedSilence)
			w.wake()
			return w.pass()
		}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			again := tc.change(w).RequeueAfter
			if often := again > 0 && again <= unwatchedRecheck; often != tc.often {
				t.Errorf("the next pass is after %s", again)
			}
			if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
				t.Errorf("Deployed = %s", got)
			}
		})
	}
}

// reportInstallation is what the syncer reports when it sees a change of its installation.
func (w *world) reportInstallation(hash string) {
	w.t.Helper()
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) { status.InstallationHash = hash })
}

// TestInstallationReported: a report of the syncer has everything read again, once, whatever that finds to repair, and at most
// once in an interval.
func TestInstallationReported(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(time.Minute)
	var account corev1.ServiceAccount
	if err := w.there.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: "syncer"}, &account); err != nil {
		t.Fatal(err)
	}
	if err := w.there.raw.Delete(t.Context(), &account); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		reason string
		hash   string
		after  time.Duration
		reads  bool
		writes []string
	}{
		{"The account is back in the pass that the report caused.", "deleted", 0, true, []string{`apply ServiceAccount "` + testNamespace() + `/syncer"`}},
		{"The syncer reports that, too, at once; it is not looked at yet.", "back", time.Second, false, nil},
		{"It is looked at once.", "back", reportInterval, true, nil},
		{"That was all.", "back", time.Minute, false, nil},
		{"Without rights the syncer sees nothing, and says so.", "refused", time.Minute, true, nil},
	}
	for _, step := range steps {
		w.clock.Step(step.after)
		w.beat(w.clock.Now())
		w.reportInstallation(step.hash)
		w.forget()
		result := w.pass()
		if got := w.clusters.gets > 0; got != step.reads {
			t.Errorf("%s\nread: %t, want %t", step.reason, got, step.reads)
		}
		if diff := cmp.Diff(step.writes, w.there.writes); diff != "" {
			t.Errorf("%s\nwrites: -want +got\n%s", step.reason, diff)
		}
		if step.hash == "back" && step.after == time.Second && result.RequeueAfter > reportInterval {
			t.Errorf("%s\nit is looked at after %s", step.reason, result.RequeueAfter)
		}
	}
}

// TestReportDuringAPass: what the syncer reports while everything is looked at may have been looked at before.
func TestReportDuringAPass(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(time.Minute)
	w.beat(w.clock.Now())
	w.there.refuse = func(request string) error {
		if strings.HasPrefix(request, "get Deployment") {
			w.there.refuse = func(string) error { return nil }
			w.reportInstallation("during")
		}
		return nil
	}
	w.wake()
	_, _ = w.reconcile()
	for _, want := range []bool{true, false} {
		w.clock.Step(reportInterval)
		w.forget()
		w.pass()
		if got := w.clusters.gets > 0; got != want {
			t.Errorf("read again: %t, want %t", got, want)
		}
	}
}

// wake is a sign from the physical cluster, as enqueueChanged takes it in.
func (w *world) wake() { w.r.installCache.forget(testUID) }

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
