package rejection

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IsNotFound tells whether an API server says that the object of this name does not exist. A bare 404 does not say that:
// the API may not be served, and then client-go makes an error that may have the name of the object too, and says that the
// answer was unexpected.
func IsNotFound(err error, name string) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Name == name
}
