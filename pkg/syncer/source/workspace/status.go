package workspace

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// WriteStatus writes status.syncedResources and status.syncedNamespaces.
func (s *Source) WriteStatus(ctx context.Context, status source.Status) error {
	live, err := s.Target.Get(ctx) // the cache may be a heartbeat behind
	if err != nil {
		return err
	}
	names := []string{}
	for _, n := range status.SyncedNamespaces {
		names = append(names, n.Name)
	}
	return s.patchStatus(ctx, live, map[string]any{"syncedResources": status.Resources, "syncedNamespaces": names})
}

// WriteWithdrawn writes changes of status.drainedNamespaces in one patch: true adds a Namespace, and false removes it.
// It returns the Namespaces that were not added, since kcp shows that they are not closing.
func (s *Source) WriteWithdrawn(ctx context.Context, changes map[source.Namespace]bool) (notWanted []source.Namespace, err error) {
	live, err := s.Target.Get(ctx)
	if err != nil {
		return nil, err
	}
	if string(live.UID) != s.Owner.UID {
		return slices.Collect(maps.Keys(changes)), nil
	}
	byName := map[string]bool{}
	for n, drained := range changes {
		byName[n.Name] = drained
	}
	drained, notClosing := applyDrained(live.Status, byName)
	if slices.Equal(drained, live.Status.DrainedNamespaces) {
		return s.namespaces(notClosing), nil
	}
	return s.namespaces(notClosing), s.patchStatus(ctx, live, map[string]any{"drainedNamespaces": drained})
}

// applyDrained returns status.drainedNamespaces with these changes, and the Namespaces that were not added since they
// are not closing.
func applyDrained(status workloadv1alpha1.SyncTargetStatus, changes map[string]bool) (drained, notClosing []string) {
	closing := map[string]bool{}
	for _, n := range status.Namespaces {
		closing[n.Name] = n.State == workloadv1alpha1.NamespaceClosing
	}
	names := sets.New(status.DrainedNamespaces...)
	for name, isDrained := range changes {
		switch {
		case !isDrained:
			names.Delete(name)
		case closing[name]:
			names.Insert(name)
		default:
			notClosing = append(notClosing, name)
		}
	}
	return sets.List(names), notClosing
}

// patchStatus sets fields of the SyncTarget's status that are ours, unless it changed since it was read.
func (s *Source) patchStatus(ctx context.Context, read *workloadv1alpha1.SyncTarget, fields map[string]any) error {
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": types.UID(s.Owner.UID)},
		{"op": "test", "path": "/metadata/resourceVersion", "value": read.ResourceVersion},
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		patch = append(patch, map[string]any{"op": "add", "path": "/status/" + name, "value": fields[name]})
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return s.Target.PatchStatus(ctx, body)
}
