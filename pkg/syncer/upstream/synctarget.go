package upstream

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	resource = "synctargets"
	// answerTime bounds each request: of a connection that died in silence the kernel tells after a quarter of an hour.
	answerTime = 15 * time.Second
)

// SyncTarget reads and patches one SyncTarget: all that the syncer may do with the API of this service.
// Nothing is retried here. Errors wrap the API server's.
type SyncTarget struct {
	name     string
	upstream rest.Interface
}

// NewSyncTarget returns the SyncTarget of this name in the workspace that config leads to.
func NewSyncTarget(config *rest.Config, name string) (*SyncTarget, error) {
	upstream, err := newClient(config, workloadv1alpha1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return &SyncTarget{name: name, upstream: upstream}, nil
}

// newClient returns a client of one API in the workspace that config leads to.
func newClient(config *rest.Config, version schema.GroupVersion) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := workloadv1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the SyncTarget API: %w", err)
	}
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)

	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &version
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// Over HTTP/2 a connection that died in silence is kept, and every request on it lost, until its own ping
	// times out after 45 s. Over HTTP/1.1 the next request after a lost one gets a new connection.
	config.NextProtos = []string{"http/1.1"}
	config.Timeout = answerTime

	upstream, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to kcp: %w", err)
	}
	return upstream, nil
}

// Get reads the SyncTarget.
func (s *SyncTarget) Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	var target workloadv1alpha1.SyncTarget
	err := s.upstream.Get().Resource(resource).Name(s.name).MaxRetries(0).Do(ctx).Into(&target)
	if err != nil {
		return nil, fmt.Errorf("reading SyncTarget %q: %w", s.name, err)
	}
	return &target, nil
}

// PatchStatus applies a JSON patch (RFC 6902) to the SyncTarget's status. A patch whose test fails, or that
// does not fit, is refused with 422 (apierrors.IsInvalid).
func (s *SyncTarget) PatchStatus(ctx context.Context, patch []byte) error {
	err := s.upstream.Patch(types.JSONPatchType).Resource(resource).Name(s.name).SubResource("status").
		Body(patch).MaxRetries(0).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patching the status of SyncTarget %q: %w", s.name, err)
	}
	return nil
}
