package upstream

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Lease patches one Lease, by which the syncer sends its heartbeats. Nothing is retried here. Errors wrap the API server's.
type Lease struct {
	namespace, name string
	upstream        rest.Interface
}

// NewLease returns the Lease of this name in the workspace that config leads to.
func NewLease(config *rest.Config, namespace, name string) (*Lease, error) {
	upstream, err := newClient(config, coordinationv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return &Lease{namespace: namespace, name: name, upstream: upstream}, nil
}

// Patch applies a JSON patch (RFC 6902). A patch whose test fails, or that does not fit, is refused with 422
// (apierrors.IsInvalid).
func (l *Lease) Patch(ctx context.Context, patch []byte) error {
	err := l.upstream.Patch(types.JSONPatchType).Namespace(l.namespace).Resource("leases").Name(l.name).Body(patch).MaxRetries(0).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patching Lease %q in Namespace %q of the workspace: %w", l.name, l.namespace, err)
	}
	return nil
}
