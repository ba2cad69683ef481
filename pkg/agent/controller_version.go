package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// RecordVersion writes the version of the controller to the Namespace of the syncer's identity, unless it is there, and tells
// whether it has written. A Namespace of another SyncTarget is left alone.
//
// The version is no part of Identity: a controller of another version would then find each Namespace outdated, and write all of
// them when it starts. It is written by a patch, so Identity, which does not own the annotation, keeps it.
func RecordVersion(ctx context.Context, c client.Client, cfg Config, version, owner string) (changed bool, err error) {
	live, err := get(ctx, c, reference(corev1.SchemeGroupVersion.WithKind("Namespace"), "", cfg.namespace()))
	if err != nil || !cfg.hasInstalled(live) || live.GetAnnotations()[workloadv1alpha1.AnnotationControllerVersion] == version {
		return false, err
	}
	annotations := map[string]any{workloadv1alpha1.AnnotationControllerVersion: version}
	if err := mergeInto(ctx, c, live, owner, map[string]any{"metadata": map[string]any{"annotations": annotations}}); err != nil {
		return false, fmt.Errorf("writing the version of the controller to %s: %w", describe(live), err)
	}
	return true, nil
}
