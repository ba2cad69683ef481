package workspace

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// WriteStatus writes status.syncedResources of the SyncTarget, unless that changed since it was read.
func (s *Source) WriteStatus(ctx context.Context, resources []workloadv1alpha1.SyncedResourceStatus) error {
	live, err := s.Target.Get(ctx) // the cache may be a heartbeat behind
	if err != nil {
		return err
	}
	body, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": types.UID(s.Owner.UID)},
		{"op": "test", "path": "/metadata/resourceVersion", "value": live.ResourceVersion},
		{"op": "add", "path": "/status/syncedResources", "value": resources},
	})
	if err != nil {
		return err
	}
	return s.Target.PatchStatus(ctx, body)
}
