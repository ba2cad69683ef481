package pcluster

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var (
	// ErrInvalid means that the kubeconfig is refused. The user must correct it; retrying changes nothing.
	ErrInvalid = errors.New("the kubeconfig is refused")
	// ErrUnreachable means that the physical cluster does not answer like one, so nothing is known about what is in it.
	ErrUnreachable = errors.New("the physical cluster cannot be reached")
	// ErrConnecting means that the first contact is still under way. It says nothing about the cluster; OnChange tells
	// when there is more to say.
	ErrConnecting = errors.New("the physical cluster has not answered yet")
	// ErrReplaced ends a call when the kubeconfig changed under it, the target was forgotten, or the service stops.
	// It says nothing about the cluster; a retry asks Clusters again. A call for whose large answer this service has no
	// memory just now ends with another error that matches it.
	ErrReplaced = errors.New("the connection to the cluster was replaced")
)

// errBusy ends a call for whose large answer there is no place. Callers treat it as ErrReplaced.
var errBusy error = busyError{}

type busyError struct{}

func (busyError) Error() string {
	return "the service is reading many large answers of clusters at the moment; it is tried again"
}

func (busyError) Unwrap() error { return ErrReplaced }

// problem is what this package fails with: a sentence of our own that is safe to show to anyone. It matches its kind,
// or what the API server answered (apierrors.IsNotFound and the like), and hides everything else about its cause.
type problem struct {
	text   string
	kind   error                  // ErrInvalid, ErrUnreachable, or nil if the API server answered
	answer *apierrors.StatusError // cleaned; nil unless the API server answered
}

func (p *problem) Error() string { return p.text }

func (p *problem) Unwrap() []error {
	switch {
	case p.answer != nil:
		return []error{p.answer}
	case p.kind != nil:
		return []error{p.kind}
	default:
		return nil
	}
}

func invalid(format string, values ...any) error {
	return &problem{kind: ErrInvalid, text: fmt.Sprintf(format, values...)}
}

func unreachable(format string, values ...any) *problem {
	return &problem{kind: ErrUnreachable, text: fmt.Sprintf(format, values...)}
}

// Describe turns a failure of this package, however wrapped, into one plain and stable sentence for a condition.
// It never repeats an error that it does not know: that may carry a server's words, or a secret.
func Describe(err error) string {
	var known *problem
	var answer apierrors.APIStatus
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return known.text
	case errors.Is(err, errBusy):
		return errBusy.Error()
	case errors.As(err, &answer):
		// Not from our client, such as from a fake.
		status := answer.Status()
		wanted := request{verb: "access"}
		if details := status.Details; details != nil {
			wanted.resource.Group, wanted.resource.Resource, wanted.name = details.Group, details.Kind, details.Name
		}
		return wanted.refusal(status.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("the cluster answers too slowly for all that has to be done in %d s; it is tried again", int(Budget.Seconds()))
	default:
		return "the call to the cluster failed"
	}
}
