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

// maxRetryBody bounds what is read, in bytes, of an answer that asks to wait.
const maxRetryBody = 64 << 10

// WithoutRetries has a request of a pass that the server puts off fail at once, where client-go would wait and try it again up to ten
// times, for which a pass has not the time: the object waits in the queue, as long as the server asks for, and leaves its
// worker to others. The informers, whose requests may take any time, wait as ever, and behind the passes.
func WithoutRetries(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.RateLimiter = NewLimiter(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return retryAfterInBody{next} })
	return config
}

// retryAfterInBody moves the Retry-After of an answer to a request with a deadline from the header, on which client-go acts,
// into the body, from which apierrors.SuggestsClientDelay reads it.
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
