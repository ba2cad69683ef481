package rejection

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestIsNotFound(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"not found":              {apierrors.NewNotFound(secrets, "a"), true},
		"wrapped":                {fmt.Errorf("reading: %w", apierrors.NewNotFound(secrets, "a")), true},
		"another one":            {apierrors.NewNotFound(secrets, "b"), false},
		"404 page not found":     {apierrors.NewGenericServerResponse(404, "get", secrets, "a", "404 page not found", 0, true), false},
		"without details":        {&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: 404}}, false},
		"no answer":              {errors.New("connection refused"), false},
		"no error":               {nil, false},
		"forbidden":              {apierrors.NewForbidden(secrets, "a", errors.New("no")), false},
		"it was there, and gone": {apierrors.NewResourceExpired("no"), false},
	} {
		if got := IsNotFound(tc.err, "a"); got != tc.want {
			t.Errorf("%s: IsNotFound() = %t", name, got)
		}
	}
}
