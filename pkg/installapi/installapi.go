// Package installapi applies config/kcp in the provider workspace, for the command `synctarget-controller install-api`.
package installapi

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/config/kcp"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// fieldOwner owns the fields that this package applies.
	fieldOwner = "synctarget-install-api"
	// kubectlOwner owns the fields that `kubectl apply` without --server-side has written.
	kubectlOwner = "kubectl-client-side-apply"

	timeout      = 2 * time.Minute
	pollInterval = time.Second
)

// tokenKey is the Secret of config/kcp for which kcp issues the token of the controller.
var tokenKey = types.NamespacedName{Namespace: "synctarget-system", Name: "synctarget-controller-token"}

// order says which kinds are applied first. An object comes after those that it refers to.
var order = []string{"APIResourceSchema", "APIExport", "Namespace", "ClusterRole", "ClusterRoleBinding", "ServiceAccount", "Secret"}

// Install applies config/kcp by the client of the provider workspace, and waits until the APIExport is usable. It prints one line for
// each object. It can be repeated after an error, which names the object and what to do.
func Install(ctx context.Context, c client.Client, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	objects, err := kcp.Objects()
	if err != nil {
		return fmt.Errorf("reading the embedded config/kcp: %w", err)
	}
	for _, object := range sorted(objects) {
		done, err := apply(ctx, c, object)
		if err != nil {
			return fmt.Errorf("applying %s: %w; %s", describe(object), err, remedy(err))
		}
		if _, err := fmt.Fprintf(out, "%s %s\n", describe(object), done); err != nil {
			return err
		}
	}
	return await(ctx, c, out)
}

func sorted(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.SortedStableFunc(slices.Values(objects), func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(slices.Index(order, a.GetKind()), slices.Index(order, b.GetKind()))
	})
}

// apply brings an object to what it should be, and returns what it did in a word. An APIResourceSchema is immutable: a changed schema has
// another name, so that one of the same name is left as it is.
func apply(ctx context.Context, c client.Client, object *unstructured.Unstructured) (done string, err error) {
	if object.GetKind() == "APIResourceSchema" {
		err := c.Create(ctx, object, client.FieldOwner(fieldOwner))
		if apierrors.IsAlreadyExists(err) {
			return "unchanged", nil
		}
		return "created", err
	}
	if err := takeOver(ctx, c, object); err != nil {
		return "", err
	}
	return "applied", c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldOwner), client.ForceOwnership)
}

// takeOver makes this package the owner of what `kubectl apply` has written. Without it, a permission claim that a new version does not
// have any more would stay, since kubectl would own it still.
func takeOver(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(object.GroupVersionKind())
	if err := c.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
		return client.IgnoreNotFound(err)
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(kubectlOwner), fieldOwner)
	if err != nil || patch == nil {
		return err
	}
	return c.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch))
}

// describe names an object: ServiceAccount "synctarget-system/synctarget-controller".
func describe(object *unstructured.Unstructured) string {
	name := object.GetName()
	if namespace := object.GetNamespace(); namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprintf("%s %q", object.GetKind(), name)
}

// remedy says what to do about an error of the API server.
func remedy(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "the server in --kubeconfig must be the URL of the provider workspace, and its user needs the rights that docs/install.md lists"
	case apierrors.IsUnauthorized(err):
		return "replace the credentials in --kubeconfig, which kcp does not accept"
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return "the server in --kubeconfig must be the URL of a workspace of kcp, as in https://kcp.example.com:6443/clusters/root:synctarget"
	case apierrors.IsInvalid(err):
		return "an object of this name has another value in a field that cannot be changed; delete it and repeat the command"
	}
	return "repeat the command when this is solved"
}

// await waits until workspaces can bind the APIExport, and until the token for the controller's kubeconfig is issued.
func await(ctx context.Context, c client.Client, out io.Writer) error {
	var missing string
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		var err error
		missing, err = findMissing(ctx, c)
		return missing == "" && err == nil, err
	})
	switch {
	case err == nil:
		_, err := fmt.Fprintf(out, "APIExport %q usable\n", workloadv1alpha1.GroupName)
		return err
	case wait.Interrupted(err):
		return fmt.Errorf("waiting for kcp: %s; see the log of kcp, and repeat the command", missing)
	}
	return fmt.Errorf("waiting for kcp: %w; %s", err, remedy(err))
}

// findMissing says what kcp has yet to do, or nothing.
func findMissing(ctx context.Context, c client.Client) (string, error) {
	export, slice, token := &apisv1alpha2.APIExport{}, &apisv1alpha1.APIExportEndpointSlice{}, &corev1.Secret{}
	name := types.NamespacedName{Name: workloadv1alpha1.GroupName}
	if err := c.Get(ctx, name, export); err != nil {
		return "", fmt.Errorf("reading APIExport %q: %w", name.Name, err)
	}
	if export.Status.IdentityHash == "" {
		return fmt.Sprintf("APIExport %q has no identity, so that no workspace can bind it", name.Name), nil
	}
	switch err := c.Get(ctx, name, slice); {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("APIExportEndpointSlice %q, which kcp creates with the APIExport, does not exist", name.Name), nil
	case err != nil:
		return "", fmt.Errorf("reading APIExportEndpointSlice %q: %w", name.Name, err)
	}
	if err := c.Get(ctx, tokenKey, token); err != nil {
		return "", fmt.Errorf("reading Secret %q: %w", tokenKey, err)
	}
	if len(token.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return fmt.Sprintf("Secret %q has no token", tokenKey), nil
	}
	return "", nil
}
