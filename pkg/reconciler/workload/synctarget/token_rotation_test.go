package synctarget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// rotationInterval is that of the tests.
const rotationInterval = 30 * 24 * time.Hour

var otherSecret = agent.OtherTokenSecret(agent.TokenSecretName)

func TestNextRotation(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	const spread = rotationInterval / 10
	for name, tc := range map[string]struct {
		reason          string
		issued, planned time.Time
		// from and before bound what is allowed for any UID.
		from, before time.Time
	}{
		"just issued": {
			"", now, time.Time{}, now.Add(rotationInterval - spread), now.Add(rotationInterval),
		},
		"never planned and long overdue": {
			"After an upgrade not all tokens are replaced at once.", now.Add(-10 * rotationInterval), time.Time{}, now, now.Add(spread),
		},
		"planned and due": {
			"What is due stays due.", now.Add(-rotationInterval), now.Add(-time.Hour), now.Add(-time.Hour), now.Add(-time.Hour + 1),
		},
		"planned far away, by a longer interval": {
			"The interval was shortened.", now.Add(-rotationInterval), now.Add(rotationInterval), now, now.Add(spread),
		},
	} {
		t.Run(name, func(t *testing.T) {
			different := map[time.Time]bool{}
			for i := range 50 {
				uid := types.UID(fmt.Sprintf("7c3a6f0e-1111-4222-8333-4444555566%02d", i))
				got := nextRotation(uid, tc.issued, tc.planned, rotationInterval, now)
				if got.Before(tc.from) || !got.Before(tc.before) {
					t.Errorf("%s\n%s: %s, want from %s and before %s", tc.reason, uid, got, tc.from, tc.before)
				}
				different[got] = true
			}
			if spread := tc.before.Sub(tc.from) > time.Minute; spread && len(different) < 40 {
				t.Errorf("50 SyncTargets rotate at %d different times", len(different))
			}
		})
	}
}

// TestTokenSecretsFor: another token is issued only when that is due and the syncer is known to use the one before.
func TestTokenSecretsFor(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	issued := agent.Token{Secret: agent.TokenSecretName, Value: []byte("t"), IssuedAt: now.Add(-time.Hour)}
	due := func(target *workloadv1alpha1.SyncTarget) {
		target.Status.Syncer = &workloadv1alpha1.SyncerStatus{TokenSecret: agent.TokenSecretName}
		target.Status.Credentials = &workloadv1alpha1.CredentialsStatus{
			Secret: agent.TokenSecretName, IssuedAt: at(-time.Hour), InUse: agent.TokenSecretName, NextRotation: at(-time.Second),
		}
	}
	request := func(value string) func(*workloadv1alpha1.SyncTarget) {
		return func(target *workloadv1alpha1.SyncTarget) {
			due(target)
			target.Status.Credentials.NextRotation = at(time.Hour)
			target.Annotations = map[string]string{workloadv1alpha1.AnnotationRotateTokenAt: value}
		}
	}
	one, two := []string{agent.TokenSecretName}, []string{agent.TokenSecretName, otherSecret}
	for name, tc := range map[string]struct {
		reason string
		change func(*workloadv1alpha1.SyncTarget)
		tokens []agent.Token
		want   []string
	}{
		"none yet": {"The first has its default name.", due, nil, nil},
		"due":      {"", due, []agent.Token{issued}, two},
		"not due": {"", func(target *workloadv1alpha1.SyncTarget) {
			due(target)
			target.Status.Credentials.NextRotation = at(time.Second)
		}, []agent.Token{issued}, one},
		"due, but under way": {"There are never more than two.", due, []agent.Token{{Secret: otherSecret, IssuedAt: now}, issued}, []string{otherSecret, agent.TokenSecretName}},
		"a syncer that does not report its token": {"It may be cut off, or of an earlier release.", func(target *workloadv1alpha1.SyncTarget) {
			due(target)
			target.Status.Syncer.TokenSecret = ""
		}, []agent.Token{issued}, one},
		"a syncer that uses another": {"", func(target *workloadv1alpha1.SyncTarget) {
			due(target)
			target.Status.Syncer.TokenSecret = otherSecret
		}, []agent.Token{issued}, one},
		"a status of an earlier token": {"It was issued anew since.", func(target *workloadv1alpha1.SyncTarget) {
			due(target)
			target.Status.Credentials.IssuedAt = at(-2 * time.Hour)
		}, []agent.Token{issued}, one},
		"on demand":          {"", request("2026-12-01T08:30:00Z"), []agent.Token{issued}, two},
		"demanded before":    {"That was done.", request("2026-12-01T07:59:59Z"), []agent.Token{issued}, one},
		"demanded for later": {"", request("2026-12-01T09:00:01Z"), []agent.Token{issued}, one},
		"a wrong demand":     {"", request("now"), []agent.Token{issued}, one},
		"in a fraction of the second of the issue": {
			"Creation times have no fractions: else it would be replaced for ever.", request("2026-12-01T08:00:00.9Z"), []agent.Token{issued}, one,
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := newTarget(tc.change)
			if diff := cmp.Diff(tc.want, tokenSecretsFor(target, tc.tokens, now)); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// use is a heartbeat of a syncer that uses the token of this Secret.
func (w *world) use(secret string) {
	w.t.Helper()
	w.beat(w.clock.Now())
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) { status.Syncer.TokenSecret = secret })
}

// tokenSecrets are the Secrets with tokens in the workspace.
func (w *world) tokenSecrets() []string {
	w.t.Helper()
	tokens, err := agent.ReadTokens(w.t.Context(), w.kcp.raw, testName, testKey(), testUID)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, token := range tokens {
		names = append(names, token.Secret)
	}
	slices.Sort(names)
	return names
}

// installedToken is what the syncer is given in the physical cluster.
func (w *world) installedToken() string {
	w.t.Helper()
	var credentials corev1.Secret
	if err := w.there.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: "kcp"}, &credentials); err != nil {
		w.t.Fatal(err)
	}
	return string(credentials.Data["token"])
}

// readyWithToken is a target that is Ready, whose syncer reports its token.
func readyWithToken(t *testing.T, change ...func(*workloadv1alpha1.SyncTarget)) *world {
	t.Helper()
	w := usual(t, change...)
	w.kcp.token = "first"
	w.ready()
	w.use(agent.TokenSecretName)
	w.settle()
	w.kcp.token = "second"
	return w
}

// demand has the token replaced now.
func (w *world) demand() {
	w.t.Helper()
	w.clock.Step(time.Minute)
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Annotations = map[string]string{workloadv1alpha1.AnnotationRotateTokenAt: w.clock.Now().Format(time.RFC3339)}
	})
	w.use(agent.TokenSecretName)
}

// rotated requires that the syncer has been given another token, and still has the one before.
func (w *world) rotated() {
	w.t.Helper()
	if got := w.tokenSecrets(); !slices.Equal(got, []string{agent.TokenSecretName, otherSecret}) || w.installedToken() != "second" {
		w.t.Fatalf("tokens in %q, installed %q", got, w.installedToken())
	}
	for _, condition := range []string{workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady} {
		if got := w.condition(condition); !strings.HasPrefix(got, "True") {
			w.t.Errorf("%s = %s", condition, got)
		}
	}
}

// TestTokenRotation: the earlier token stays good until the syncer reports that it uses the new one.
func TestTokenRotation(t *testing.T) {
	w := readyWithToken(t)
	status := w.target().Status.Credentials
	if status == nil || status.Secret != agent.TokenSecretName || status.InUse != agent.TokenSecretName || status.IssuedAt == nil || status.NextRotation == nil {
		t.Fatalf("status.credentials = %+v", status)
	}
	for round, secrets := range [][2]string{{agent.TokenSecretName, otherSecret}, {otherSecret, agent.TokenSecretName}} {
		before, after := secrets[0], secrets[1]
		w.kcp.token = fmt.Sprintf("token of round %d", round)
		w.clock.SetTime(w.target().Status.Credentials.NextRotation.Add(-time.Minute))
		w.use(before)
		w.settle()
		if got := w.tokenSecrets(); !slices.Equal(got, []string{before}) {
			t.Fatalf("replaced too early: %q", got)
		}
		w.clock.Step(time.Minute)
		w.use(before)
		w.settle()
		if got := w.tokenSecrets(); len(got) != 2 || w.installedToken() != w.kcp.token {
			t.Fatalf("round %d: tokens in %q, installed %q", round, got, w.installedToken())
		}
		w.use(before)
		w.settle()
		if got := w.tokenSecrets(); len(got) != 2 {
			t.Fatalf("deleted while the syncer uses it: %q are left", got)
		}
		if status := w.target().Status.Credentials; status.Secret != after || status.InUse != before || !status.IssuedAt.Time.Equal(w.clock.Now()) {
			t.Errorf("status.credentials = %+v", status)
		}
		if got := w.condition(workloadv1alpha1.ConditionReady); got != "True Ready: Syncer is healthy and ready" {
			t.Errorf("Ready = %s", got)
		}
		w.rollOut()
		w.use(after)
		w.pass()
		if got := w.tokenSecrets(); !slices.Equal(got, []string{after}) {
			t.Fatalf("round %d: the syncer uses %q, and there are %q", round, after, got)
		}
		if got := w.target().Status.Credentials.InUse; got != after {
			t.Errorf("inUse = %q", got)
		}
		want := fmt.Sprintf("Normal TokenRotated: The syncer uses the token in Secret %q; the earlier one, in Secret %q, is deleted", after, before)
		if !slices.ContainsFunc(w.events.events, func(event string) bool { return strings.Contains(event, want) }) {
			t.Errorf("Events %q, want %q", w.events.events, want)
		}
		w.settle()
	}
}

// TestTokenOnDemand: an annotation has it replaced once.
func TestTokenOnDemand(t *testing.T) {
	w := readyWithToken(t)
	w.demand()
	w.settle()
	w.rotated()
	w.use(otherSecret)
	w.settle()
	w.r.installCache.forgetIdentity(testUID)
	w.settle()
	if got := w.tokenSecrets(); !slices.Equal(got, []string{otherSecret}) {
		t.Errorf("tokens in %q: replaced again", got)
	}
}

func TestWrongDemandIsTold(t *testing.T) {
	w := readyWithToken(t)
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Annotations = map[string]string{workloadv1alpha1.AnnotationRotateTokenAt: "tomorrow"}
	})
	w.settle()
	want := "True Valid: SyncTarget validation passed; annotation workload.kcp.io/rotate-token-at is not a time such as 2026-01-31T12:00:00Z; set it to one, or remove it"
	if got := w.condition(workloadv1alpha1.ConditionValid); got != want {
		t.Errorf("Valid = %s\nwant %s", got, want)
	}
}

// TestNewTokenIsNotAcceptedYet: nothing is installed that kcp does not accept, and nothing else changes.
func TestNewTokenIsNotAcceptedYet(t *testing.T) {
	w := readyWithToken(t)
	accepted := false
	w.r.tokens.get = func(_ context.Context, _ string, _ []byte, _ string, token []byte) error {
		if string(token) == "second" && !accepted {
			return apierrors.NewUnauthorized("unknown")
		}
		return nil
	}
	w.demand()
	w.settle()
	result := w.pass()
	if got := w.installedToken(); got != "first" || result.RequeueAfter == 0 || result.RequeueAfter > leftoverRetry {
		t.Fatalf("installed %q, looked at again after %s", got, result.RequeueAfter)
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s", got)
	}
	w.clock.Step(issuing)
	w.use(agent.TokenSecretName)
	w.settle()
	want := `True Deployed: Syncer deployment successful; kcp does not accept the token that it issued in Secret "syncer-token-2": the syncer keeps the one before`
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
		t.Errorf("Deployed = %s\nwant %s", got, want)
	}
	accepted = true
	w.clock.Step(refusedRecheck)
	w.use(agent.TokenSecretName)
	w.settle()
	w.rotated()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s", got)
	}
}

// TestNewTokenIsIssuedLate: kcp may take its time.
func TestNewTokenIsIssuedLate(t *testing.T) {
	w := readyWithToken(t)
	w.kcp.token = ""
	w.demand()
	w.settle()
	if got := w.installedToken(); got != "first" {
		t.Fatalf("installed %q", got)
	}
	w.kcp.token = "second"
	if err := w.kcp.issue(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: otherSecret}); err != nil {
		t.Fatal(err)
	}
	w.r.installCache.forgetIdentity(testUID) // as the event of the Secret does
	w.settle()
	w.rotated()
}

// TestTokenInPullMode: the user installs the new token when they like to.
func TestTokenInPullMode(t *testing.T) {
	w := usual(t, pull)
	w.settle()
	w.use(agent.TokenSecretName)
	w.settle()
	w.kcp.token = "second"
	w.demand()
	w.settle()
	w.use(agent.TokenSecretName)
	w.settle()
	want := "; kcp has issued another token: apply the output of `kubectl synctarget manifests edge-1` again, until then the earlier token stays valid"
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "True") || !strings.Contains(got, want) {
		t.Errorf("Deployed = %s", got)
	}
	if got := w.tokenSecrets(); len(got) != 2 {
		t.Errorf("tokens in %q", got)
	}
	w.use(otherSecret)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); strings.Contains(got, "another token") {
		t.Errorf("Deployed = %s", got)
	}
	if got := w.tokenSecrets(); !slices.Equal(got, []string{otherSecret}) {
		t.Errorf("tokens in %q", got)
	}
}

// TestRefusedTokensAreReplaced: where kcp accepts neither of two tokens any more, as after a change of its key, a silent syncer gets a
// third.
func TestRefusedTokensAreReplaced(t *testing.T) {
	w := readyWithToken(t)
	w.demand()
	w.settle()
	w.rotated()
	w.kcp.token = "third"
	w.r.tokens.get = func(_ context.Context, _ string, _ []byte, _ string, token []byte) error {
		if string(token) != "third" {
			return apierrors.NewUnauthorized("unknown key")
		}
		return nil
	}
	w.clock.Step(threshold + reissueAfter)
	for range 10 {
		w.pass()
		w.clock.Step(time.Minute)
	}
	if got := w.installedToken(); got != "third" {
		t.Errorf("installed %q, tokens in %q, Deployed = %s", got, w.tokenSecrets(), w.condition(workloadv1alpha1.ConditionDeployed))
	}
}

// TestDeletedWhileTokenIsReplaced: nothing is left of two tokens.
func TestDeletedWhileTokenIsReplaced(t *testing.T) {
	w := readyWithToken(t)
	w.demand()
	w.settle()
	w.rotated()
	w.delete()
	w.finish()
	w.clean("after the deletion")
}

// TestCrashDuringRotation: whatever write fails, or whose answer is lost, the installed token is always one that is there, and in the end
// there is one.
func TestCrashDuringRotation(t *testing.T) {
	for _, lost := range []bool{false, true} {
		failed := 0
		for n := 1; n == failed+1; n++ {
			t.Run(fmt.Sprintf("write %d, lost %t", n, lost), func(t *testing.T) {
				w := readyWithToken(t)
				w.demand()
				w.kcp.forget()
				w.kcp.failWrite, w.kcp.lost = n, lost
				for range 12 {
					_, err := w.reconcile()
					if err != nil && !errors.Is(err, errInjected) {
						t.Fatal(err)
					}
					if len(w.kcp.writes) >= n {
						failed = n
					}
					w.requireInstalledToken()
					secret := agent.TokenSecretName
					if w.installedToken() == "second" {
						w.rollOut()
						secret = otherSecret
					}
					w.use(secret)
					w.clock.Step(10 * time.Second)
				}
				if got := w.tokenSecrets(); !slices.Equal(got, []string{otherSecret}) || w.installedToken() != "second" {
					t.Errorf("tokens in %q, installed %q", got, w.installedToken())
				}
			})
		}
		if failed < 3 {
			t.Errorf("only %d writes were failed", failed)
		}
	}
}

// requireInstalledToken requires that kcp still has the token that is installed.
func (w *world) requireInstalledToken() {
	w.t.Helper()
	tokens, err := agent.ReadTokens(w.t.Context(), w.kcp.raw, testName, testKey(), testUID)
	if err != nil {
		w.t.Fatal(err)
	}
	installed := w.installedToken()
	if !slices.ContainsFunc(tokens, func(token agent.Token) bool { return string(token.Value) == installed }) {
		w.t.Fatalf("the installed token %q is not in kcp", installed)
	}
}

// TestSecondTokenDeletedByHand: the token ends, the syncer gets another in the first Secret, and nothing stays of the second.
func TestSecondTokenDeletedByHand(t *testing.T) {
	w := readyWithToken(t)
	w.demand()
	w.settle()
	w.use(otherSecret)
	w.settle()
	w.kcp.token = "third"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: otherSecret}}
	if err := w.kcp.raw.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.r.installCache.forgetIdentity(testUID) // as the event of the Secret does
	w.settle()
	if got := w.tokenSecrets(); !slices.Equal(got, []string{agent.TokenSecretName}) || w.installedToken() != "third" {
		t.Errorf("tokens in %q, installed %q", got, w.installedToken())
	}
}
