package synctarget

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestDeletionWaitsUntilDrained(t *testing.T) {
	w := open(t)
	w.beat(w.clock.Now().Add(time.Second))
	w.settle()
	w.delete()
	w.settle()
	if got, want := w.condition(workloadv1alpha1.ConditionDeployed), `False Removing: Waiting for the syncer to leave Namespace "shop"`; got != want || w.namespaces() != "shop Closing" {
		t.Errorf("Deployed = %s, want %s; namespaces: %s", got, want, w.namespaces())
	}
	if len(w.there.names(t)) == 0 || !w.granted("shop") {
		t.Error("the syncer cannot do its part any more")
	}
	w.withdrawn("shop")
	for range 5 {
		if !w.gone() {
			w.pass()
		}
	}
	if !w.gone() || w.granted("shop") {
		t.Errorf("gone = %t, granted = %t", w.gone(), w.granted("shop"))
	}
}

// TestDeletionStripsForADeadSyncer: what the syncer can no longer do, the controller does with the syncer's own token.
func TestDeletionStripsForADeadSyncer(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
	}{
		"silent": {"It has not been heard of for a threshold.", func(_ *testing.T, w *world) { w.clock.Step(threshold) }},
		"abandoned": {"The user does not wait.", func(_ *testing.T, w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) {
				target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
			})
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			var stripped []string
			failing := true
			w.r.stripWith = func(_ context.Context, _ agent.Config, as *rest.Config, namespace string) error {
				if as.BearerToken != w.kcp.token || as.Host != "https://kcp.example.com/clusters/"+testCluster {
					t.Errorf("with token %q at %s", as.BearerToken, as.Host)
				}
				if failing && name == "silent" {
					return apierrors.NewInternalError(errInjected)
				}
				stripped = append(stripped, namespace)
				return nil
			}
			w.delete()
			w.pass()
			tc.arrange(t, w)
			w.pass()
			if name == "silent" {
				if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, `False RemovalFailed: The syncer is gone, and its finalizer`) {
					t.Errorf("Deployed = %s", got)
				}
				failing = false
			}
			for range 5 {
				if !w.gone() {
					w.pass()
				}
			}
			if diff := cmp.Diff([]string{"shop"}, stripped); diff != "" || !w.gone() || w.granted("shop") {
				t.Errorf("%s\nstripped -want +got\n%s\ngone = %t, granted = %t", tc.reason, diff, w.gone(), w.granted("shop"))
			}
		})
	}
}

// TestStrippingHasItsTime: stripping has a share of the pass.
func TestStrippingHasItsTime(t *testing.T) {
	w := open(t)
	var until time.Time
	w.r.stripWith = func(ctx context.Context, _ agent.Config, _ *rest.Config, _ string) error {
		until, _ = ctx.Deadline()
		return nil
	}
	w.delete()
	w.pass()
	abandon(t, w)
	w.pass()
	if left := time.Until(until); left <= 0 || left > releaseTime {
		t.Errorf("there are %s for it", left)
	}
}

// TestStrippingGoesOn: where there is more than half a pass has time for, the rest has its turn, unless the user does not wait.
func TestStrippingGoesOn(t *testing.T) {
	for name, tc := range map[string]struct{ abandoned, getsOn, waits bool }{
		"deadline":               {false, false, true},
		"abandoned":              {true, false, false},
		"abandoned, and gets on": {true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.assign("bank")
			w.settle()
			w.delete()
			w.pass()
			if w.clock.Step(deadline); tc.abandoned {
				abandon(t, w)
			}
			s := &scope{clusterName: testCluster, target: w.target(), key: testKey(), upstream: w.kcp}
			s.cached = w.kcp.raw
			plan, err := planDraining(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			w.r.stripWith = func(ctx context.Context, _ agent.Config, _ *rest.Config, namespace string) error {
				if tc.getsOn && namespace == plan.items[0].Name {
					return agent.ErrUnfinished
				}
				return ctx.Err()
			}
			over, cancel := context.WithTimeout(t.Context(), 0)
			defer cancel()
			got := w.r.releaseNamespaces(over, s, w.r.deletionOf(s), &plan)
			if goesOn := got.waiting != "" && got.fault == "" && len(got.withFinalizers) == 0; goesOn != tc.waits || got.err != nil {
				t.Errorf("releaseNamespaces() = %+v", got)
			}
			if kept := w.granted("shop") && w.granted("bank"); kept != tc.waits {
				t.Errorf("the rights that are needed for the rest are kept: %t", kept)
			}
		})
	}
}

// abandon is what a user does who does not wait.
func abandon(_ *testing.T, w *world) {
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
	})
}

// TestSyncerHearsOfTheEndFirst: what a live syncer believes to be open, it would hold again.
func TestSyncerHearsOfTheEndFirst(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
	}{
		"abandoned": {"The syncer may be well all the same.", abandon},
		"with its workspace": {"Its token is good for seconds yet.", func(t *testing.T, w *world) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.TokenSecretName}}
			if err := w.kcp.raw.Delete(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			var seen []string
			w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error {
				seen = append(seen, w.namespaces())
				return nil
			}
			w.beat(w.clock.Now().Add(time.Second))
			w.settle()
			tc.arrange(t, w)
			w.delete()
			for range 4 {
				if !w.gone() {
					w.pass()
				}
			}
			if diff := cmp.Diff([]string{"shop Closing"}, seen); diff != "" || w.granted("shop") {
				t.Errorf("%s\nstatus when it was stripped: -want +got\n%s\ngranted = %t", tc.reason, diff, w.granted("shop"))
			}
		})
	}
}

// TestOneNamespaceHoldsUpNoOther: and what is given up is named.
func TestOneNamespaceHoldsUpNoOther(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
		want    string
		granted bool
	}{
		"silent": {"The rights are needed for the next try.", func(_ *testing.T, w *world) { w.clock.Step(threshold) },
			`False RemovalFailed: The syncer is gone, and its finalizer "` + workloadv1alpha1.SyncerFinalizer(testKey()) + `" cannot be taken off the objects in Namespace "shop": `, true},
		"abandoned": {"Nothing of ours may keep the Namespace itself from being deleted.", abandon,
			`Warning Abandoned: Deletion step abandoned by annotation. May be left behind: finalizer "` + workloadv1alpha1.SyncerFinalizer(testKey()) + `" on the objects in Namespace shop of the workspace. `, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.assign("bank")
			w.settle()
			w.r.stripWith = func(_ context.Context, _ agent.Config, _ *rest.Config, namespace string) error {
				if namespace == "shop" {
					return apierrors.NewBadRequest("injected")
				}
				return nil
			}
			w.delete()
			w.pass()
			tc.arrange(t, w)
			w.pass()
			said := strings.Join(w.events.events, "\n")
			if !w.gone() {
				said += w.condition(workloadv1alpha1.ConditionDeployed)
			}
			if !strings.Contains(said, tc.want) {
				t.Errorf("%s\nsaid %s, want %s", tc.reason, said, tc.want)
			}
			if w.granted("bank") || w.granted("shop") != tc.granted {
				t.Errorf("%s\ngranted in shop = %t, in bank = %t", tc.reason, w.granted("shop"), w.granted("bank"))
			}
		})
	}
}

// TestBusyKcpIsAskedAgain: what another request mends is no reason to let a Namespace go with finalizers in it, not even at the
// user's word.
func TestBusyKcpIsAskedAgain(t *testing.T) {
	w := open(t)
	w.delete()
	w.pass()
	abandon(t, w)
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error {
		return apierrors.NewTooManyRequests("later", 1)
	}
	if got := w.pass().RequeueAfter; got != time.Second || w.gone() || !w.granted("shop") {
		t.Errorf("RequeueAfter = %s, gone = %t, granted = %t", got, w.gone(), w.granted("shop"))
	}
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error { return nil }
	w.pass()
	if said := strings.Join(w.events.events, "\n"); w.granted("shop") || strings.Contains(said, "finalizer") {
		t.Errorf("granted = %t, Events: %s", w.granted("shop"), said)
	}
}

// TestOrphanOfADeadSyncer: the copies of every resource stay, without our marks, be it served by one cluster alone.
func TestOrphanOfADeadSyncer(t *testing.T) {
	w := open(t)
	w.there.resources = []metav1.APIResource{{Version: "v1", Name: "pods", Kind: "Pod"}} // stands for a custom resource
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.downstreamNamespace()[0].GetName(), Name: "copy", UID: "copy", Labels: map[string]string{workloadv1alpha1.LabelKey: testKey()},
		Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "source"},
	}}
	if err := w.there.raw.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Spec.DeletionPolicy = workloadv1alpha1.DeletionPolicyOrphan
	})
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error { return nil }
	w.delete()
	w.clock.Step(threshold)
	for range 5 {
		if !w.gone() {
			w.pass()
		}
	}
	if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || len(pod.Labels) != 0 || !w.gone() {
		t.Errorf("the copy: %v, labels %v; gone = %t", err, pod.Labels, w.gone())
	}
}

// TestHangingDownstreamNamespaceHoldsUpNoSyncer: a Namespace that does not end is given up, and the syncer is removed all the same.
func TestHangingDownstreamNamespaceHoldsUpNoSyncer(t *testing.T) {
	w := open(t)
	var place corev1.Namespace
	if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(w.downstreamNamespace()[0]), &place); err != nil {
		t.Fatal(err)
	}
	place.Finalizers = []string{"example.com/hangs"}
	if err := w.there.raw.Update(t.Context(), &place); err != nil {
		t.Fatal(err)
	}
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error { return nil }
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
	})
	w.delete()
	for range 5 {
		if !w.gone() {
			w.pass()
		}
	}
	err := w.there.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, &corev1.Namespace{})
	if !w.gone() || !apierrors.IsNotFound(err) {
		t.Errorf("gone = %t, the syncer's Namespace: %v", w.gone(), err)
	}
}

// TestUnseenDownstreamNamespaceHoldsUpNoSyncer: where nobody says what is in a Namespace, it is left for later, and the syncer goes.
func TestUnseenDownstreamNamespaceHoldsUpNoSyncer(t *testing.T) {
	w := open(t)
	place := w.downstreamNamespace()[0]
	w.there.silent = errInjected
	w.delete()
	w.pass()
	w.withdrawn("shop")
	for range 5 {
		w.pass()
	}
	err := w.there.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, &corev1.Namespace{})
	if !apierrors.IsNotFound(err) || !w.furnished() {
		t.Errorf("the syncer's Namespace: %v; the downstream Namespace stands: %t", err, w.furnished())
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False RemovalFailed: What was synced cannot be removed: ") {
		t.Errorf("Deployed = %s", got)
	}
	w.there.silent = nil
	for range 5 {
		if !w.gone() {
			w.pass()
		}
	}
	if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(place), place); !w.gone() || !apierrors.IsNotFound(err) {
		t.Errorf("gone = %t, the downstream Namespace: %v", w.gone(), err)
	}
}

// TestDeletionWaitsUntilWithdrawn: where another SyncTarget fits, a Namespace moves there first.
func TestDeletionWaitsUntilWithdrawn(t *testing.T) {
	w := open(t)
	w.beat(w.clock.Now().Add(time.Second))
	w.settle()
	w.deleteTarget()
	w.settle()
	const want = `False Removing: Waiting for Namespace "shop" to be withdrawn; where another SyncTarget fits, it moves there first`
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want || !w.granted("shop") || !strings.HasPrefix(w.record("shop"), "True Admitted") {
		t.Errorf("Deployed = %s, want %s; granted = %t, Admitted = %s", got, want, w.granted("shop"), w.record("shop"))
	}
	w.withdrawn("shop") // an old report: it is to run
	w.settle()
	if !w.granted("shop") {
		t.Error("the rights were taken back")
	}
}

// TestNeverAdmittedHoldsUpNoDeletion: nothing lets the syncer in any more, so its withdrawal is not waited for.
func TestNeverAdmittedHoldsUpNoDeletion(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(string) error { return errInjected }
	w.assign("shop")
	_, _ = w.reconcile()
	if !w.granted("shop") {
		t.Fatal("the rights in the workspace are not there")
	}
	w.there.refuse = func(string) error { return nil }
	w.deleteTarget()
	w.finish()
	if w.granted("shop") {
		t.Error("the rights are left")
	}
}

// TestReleaseIsAnnounced: where the controller acts in the place of a syncer that believes to be let in, that hears of it first. What
// is begun is not taken for never begun if the controller ends halfway.
func TestReleaseIsAnnounced(t *testing.T) {
	w := open(t)
	w.deleteTarget()
	w.pass()
	abandon(t, w)
	var seen []string
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error {
		seen = append(seen, w.record("shop"))
		if len(seen) == 1 {
			return apierrors.NewTooManyRequests("later", 1)
		}
		return nil
	}
	w.pass()
	w.restart()
	w.r.stripWith = func(context.Context, agent.Config, *rest.Config, string) error {
		seen = append(seen, w.record("shop"))
		return nil
	}
	w.pass()
	announced := "Unknown Revoking: " + revokingMessage
	if diff := cmp.Diff([]string{announced, announced}, seen); diff != "" || w.granted("shop") {
		t.Errorf("Admitted while finalizers were removed: -want +got\n%s\ngranted = %t", diff, w.granted("shop"))
	}
	w.finish()
}

// TestUnrecordedNamespaces: with a whole workspace its Assignments are deleted before the SyncTarget. Where the syncer has rights,
// they are taken back, and its finalizers are removed.
func TestUnrecordedNamespaces(t *testing.T) {
	w := open(t)
	w.create(namespace("bank"))
	if err := w.kcp.raw.Delete(t.Context(), w.assigned("shop")); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if !w.granted("shop") || !w.furnished() {
		t.Fatal("a vanished Assignment ends something")
	}
	var stripped []string
	w.r.stripWith = func(_ context.Context, _ agent.Config, _ *rest.Config, namespace string) error {
		stripped = append(stripped, namespace)
		return nil
	}
	w.deleteTarget()
	w.pass()
	w.settle()
	if len(stripped) != 0 || !strings.Contains(w.condition(workloadv1alpha1.ConditionDeployed), `Namespace "shop"`) {
		t.Errorf("the syncer is not waited for: %q, Deployed = %s", stripped, w.condition(workloadv1alpha1.ConditionDeployed))
	}
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.TokenSecretName}}
	if err := w.kcp.raw.Delete(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	w.finish()
	if diff := cmp.Diff([]string{"shop"}, stripped); diff != "" || w.granted("shop") {
		t.Errorf("stripped -want +got\n%s\ngranted = %t", diff, w.granted("shop"))
	}
}
