package ratelimit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// maxRetryBody is how many bytes are read of an answer that asks to wait.
const maxRetryBody = 64 << 10

// WithoutRetries returns a copy of config with the limiter of NewLimiter, whose clients do not retry a request of a
// pass. If a busy server asks to wait, client-go would retry up to ten times, for which a pass has no time. Instead
// the request fails at once, and the queue adds the object again after the time that the server asks for. Requests of
// informers are retried by client-go.
func WithoutRetries(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.RateLimiter = NewLimiter(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return retryAfterInBody{next} })
	return config
}

// retryAfterInBody moves Retry-After from the header of an answer, which makes client-go retry, into the body, from
// which apierrors.SuggestsClientDelay reads it. It does so for requests with a deadline only.
type retryAfterInBody struct{ next http.RoundTripper }

func (t retryAfterInBody) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if _, bounded := request.Context().Deadline(); err != nil || !bounded {
		return response, err
	}
	seconds, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32)
	if err != nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode < http.StatusInternalServerError {
		return response, nil
	}
	said, err := io.ReadAll(io.LimitReader(response.Body, maxRetryBody))
	_ = response.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading why the server asks to wait: %w", err)
	}
	var status metav1.Status
	if json.Unmarshal(said, &status) != nil || status.Status != metav1.StatusFailure {
		status = apierrors.NewGenericServerResponse(response.StatusCode, strings.ToLower(request.Method), schema.GroupResource{}, "",
			strings.TrimSpace(string(said)), int(seconds), true).Status()
	}
	if status.Details == nil {
		status.Details = &metav1.StatusDetails{}
	}
	status.Details.RetryAfterSeconds = int32(seconds)
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	body, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	response.Header.Del("Retry-After")
	response.Header.Set("Content-Type", "application/json")
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}

// WrappedRoundTripper is for client-go, which looks for the transport below.
func (t retryAfterInBody) WrappedRoundTripper() http.RoundTripper { return t.next }
