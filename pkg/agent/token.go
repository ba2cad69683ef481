package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// TokenSecretName is the Secret that kcp fills with the syncer's first token.
	TokenSecretName = "syncer-token"
	// secondTokenSecretName is the Secret of the token that replaces it. The next one is in TokenSecretName again.
	secondTokenSecretName = "syncer-token-2"
)

// tokenSecretNames are all Secrets that may hold a token of the syncer. While a token is replaced there are two.
var tokenSecretNames = []string{TokenSecretName, secondTokenSecretName}

// Token is a token of the syncer for its workspace.
type Token struct {
	// Secret is the name of the Secret that kcp has issued it in.
	Secret string
	// Value is the token itself; empty until kcp has issued it.
	Value []byte
	// IssuedAt is when the Secret was created.
	IssuedAt time.Time
	// Terminating: the Secret is being deleted, and is held by our finalizer. kcp accepts the token for seconds yet.
	Terminating bool
}

// ReadTokens returns the tokens of the SyncTarget with this UID, the newest first, also those whose Secret is being deleted.
func ReadTokens(ctx context.Context, c client.Client, name, key string, uid types.UID) ([]Token, error) {
	secrets, err := readTokenSecrets(ctx, c, workloadv1alpha1.SyncerNamespace(name, key))
	if err != nil {
		return nil, err
	}
	var tokens []Token
	for _, secret := range secrets {
		if secret.Labels[workloadv1alpha1.LabelUID] == string(uid) {
			tokens = append(tokens, Token{
				Secret: secret.Name, Value: secret.Data[corev1.ServiceAccountTokenKey], IssuedAt: secret.CreationTimestamp.Time,
				Terminating: secret.DeletionTimestamp != nil,
			})
		}
	}
	return tokens, nil
}

// readTokenSecrets returns the Secrets of tokens that there are in the Namespace of a syncer, the newest first.
func readTokenSecrets(ctx context.Context, c client.Client, namespace string) ([]corev1.Secret, error) {
	var found []corev1.Secret
	for _, name := range tokenSecretNames {
		var secret corev1.Secret
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading the syncer's token: %w", err)
		} else if err == nil {
			found = append(found, secret)
		}
	}
	slices.SortFunc(found, func(a, b corev1.Secret) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return found, nil
}

// OtherTokenSecret is the name of the Secret for the token that replaces the one in the Secret of this name.
func OtherTokenSecret(name string) string {
	if name == TokenSecretName {
		return secondTokenSecretName
	}
	return TokenSecretName
}

// DiscardToken deletes one of the Secrets that hold a token of the syncer: kcp accepts the token no longer.
func DiscardToken(ctx context.Context, c client.Client, name, key string, uid types.UID, secretName string) error {
	r := removal{client: c, key: key, uid: uid}
	secret := reference(corev1.SchemeGroupVersion.WithKind("Secret"), workloadv1alpha1.SyncerNamespace(name, key), secretName)
	live, err := get(ctx, c, secret)
	if err != nil || live == nil || !r.chosen(live) {
		return err
	}
	_, err = discard(ctx, c, live, workloadv1alpha1.SyncTargetFinalizer(key))
	return err
}
