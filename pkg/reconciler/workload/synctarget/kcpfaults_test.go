package synctarget

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestScaledToZero: no heartbeat can be expected of a syncer without a Pod.
func TestScaledToZero(t *testing.T) {
	for name, change := range map[string]func(*workloadv1alpha1.SyncTarget){"push": func(*workloadv1alpha1.SyncTarget) {}, "pull": pull} {
		t.Run(name, func(t *testing.T) {
			w := usual(t, change)
			w.settle()
			w.beat(w.clock.Now())
			w.settle()
			w.edit(func(target *workloadv1alpha1.SyncTarget) {
				target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
			})
			w.clock.Step(stoppedSilence)
			w.pass()
			const want = "False ScaledToZero: spec.syncer.replicas is 0, so no syncer runs; set it to 1 or more"
			if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionReady)); diff != "" {
				t.Errorf("Ready: -want +got\n%s", diff)
			}
			if len(w.events.events) == 0 || !strings.HasPrefix(w.events.events[0], "Warning ScaledToZero") {
				t.Errorf("Events: %q", w.events.events)
			}
			w.settle()
			for _, reset := range []func(){w.restart, func() { w.r.heartbeats.resetSilence(testUID) }} {
				reset()
				w.settle()
				if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionReady)); diff != "" {
					t.Errorf("Ready after a restart of the controller, or when kcp did not answer: -want +got\n%s", diff)
				}
			}
			w.beat(w.clock.Now())
			w.settle()
			if !w.isReady() {
				t.Errorf("a syncer runs all the same: Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
			}
			w.clock.Step(stoppedSilence)
			w.settle()
			w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Syncer.Replicas = nil })
			w.settle()
			if got := w.condition(workloadv1alpha1.ConditionReady); got != "False AwaitingHeartbeat: Waiting for the next heartbeat of the syncer" {
				t.Errorf("scaled up: Ready = %s", got)
			}
			w.beat(w.clock.Now())
			w.settle()
			if !w.isReady() {
				t.Errorf("it sends heartbeats again: Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
			}
		})
	}
}

// TestPersistentFailureInPullMode: where kcp fails to answer one request and answers others, a heartbeat would have been seen.
func TestPersistentFailureInPullMode(t *testing.T) {
	w := usual(t, pull)
	w.settle()
	w.beat(w.clock.Now())
	w.settle()
	if !w.isReady() {
		t.Fatalf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
	}
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "get Namespace") {
			return apierrors.NewTooManyRequests("later", 1)
		}
		return nil
	}
	for range 3 {
		w.clock.Step(threshold / 2)
		w.wake()
		w.r.installCache.forgetIdentity(testUID)
		if _, err := w.reconcile(); err == nil {
			t.Fatal("no error")
		}
	}
	if w.isReady() {
		t.Error("a syncer that has been silent for longer than the threshold is Ready")
	}
}

// TestInternalError: a 500 of kcp is told only once it lasts, in the words of kcp, and no longer than that.
func TestInternalError(t *testing.T) {
	failure := apierrors.NewInternalError(fmt.Errorf("failed calling webhook %q", "gate.example.com"))
	w := usual(t)
	w.ready()
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "get ServiceAccount") {
			return failure
		}
		return nil
	}
	fail := func() {
		t.Helper()
		w.wake()
		w.r.installCache.forgetIdentity(testUID)
		if _, err := w.reconcile(); err == nil {
			t.Fatal("no error")
		}
	}
	fail()
	w.clock.Step(transientErrorTime - time.Second)
	fail()
	if len(w.kcp.writes)+len(w.events.events) != 0 {
		t.Errorf("it wrote %q and said %q", w.kcp.writes, w.events.events)
	}
	w.clock.Step(time.Second)
	fail()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False DeploymentFailed: ") || !strings.Contains(got, "gate.example.com") {
		t.Errorf("Deployed = %s", got)
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "True") {
		t.Errorf("Deployed = %s", got)
	}
	w.kcp.refuse = func(string) error { return failure }
	w.wake()
	_, _ = w.reconcile()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "True") {
		t.Errorf("another failure is told at once: Deployed = %s", got)
	}
}

// tokenUID is the UID of the Secret that holds the syncer's token.
func (w *world) tokenUID() string {
	w.t.Helper()
	var secret corev1.Secret
	err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}, &secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(secret.UID, secret.CreationTimestamp.Unix())
}

// TestRotatedSigningKey: a token that kcp has issued and no longer accepts is issued anew, once in a while.
func TestRotatedSigningKey(t *testing.T) {
	w := usual(t)
	w.ready()
	before := w.tokenUID()
	w.clock.Step(threshold)
	w.tokenErr = apierrors.NewUnauthorized("signed by another key")
	w.pass()
	if w.tokenGets == 0 {
		t.Fatal("the token of a silent syncer is not proven again")
	}
	if got := w.tokenUID(); got != before {
		t.Error("a token that was issued minutes ago is issued anew")
	}
	w.clock.Step(reissueAfter)
	w.pass()
	w.pass()
	after := w.tokenUID()
	if after == before {
		t.Fatal("not issued anew")
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False RollingOut: Waiting for kcp to accept the syncer's token") {
		t.Errorf("Deployed = %s", got)
	}
	w.clock.Step(issuing)
	w.pass()
	if got := w.tokenUID(); got != after {
		t.Error("issued anew again at once")
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False DeploymentFailed") {
		t.Errorf("Deployed = %s", got)
	}
	w.tokenErr = nil
	w.settle()
	w.beat(w.clock.Now())
	w.settle()
	if !w.isReady() {
		t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
	}
}

// TestTokenOfALivingSyncerIsKept: while heartbeats arrive, kcp accepts the token, whatever one of its servers says.
func TestTokenOfALivingSyncerIsKept(t *testing.T) {
	w := usual(t)
	w.ready()
	before := w.tokenUID()
	w.clock.Step(reissueAfter)
	w.beat(w.clock.Now())
	w.settle()
	w.r.tokens.forget(testUID) // as a restart does
	w.r.installCache.forgetIdentity(testUID)
	w.tokenErr = apierrors.NewUnauthorized("the cache of this server is empty")
	w.pass()
	if got := w.tokenUID(); got != before {
		t.Error("issued anew")
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False DeploymentFailed") {
		t.Errorf("Deployed = %s", got)
	}
}

// TestForbiddenTokenIsKept: kcp knows it, so another would not be better.
func TestForbiddenTokenIsKept(t *testing.T) {
	w := usual(t)
	w.ready()
	before := w.tokenUID()
	w.clock.Step(threshold + reissueAfter)
	w.tokenErr = apierrors.NewForbidden(corev1.Resource("synctargets"), testName, errInjected)
	w.pass()
	if got := w.tokenUID(); got != before {
		t.Error("issued anew")
	}
}

// TestMessageIsBounded: what an API server answers cannot make an Assignment too large to be stored.
func TestMessageIsBounded(t *testing.T) {
	n := &assignedNamespace{Assignment: assignment("shop"), Name: "shop", State: namespaceOpening, Message: strings.Repeat("€", 40000)}
	condition, changes := n.admittedCondition(time.Now())
	if got := len([]rune(condition.Message)); got > maxMessage || got < maxMessage/2 || !changes {
		t.Errorf("the message has %d characters", got)
	}
}

// TestDeletionWithAStatusThatIsRefused: the object is too large for kcp to store more. The deletion ends all the same.
func TestDeletionWithAStatusThatIsRefused(t *testing.T) {
	for name, failure := range map[string]error{
		"too large":        apierrors.NewRequestEntityTooLargeError("limit is 3145728"),
		"too large (etcd)": &apierrors.StatusError{ErrStatus: apierrors.NewGenericServerResponse(500, "patch", workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets").GroupResource(), testName, "etcdserver: request is too large", 0, true).ErrStatus},
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.kcp.refuse = func(request string) error {
				if strings.HasPrefix(request, "patch-status") {
					return failure
				}
				return nil
			}
			w.delete()
			for range 5 {
				if !w.gone() {
					_, _ = w.reconcile()
					w.clock.Step(transientErrorTime)
				}
			}
			w.kcp.refuse = func(string) error { return nil }
			if !w.gone() {
				t.Fatal("the deletion does not end")
			}
			w.clean("after the deletion")
		})
	}
}
