package synctarget

import (
	"fmt"
	"hash/fnv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// The token of a syncer is replaced in three steps, each of which is decided anew from what there is:
//
//  1. The newest token is due, and the syncer uses it: have kcp issue another in a second Secret.
//  2. kcp accepts the new token: install it. The earlier one stays good.
//  3. The syncer reports that it uses the new one: delete the Secret of the earlier one.
//
// status.syncer.tokenSecret says which token the syncer uses. A syncer that does not report it keeps its token.

// rotationSpread is the part of the interval within which the tokens of all SyncTargets are replaced, so that this does not happen
// at the same time for those that were created together.
const rotationSpread = 0.1

// tokenReview tells whether the tokens of a target are to be looked at, although nothing that they follow from has changed: a rotation
// is due, or the syncer has begun to use another token.
func tokenReview(target *workloadv1alpha1.SyncTarget, now time.Time) bool {
	known, used := target.Status.Credentials, tokenInUse(target)
	if known == nil || used == "" {
		return false
	}
	return known.InUse != used || isRotationDue(target, now)
}

// tokenInUse is the Secret of the token that the syncer reports; empty if it reports none.
func tokenInUse(target *workloadv1alpha1.SyncTarget) string {
	if target.Status.Syncer == nil {
		return ""
	}
	return target.Status.Syncer.TokenSecret
}

// isRotationDue reports whether the newest token, which the status tells of, is to be replaced.
func isRotationDue(target *workloadv1alpha1.SyncTarget, now time.Time) bool {
	known := target.Status.Credentials
	if known == nil || known.IssuedAt == nil {
		return false
	}
	if known.NextRotation != nil && !now.Before(known.NextRotation.Time) {
		return true
	}
	requested, err := rotationRequest(target)
	return err == nil && !requested.After(now) && known.IssuedAt.Time.Before(requested)
}

// rotationRequest is the time before which the token must not have been issued, by the wish of a user; zero for none.
func rotationRequest(target *workloadv1alpha1.SyncTarget) (time.Time, error) {
	value := target.Annotations[workloadv1alpha1.AnnotationRotateTokenAt]
	if value == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, fmt.Errorf("annotation %s is not a time such as 2026-01-31T12:00:00Z; set it to one, or remove it", workloadv1alpha1.AnnotationRotateTokenAt)
	}
	return at.Truncate(time.Second), nil // creation times are whole seconds
}

// tokenSecretsFor returns the names of the Secrets that there are to be for these tokens: another one if a rotation is due.
func tokenSecretsFor(target *workloadv1alpha1.SyncTarget, tokens []agent.Token, now time.Time) []string {
	var names []string
	for _, token := range tokens {
		names = append(names, token.Secret)
	}
	if len(tokens) != 1 {
		return names
	}
	newest := tokens[0]
	if describes(target.Status.Credentials, newest) && tokenInUse(target) == newest.Secret && isRotationDue(target, now) {
		names = append(names, agent.OtherTokenSecret(newest.Secret))
	}
	return names
}

// describes reports whether the status is that of this token.
func describes(status *workloadv1alpha1.CredentialsStatus, token agent.Token) bool {
	return status != nil && status.Secret == token.Secret && status.IssuedAt != nil && status.IssuedAt.Time.Equal(token.IssuedAt)
}

// supersededToken returns the Secret of the token that is no longer needed, because the syncer uses the newest: empty for none.
func supersededToken(target *workloadv1alpha1.SyncTarget, tokens []agent.Token) string {
	if len(tokens) < 2 || tokenInUse(target) != tokens[0].Secret {
		return ""
	}
	return tokens[1].Secret
}

// credentialsStatus is what status.credentials says of the newest token. interval is that of rotations; zero for none.
func credentialsStatus(target *workloadv1alpha1.SyncTarget, newest agent.Token, interval time.Duration, now time.Time) *workloadv1alpha1.CredentialsStatus {
	issued := metav1.NewTime(newest.IssuedAt)
	status := &workloadv1alpha1.CredentialsStatus{Secret: newest.Secret, IssuedAt: &issued, InUse: tokenInUse(target)}
	if interval == 0 {
		return status
	}
	var planned time.Time
	if known := target.Status.Credentials; describes(known, newest) && known.NextRotation != nil {
		planned = known.NextRotation.Time
	}
	next := metav1.NewTime(nextRotation(target.UID, newest.IssuedAt, planned, interval, now)).Rfc3339Copy()
	status.NextRotation = &next
	return status
}

// nextRotation is when a token is replaced: in the last part of the interval after it was issued. Where that has passed already when it
// is first planned, as after an upgrade from a release that replaced no tokens, it is within such a part from now. planned is
// what was planned before; zero for nothing.
func nextRotation(uid types.UID, issued, planned time.Time, interval time.Duration, now time.Time) time.Time {
	spread := time.Duration(rotationSpread * float64(interval))
	offset := time.Duration(fraction(uid) * float64(spread))
	if due := issued.Add(interval - spread + offset); due.After(now) {
		return due
	}
	if !planned.IsZero() && planned.Before(now.Add(spread)) {
		return planned
	}
	return now.Add(offset)
}

// fraction is a number in [0,1) that follows from a UID.
func fraction(uid types.UID) float64 {
	sum := fnv.New32a()
	sum.Write([]byte(uid))
	return float64(sum.Sum32()) / (1 << 32)
}
