package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// TestPassesDoNotWait: what a server puts off is asked once where there is a deadline, and its error tells when to
// ask again.
func TestPassesDoNotWait(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":"a quota is updated","code":%d}`
	tests := map[string]struct {
		code       int
		retryAfter string
		body       string
		is         func(error) bool
		wait       int
		words      string
	}{
		"too busy":          {429, "7", "Too many requests, please try again later.", apierrors.IsTooManyRequests, 7, "too many requests"},
		"in a webhook":      {429, "7", fmt.Sprintf(status, "TooManyRequests", 429), apierrors.IsTooManyRequests, 7, "a quota is updated"},
		"starting":          {503, "7", fmt.Sprintf(status, "ServiceUnavailable", 503), apierrors.IsServiceUnavailable, 7, "a quota is updated"},
		"not to be retried": {500, "", fmt.Sprintf(status, "InternalError", 500), apierrors.IsInternalError, 0, "a quota is updated"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(tc.code)
				_, _ = fmt.Fprint(w, tc.body)
			}))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client := configMapsOf(t, server)
			_, reading := client.Get(ctx, "c", metav1.GetOptions{})
			_, writing := client.Patch(ctx, "c", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
			for what, err := range map[string]error{"reading": reading, "writing": writing} {
				if !tc.is(err) || !strings.Contains(err.Error(), tc.words) {
					t.Errorf("%s: another error: %v", what, err)
				}
				if wait, _ := apierrors.SuggestsClientDelay(err); wait != tc.wait {
					t.Errorf("%s: to wait %d s, want %d", what, wait, tc.wait)
				}
				if rejection.IsOverload(err) != (name == "too busy") {
					t.Errorf("%s: overload: %t", what, rejection.IsOverload(err))
				}
			}
			if asked.Load() != 2 {
				t.Errorf("asked %d times, want once for each", asked.Load())
			}
		})
	}
}

// TestInformersWait: what has no deadline is tried again by client-go, as anywhere.
func TestInformersWait(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`)
	}))
	defer server.Close()
	if _, err := configMapsOf(t, server).Get(t.Context(), "c", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times, want 2", asked.Load())
	}
}

func configMapsOf(t *testing.T, server *httptest.Server) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(WithoutRetries(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
}
