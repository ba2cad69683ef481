package orphan

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var synctargets = workloadv1alpha1.Resource("synctargets")

// unexpected is the error that client-go makes of an answer that is not from the API, such as "404 page not found".
func unexpected(code int) error {
	return apierrors.NewGenericServerResponse(code, "get", synctargets, "edge-1", "", 0, true)
}

func TestAnswerOf(t *testing.T) {
	cases := map[string]struct {
		reason string
		err    error
		want   Answer
	}{
		"Success":          {reason: "The token is accepted.", want: Exists},
		"NotFound":         {reason: "kcp names the object.", err: apierrors.NewNotFound(synctargets, "edge-1"), want: NotFound},
		"Wrapped":          {reason: "", err: fmt.Errorf("reading: %w", apierrors.NewNotFound(synctargets, "edge-1")), want: NotFound},
		"NotServed":        {reason: "The workspace does not bind the API: its SyncTargets may still exist.", err: unexpected(http.StatusNotFound), want: Unknown},
		"AnotherNotFound":  {reason: "A workspace on the way, for example.", err: apierrors.NewNotFound(synctargets, "edge-2"), want: Unknown},
		"NobodyNotFound":   {reason: "An answer that names nothing proves nothing.", err: &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}}, want: Unknown},
		"Unauthorized":     {reason: "", err: apierrors.NewUnauthorized("no"), want: Unauthorized},
		"UnauthorizedText": {reason: "A proxy need not answer like an API server.", err: unexpected(http.StatusUnauthorized), want: Unauthorized},
		"Forbidden":        {reason: "The token is accepted; the rights may come back.", err: apierrors.NewForbidden(synctargets, "edge-1", errors.New("no")), want: Unknown},
		"Gone":             {reason: "", err: apierrors.NewResourceExpired("no"), want: Unknown},
		"Unavailable":      {reason: "", err: apierrors.NewServiceUnavailable("no"), want: Unknown},
		"InternalError":    {reason: "", err: apierrors.NewInternalError(errors.New("no")), want: Unknown},
		"TooManyRequests":  {reason: "", err: apierrors.NewTooManyRequests("no", 1), want: Unknown},
		"BadGateway":       {reason: "", err: unexpected(http.StatusBadGateway), want: Unknown},
		"Timeout":          {reason: "", err: context.DeadlineExceeded, want: Unknown},
		"Refused":          {reason: "", err: errors.New("connection refused"), want: Unknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := AnswerOf(tc.err, "edge-1"); got != tc.want {
				t.Errorf("\n%s\nAnswerOf(%v): want %s, got %s", tc.reason, tc.err, tc.want, got)
			}
		})
	}
}

func TestNegativeAnswersSayWhatToDo(t *testing.T) {
	for answer := Unknown; answer <= Unauthorized; answer++ {
		isNegative := answer == NotFound || answer == Recreated || answer == Unauthorized
		if got := answer.meaning(); (got != "") != isNegative {
			t.Errorf("%s: meaning %q", answer, got)
		}
	}
	cause := errors.New("the server's words")
	err := fmt.Errorf("wrapped: %w", &Error{Answer: NotFound, Cause: cause})
	if !errors.Is(err, cause) || err.Error() != "wrapped: "+NotFound.meaning()+" (the server's words)" {
		t.Errorf("got %v", err)
	}
}
