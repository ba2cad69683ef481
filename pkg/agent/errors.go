package agent

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// ForeignError says that an object of the name that we need belongs to somebody else. It is never taken over.
type ForeignError struct {
	// Object is kind and name.
	Object string
	// Where is the side: "physical cluster" or "workspace".
	Where string
	// Remedy says what to do beside deleting it; empty for another name of the SyncTarget.
	Remedy string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s already exists in the %s and does not belong to this SyncTarget; it is left as it is: delete it, or %s",
		e.Object, e.Where, cmp.Or(e.Remedy, "give the SyncTarget another name"))
}

// LeftoverError says that an object of ours is left from an earlier SyncTarget of the same name. RemoveLeftovers, or upstream
// RemoveIdentityLeftovers, clears it.
type LeftoverError struct {
	// Object is kind and name.
	Object string
}

func (e *LeftoverError) Error() string {
	return fmt.Sprintf("%s is left from an earlier SyncTarget of the same name", e.Object)
}

// TerminatingError says that an object is still being deleted and cannot be applied before it is gone.
type TerminatingError struct {
	// Waiting names the object and says what holds it, as Remove does. It may repeat what an API server says.
	Waiting string
}

func (e *TerminatingError) Error() string {
	return e.Waiting + "; it is recreated when it is gone"
}

// whereOf tells the side from the manifest: only in the workspace do permission claims select what the service sees.
func whereOf(desired client.Object) string {
	if desired.GetLabels()[workloadv1alpha1.LabelVisible] != "" {
		return "workspace"
	}
	return "physical cluster"
}

// withheld is an error whose text would have given a Secret away. What it is can still be asked of it.
type withheld struct{ error }

func (withheld) Error() string {
	return "the API server refused it, in words that may repeat the Secret's contents and are withheld"
}

func (w withheld) Unwrap() error { return w.error }

// withhold keeps the contents of a Secret out of what a server says of it.
func withhold(err error, object client.Object) error {
	secret, ok := object.(*corev1.Secret)
	if err == nil || !ok {
		return err
	}
	if secret.Labels[workloadv1alpha1.LabelPullSecret] != "" {
		return withheld{err} // what a server repeats may be a part of the JSON in it
	}
	text := err.Error()
	for _, value := range secret.Data {
		if len(value) == 0 {
			continue
		}
		if strings.Contains(text, string(value)) || strings.Contains(text, base64.StdEncoding.EncodeToString(value)) {
			return withheld{err}
		}
	}
	return err
}
