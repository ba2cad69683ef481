package plugin

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// controllerVersions are the versions of the controller that are written to the Namespaces of the syncers of a workspace, by the UID
// of the SyncTarget.
func controllerVersions(ctx context.Context, workspace *connection) (map[types.UID]string, error) {
	var namespaces corev1.NamespaceList
	if err := workspace.List(ctx, &namespaces, client.HasLabels{workloadv1alpha1.LabelUID}); err != nil {
		return nil, fmt.Errorf("listing the Namespaces of %s: %w", workspace.name, err)
	}
	versions := map[types.UID]string{}
	for i := range namespaces.Items {
		if version := controllerVersionOf(&namespaces.Items[i]); version != "" {
			versions[types.UID(namespaces.Items[i].Labels[workloadv1alpha1.LabelUID])] = version
		}
	}
	return versions, nil
}

// controllerVersion is the version of the controller that is written for one SyncTarget; empty if there is none, or if it may not be
// read.
func controllerVersion(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) (string, error) {
	if target.Status.Key == "" {
		return "", nil // the controller has yet to see the SyncTarget
	}
	namespace := &corev1.Namespace{}
	name := workloadv1alpha1.SyncerNamespace(target.Name, target.Status.Key)
	err := workspace.Get(ctx, client.ObjectKey{Name: name}, namespace)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading Namespace %q in %s: %w", name, workspace.name, err)
	case namespace.Labels[workloadv1alpha1.LabelUID] != string(target.UID):
		return "", nil // it is left of an earlier SyncTarget of this name
	}
	return controllerVersionOf(namespace), nil
}

// controllerVersionOf is what the annotation says, which the users of the workspace may write, too.
func controllerVersionOf(namespace *corev1.Namespace) string {
	return sanitize.Line(namespace.Annotations[workloadv1alpha1.AnnotationControllerVersion])
}
