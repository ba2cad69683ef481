package synctarget

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// issuing is how long a fresh token, or right, may be refused before that is a fault: kcp's caches take a moment.
const issuing = 30 * time.Second

// identityGrace is how long an identity that is being deleted is still held, counted from when the condition Deployed is no
// longer True. kcp refuses the token only seconds after its deletion.
const identityGrace = 5 * time.Second

// reissueAfter is how old a token is that is issued anew when kcp no longer accepts it, as after a change of the key that it
// signs tokens with. What is younger than that has been issued anew already, in vain.
const reissueAfter = 10 * time.Minute

// agentConfig is what the manifests of both sides are built from; the token is added once it is known.
func (r *Reconciler) agentConfig(s *scope, namespaceLabels map[string]map[string]string) agent.Config {
	return agent.Config{
		Target:      s.target,
		ClusterName: s.clusterName.String(),
		Image:       r.SyncerImage,
		KcpURL:      r.KcpURL + "/clusters/" + s.clusterName.String(),
		KcpCA:       r.KcpCA,
		Proxy:       r.Proxy,

		HeartbeatInterval: r.HeartbeatInterval,
		NamespaceLabels:   namespaceLabels,
	}
}

// syncerIdentity is what an installation needs of the syncer's identity in the workspace.
type syncerIdentity struct {
	// token is the newest that kcp accepts.
	token []byte
	// credentials are for the status.
	credentials *workloadv1alpha1.CredentialsStatus
	// recheck is when a newer token is looked at again that kcp does not accept yet; zero if there is none.
	recheck time.Duration
}

// addTo adds to the verdict on an installation that kcp keeps refusing a newer token, and has the pass repeated while there is one.
func (i syncerIdentity) addTo(v verdict) verdict {
	if i.recheck == refusedRecheck && v.ok() {
		v.message += fmt.Sprintf("; kcp does not accept the token that it issued in Secret %q: the syncer keeps the one before", i.credentials.Secret)
	}
	return i.recheckAfter(v)
}

// recheckAfter has the pass repeated while there is a newer token that kcp does not accept yet.
func (i syncerIdentity) recheckAfter(v verdict) verdict {
	if i.recheck > 0 && v.ok() && (v.requeueAfter == 0 || i.recheck < v.requeueAfter) {
		return v.after(i.recheck)
	}
	return v
}

// identity returns what ensureIdentity does. An identity that was found right is not read again in each pass of an installation
// that takes many, such as one that waits for the physical cluster. A syncer that has fallen silent may have lost it.
func (r *Reconciler) identity(ctx context.Context, s *scope, in installAttempt) (syncerIdentity, *verdict, error) {
	inputs := in.inspection.inputs
	hasFallenSilent := s.target.Status.LastHeartbeatTime != nil && r.isSilent(s)
	if identity, known := r.installCache.identity(s.target.UID, inputs, r.Clock.Now()); known && !hasFallenSilent {
		return identity, nil, nil
	}
	identity, stop, err := r.ensureIdentity(ctx, s, in.cfg)
	if err == nil && stop == nil && identity.recheck == 0 {
		r.installCache.putIdentity(s.target.UID, inputs, identity, r.Clock.Now())
	}
	return identity, stop, err
}

// ensureIdentity gives the syncer its own identity in the workspace and returns it with a token, or a verdict that says why there is
// none yet.
func (r *Reconciler) ensureIdentity(ctx context.Context, s *scope, cfg agent.Config) (syncerIdentity, *verdict, error) {
	tokens, terminating, err := readTokens(ctx, s)
	if err != nil {
		return syncerIdentity{}, nil, err
	}
	cfg.TokenSecrets = tokenSecretsFor(s.target, tokens, r.Clock.Now())
	if err := r.applyIdentity(ctx, s, cfg); err != nil {
		if terminating := (*agent.TerminatingError)(nil); errors.As(err, &terminating) {
			if err := r.releaseIdentity(ctx, s); err != nil {
				return syncerIdentity{}, nil, err
			}
		}
		v, err := r.verdictOfApply(ctx, s, "workspace", err, func(ctx context.Context) (string, bool, error) {
			return agent.RemoveIdentityLeftovers(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
		})
		return syncerIdentity{}, v, err
	}
	if len(tokens) == 0 || len(cfg.TokenSecrets) > len(tokens) {
		if tokens, terminating, err = readTokens(ctx, s); err != nil {
			return syncerIdentity{}, nil, err
		}
	}
	identity, stop, err := r.acceptedToken(ctx, s, cfg, tokens)
	if err != nil || stop != nil || identity.recheck > 0 {
		return identity, stop, err
	}
	return identity, nil, r.discardUnneeded(ctx, s, tokens, terminating)
}

// readTokens returns the tokens of the syncer, the newest first, and apart from them those whose Secret is being deleted.
func readTokens(ctx context.Context, s *scope) (tokens, terminating []agent.Token, err error) {
	all, err := agent.ReadTokens(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	for _, token := range all {
		if token.Terminating {
			terminating = append(terminating, token)
		} else {
			tokens = append(tokens, token)
		}
	}
	return tokens, terminating, err
}

func discardToken(ctx context.Context, s *scope, secret string) error {
	if err := agent.DiscardToken(ctx, s.upstream, s.target.Name, s.key, s.target.UID, secret); err != nil {
		return fmt.Errorf("deleting an earlier token of the syncer: %w", err)
	}
	return nil
}

// discardUnneeded deletes the token that the syncer has used before, once it uses the newest, and lets go of those that somebody else
// deletes.
func (r *Reconciler) discardUnneeded(ctx context.Context, s *scope, tokens, terminating []agent.Token) error {
	for _, token := range terminating {
		if err := discardToken(ctx, s, token.Secret); err != nil {
			return err
		}
	}
	superseded := supersededToken(s.target, tokens)
	if superseded == "" {
		return nil
	}
	if err := discardToken(ctx, s, superseded); err != nil {
		return err
	}
	r.Events.Event(s.clusterName, s.target, corev1.EventTypeNormal, workloadv1alpha1.ReasonTokenRotated,
		fmt.Sprintf("The syncer uses the token in Secret %q; the earlier one, in Secret %q, is deleted", tokens[0].Secret, superseded))
	return nil
}

// acceptedToken returns the newest of the tokens that kcp accepts.
func (r *Reconciler) acceptedToken(ctx context.Context, s *scope, cfg agent.Config, tokens []agent.Token) (syncerIdentity, *verdict, error) {
	if r.isSilent(s) {
		r.tokens.forget(s.target.UID) // it may be silent because its token is no longer accepted
	}
	var identity syncerIdentity
	if len(tokens) > 0 {
		identity.credentials = credentialsStatus(s.target, tokens[0], r.TokenRotationInterval, r.Clock.Now())
	}
	for i, token := range tokens {
		if len(token.Value) == 0 {
			identity.recheck = leftoverRetry
			continue
		}
		err := r.tokens.check(ctx, s.target.UID, cfg.KcpURL, r.KcpCA, s.target.Name, token.Value)
		switch {
		case err == nil:
			identity.token = token.Value
			return identity, nil, nil
		case isRefusal(err) && i < len(tokens)-1:
			identity.recheck = leftoverRetry
			if r.Clock.Since(token.IssuedAt) >= issuing {
				identity.recheck = refusedRecheck
			}
		case isRefusal(err):
			v, err := r.refusedToken(ctx, s, cfg, token, err)
			return identity, v, err
		case isAnswer(err), r.Clock.Since(r.heartbeat(s).changed) < r.HeartbeatThreshold:
			// It is where the syncer looks for it: the one or the other reached it there.
			return identity, nil, fmt.Errorf("trying the syncer's token at %s: %w", cfg.KcpURL, err)
		default:
			v := blocked(workloadv1alpha1.ReasonDeploymentFailed,
				"kcp cannot be reached at %s, which the syncer would use; check the controller's flags --kcp-external-url and --kcp-external-ca-file", cfg.KcpURL).after(time.Minute)
			return identity, &v, nil
		}
	}
	// The event of the filled Secret brings us back; the recheck is for an event that was missed.
	v := blocked(workloadv1alpha1.ReasonRollingOut, "Waiting for kcp to issue the syncer's token").after(10 * time.Second)
	return identity, &v, nil
}

// isRefusal reports whether kcp has refused a token.
func isRefusal(err error) bool { return apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) }

// applyIdentity applies the identity, and the Lease where the service may make and watch one. Where it may not, the syncer loses
// its right to renew one, because nobody would see its heartbeats.
func (r *Reconciler) applyIdentity(ctx context.Context, s *scope, cfg agent.Config) error {
	if _, err := agent.Apply(ctx, s.upstream, agent.Identity(cfg), workloadv1alpha1.FieldOwnerController); err != nil {
		return err
	}
	claimed, err := r.leasesClaimed(ctx, s)
	if err != nil {
		return err
	}
	if claimed {
		_, err := agent.Apply(ctx, s.upstream, agent.HeartbeatLease(cfg), workloadv1alpha1.FieldOwnerController)
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return err
		}
		log.FromContext(ctx).Info("The Lease for heartbeats cannot be applied; the syncer reports its heartbeats to the SyncTarget", "reason", err.Error())
	}
	return agent.WithdrawLease(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
}

// refusedToken is the verdict on a token that kcp refuses with this error, as all others.
func (r *Reconciler) refusedToken(ctx context.Context, s *scope, cfg agent.Config, token agent.Token, refusal error) (*verdict, error) {
	var v verdict
	age := r.Clock.Since(token.IssuedAt)
	switch {
	case age < issuing:
		v = blocked(workloadv1alpha1.ReasonRollingOut, "Waiting for kcp to accept the syncer's token").after(r.backOff(s, tokenRetry))
	case apierrors.IsUnauthorized(refusal) && age >= reissueAfter && r.isSilent(s): // while heartbeats arrive, kcp accepts it elsewhere
		if err := discardToken(ctx, s, token.Secret); err != nil {
			return nil, err
		}
		// The event of the Secret that is gone brings us back; the recheck is for an event that was missed.
		v = blocked(workloadv1alpha1.ReasonRollingOut, "kcp no longer accepts the syncer's token; it is issued anew").after(10 * time.Second)
	default:
		v = blocked(workloadv1alpha1.ReasonDeploymentFailed,
			"kcp at %s does not accept the syncer's token; does what stands before kcp know the key that signs ServiceAccount tokens?", cfg.KcpURL).after(time.Minute)
	}
	return &v, nil
}

// releaseIdentity lets go of what somebody deletes of the identity, so that it can be made anew: its Namespace waits for our
// finalizers. With a whole workspace the identity may be deleted seconds before its SyncTarget, whose deletion still
// needs the token; so the SyncTarget is given that time, and is read live.
func (r *Reconciler) releaseIdentity(ctx context.Context, s *scope) error {
	deployed := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	if deployed == nil || deployed.Status == metav1.ConditionTrue || r.Clock.Since(deployed.LastTransitionTime.Time) < identityGrace {
		return nil
	}
	live, err := s.live(ctx)
	if err != nil || live.UID != s.target.UID || live.DeletionTimestamp != nil {
		return err
	}
	return agent.ReleaseIdentity(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
}

// tokens remembers which token was seen to work where, so that one at rest costs no request.
type tokens struct {
	// get reads the SyncTarget at url with the token; a field so that unit tests need no server.
	get func(ctx context.Context, url string, ca []byte, name string, token []byte) error

	mu     sync.Mutex
	proven map[types.UID][sha256.Size]byte
}

func newTokens() *tokens {
	return &tokens{get: getWithToken, proven: map[types.UID][sha256.Size]byte{}}
}

func (t *tokens) check(ctx context.Context, uid types.UID, url string, ca []byte, name string, token []byte) error {
	sum := sha256.Sum256(append([]byte(url+"\x00"+string(ca)+"\x00"), token...))
	t.mu.Lock()
	known := t.proven[uid] == sum
	t.mu.Unlock()
	if known {
		return nil
	}
	if err := t.get(ctx, url, ca, name, token); err != nil {
		return err
	}
	t.mu.Lock()
	t.proven[uid] = sum
	t.mu.Unlock()
	return nil
}

func (t *tokens) forget(uid types.UID) {
	t.mu.Lock()
	delete(t.proven, uid)
	t.mu.Unlock()
}

// tokenTimeout bounds one look at kcp with the syncer's token.
const tokenTimeout = 5 * time.Second

func getWithToken(ctx context.Context, url string, ca []byte, name string, token []byte) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	gv := workloadv1alpha1.SchemeGroupVersion
	httpClient, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}, BearerToken: string(token)})
	if err != nil {
		return err
	}
	c, err := rest.UnversionedRESTClientForConfigAndClient(&rest.Config{Host: url, QPS: -1, ContentConfig: rawContent()}, httpClient)
	if err != nil {
		return err
	}
	return c.Get().AbsPath("/apis", gv.Group, gv.Version, "synctargets", name).Do(ctx).Error()
}
