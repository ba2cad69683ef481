// Package metricsauth serves the syncer's metrics to those whom the physical cluster allows to read them.
//
// The caller's own bearer token asks the API server of the physical cluster whether it may get the URL, by a
// SelfSubjectAccessReview. Every authenticated user may create one, so the syncer needs no right to review the tokens and the
// rights of others, and whoever installs the syncer need not hold such a right either.
package metricsauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// decisionTTL is how long an answer of the API server holds. Who has lost the right can read the metrics for this long.
	decisionTTL = time.Minute
	// maxDecisions is how many answers are remembered.
	maxDecisions = 256
	// reviewTimeout bounds one request to the API server.
	reviewTimeout = 5 * time.Second
	// reviewQPS and reviewBurst limit the requests that callers with ever new tokens can cause.
	reviewQPS, reviewBurst = 5, 20
)

var (
	errUnauthorized    = errors.New("the API server of this cluster does not accept the bearer token")
	errForbidden       = errors.New("this user may not get this URL; bind a ClusterRole with the verb get on the nonResourceURL /metrics to it")
	errTooManyRequests = errors.New("too many bearer tokens to review; try again in a second")
	errNoAnswer        = errors.New("the API server of this cluster did not say whether this user may get this URL")
)

// reviewer finds out whether the owner of a bearer token may send a request.
type reviewer struct {
	reviews   rest.Interface
	decisions *cache.LRUExpireCache
	limiter   *rate.Limiter
}

// New returns a filter that asks the cluster to which config leads. The credentials in config are not used.
func New(config *rest.Config) (metricsserver.Filter, error) {
	r, err := newReviewer(config)
	if err != nil {
		return nil, err
	}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return r.filter(log, next), nil
	}, nil
}

func newReviewer(config *rest.Config) (*reviewer, error) {
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.QPS = -1
	anonymous.GroupVersion = &authorizationv1.SchemeGroupVersion
	anonymous.APIPath = "/apis"
	anonymous.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	reviews, err := rest.RESTClientFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("creating a client for access reviews: %w", err)
	}
	return &reviewer{reviews: reviews, decisions: cache.NewLRUExpireCache(maxDecisions), limiter: rate.NewLimiter(reviewQPS, reviewBurst)}, nil
}

func (r *reviewer) filter(log logr.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token, found := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !found || token == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token of this cluster is required", http.StatusUnauthorized)
			return
		}
		err := r.authorize(req.Context(), token, req.URL.Path, strings.ToLower(req.Method))
		if err != nil {
			log.V(1).Info("Refused a request", "reason", err.Error())
			http.Error(w, message(err), statusCode(err))
			return
		}
		next.ServeHTTP(w, req)
	})
}

// authorize returns nil if the owner of the token may send the request.
func (r *reviewer) authorize(ctx context.Context, token, path, verb string) error {
	key := sha256.Sum256([]byte(verb + " " + path + " " + token))
	if decision, known := r.decisions.Get(key); known {
		err, _ := decision.(error)
		return err
	}
	if !r.limiter.Allow() {
		return errTooManyRequests
	}
	err := r.review(ctx, token, path, verb)
	if err == nil || errors.Is(err, errUnauthorized) || errors.Is(err, errForbidden) {
		r.decisions.Add(key, err, decisionTTL)
	}
	return err
}

// review asks the API server in the name of the token's owner.
func (r *reviewer) review(ctx context.Context, token, path, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb},
	}}
	answer := &authorizationv1.SelfSubjectAccessReview{}
	err := r.reviews.Post().Resource("selfsubjectaccessreviews").SetHeader("Authorization", "Bearer "+token).Body(review).Do(ctx).Into(answer)
	switch {
	case apierrors.IsUnauthorized(err):
		return errUnauthorized
	case apierrors.IsForbidden(err), err == nil && !answer.Status.Allowed:
		return errForbidden
	case err != nil:
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return nil
}

// message is what the caller reads: what the API server has said beyond the decision stays in the log.
func message(err error) string {
	if errors.Is(err, errNoAnswer) {
		return errNoAnswer.Error()
	}
	return err.Error()
}

func statusCode(err error) int {
	switch {
	case errors.Is(err, errUnauthorized):
		return http.StatusUnauthorized
	case errors.Is(err, errForbidden):
		return http.StatusForbidden
	case errors.Is(err, errTooManyRequests):
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}
