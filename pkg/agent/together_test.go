package agent

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// meetingPoint lets a delete go on only when so many are under way.
type meetingPoint struct {
	client.Client
	mu      sync.Mutex
	running int
	want    int
	full    chan struct{}
}

func (m *meetingPoint) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	m.mu.Lock()
	if m.running++; m.running == m.want {
		close(m.full)
	}
	m.mu.Unlock()
	select {
	case <-m.full:
	case <-ctx.Done():
		return ctx.Err()
	}
	return m.Client.Delete(ctx, object, opts...)
}

// TestDownstreamNamespacesAreRemovedTogether: none waits for another, which may take its time.
func TestDownstreamNamespacesAreRemovedTogether(t *testing.T) {
	c := testConfig()
	s := newServer(t)
	for i := range removers {
		mustApply(t, s, DownstreamNamespace(c, fmt.Sprint("shop-", i)))
	}
	together := &meetingPoint{Client: s, want: removers, full: make(chan struct{})}
	namespaces := DownstreamNamespaces{Client: together, Key: c.key(), Resources: served, Clean: redact}
	all, err := namespaces.List(t.Context())
	if err != nil || len(all) != removers {
		t.Fatalf("%d namespaces, %v", len(all), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if waiting, ended, _, err := namespaces.Remove(ctx, all, false); err != nil || ended != removers {
		t.Errorf("Remove() = %q, %d, %v", waiting, ended, err)
	}
}
