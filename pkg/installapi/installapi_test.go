package installapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/synctarget/synctarget/config/kcp"
)

// workspace is a provider workspace. It does what kcp does once the objects are there.
type workspace struct {
	client.Client
	raw client.WithWatch
	// refused are the answers to writes, by kind and name.
	refused map[string]error
	// reads counts reads of the APIExport; from the usableAfter-th on, kcp has made it usable.
	reads, usableAfter int
	// without is what kcp does not make: identity, slice or token.
	without string
}

func newWorkspace(t *testing.T, objects ...client.Object) *workspace {
	t.Helper()
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, apisv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	w := &workspace{raw: fake.NewClientBuilder().WithScheme(types).WithReturnManagedFields().WithObjects(objects...).Build(), usableAfter: 1}
	w.Client = interceptor.NewClient(w.raw, interceptor.Funcs{
		Create: func(ctx context.Context, raw client.WithWatch, object client.Object, opts ...client.CreateOption) error {
			if err := w.refused[object.GetObjectKind().GroupVersionKind().Kind+" "+object.GetName()]; err != nil {
				return err
			}
			return raw.Create(ctx, object, opts...)
		},
		Apply: func(ctx context.Context, raw client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			named := object.(interface {
				GetKind() string
				GetName() string
			})
			if err := w.refused[named.GetKind()+" "+named.GetName()]; err != nil {
				return err
			}
			return raw.Apply(ctx, object, opts...)
		},
		Get: func(ctx context.Context, raw client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			if _, ok := object.(*apisv1alpha2.APIExport); ok {
				if w.reads++; w.reads >= w.usableAfter {
					w.makeUsable(t)
				}
			}
			return raw.Get(ctx, key, object, opts...)
		},
	})
	return w
}

// makeUsable is what the controllers of kcp do.
func (w *workspace) makeUsable(t *testing.T) {
	t.Helper()
	slice := &apisv1alpha1.APIExportEndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "workload.kcp.io"}}
	if w.without != "slice" {
		if err := w.raw.Create(t.Context(), slice); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Error(err)
		}
	}
	if w.without != "identity" {
		w.patch(t, &apisv1alpha2.APIExport{ObjectMeta: metav1.ObjectMeta{Name: "workload.kcp.io"}}, `{"status":{"identityHash":"abc"}}`)
	}
	if w.without != "token" {
		w.patch(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tokenKey.Namespace, Name: tokenKey.Name}}, `{"data":{"token":"YWJj"}}`)
	}
}

func (w *workspace) patch(t *testing.T, object client.Object, patch string) {
	t.Helper()
	if err := w.raw.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Error(err)
	}
}

// install runs Install, and returns the lines that it prints.
func (w *workspace) install(ctx context.Context) ([]string, error) {
	var out bytes.Buffer
	err := Install(ctx, w, &out)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), err
}

// schemas are the names of the APIResourceSchemas, in which there is the commit of a change.
func schemas(t *testing.T) (names []string) {
	t.Helper()
	objects, err := kcp.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetKind() == "APIResourceSchema" {
			names = append(names, object.GetName())
		}
	}
	return names
}

// TestInstall: schemas come before the export that refers to them, a Namespace before what is in it, roles before bindings.
func TestInstall(t *testing.T) {
	w := newWorkspace(t)
	got, err := w.install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := schemas(t)
	want := []string{
		`APIResourceSchema "` + names[0] + `" created`,
		`APIResourceSchema "` + names[1] + `" created`,
		`APIResourceSchema "` + names[2] + `" created`,
		`APIExport "workload.kcp.io" applied`,
		`Namespace "synctarget-system" applied`,
		`ClusterRole "workload.kcp.io:bind" applied`,
		`ClusterRole "synctarget-controller" applied`,
		`ClusterRoleBinding "workload.kcp.io:bind" applied`,
		`ClusterRoleBinding "synctarget-controller" applied`,
		`ServiceAccount "synctarget-system/synctarget-controller" applied`,
		`Secret "synctarget-system/synctarget-controller-token" applied`,
		`APIExport "workload.kcp.io" usable`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	export := &apisv1alpha2.APIExport{}
	if err := w.Get(t.Context(), types.NamespacedName{Name: "workload.kcp.io"}, export); err != nil || len(export.Spec.PermissionClaims) == 0 {
		t.Errorf("the APIExport has %d permission claims, %v", len(export.Spec.PermissionClaims), err)
	}
}

// TestOrderIsComplete: a kind that order does not name would be applied first.
func TestOrderIsComplete(t *testing.T) {
	objects, err := kcp.Objects()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, kind := range order {
		known[kind] = true
	}
	for _, object := range objects {
		if !known[object.GetKind()] {
			t.Errorf("order lacks %s", object.GetKind())
		}
	}
}

// TestInstallAgain: a schema of the same name is left as it is, since it is immutable; the token stays.
func TestInstallAgain(t *testing.T) {
	name := schemas(t)[0]
	w := newWorkspace(t, &apisv1alpha1.APIResourceSchema{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"before": "true"}}})
	for range 2 {
		lines, err := w.install(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := `APIResourceSchema "` + name + `" unchanged`; lines[0] != want {
			t.Errorf("%q, want %q", lines[0], want)
		}
	}
	left, secret := &apisv1alpha1.APIResourceSchema{}, &corev1.Secret{}
	if err := w.raw.Get(t.Context(), types.NamespacedName{Name: name}, left); err != nil || left.Labels["before"] != "true" || left.Spec.Group != "" {
		t.Errorf("the schema was written: %v, %v", left, err)
	}
	if err := w.raw.Get(t.Context(), tokenKey, secret); err != nil || string(secret.Data["token"]) != "abc" {
		t.Errorf("the token is %q, %v", secret.Data["token"], err)
	}
}

// TestAfterKubectl: what `kubectl apply -k config/kcp` of an earlier version has written, and this one does not have, goes.
func TestAfterKubectl(t *testing.T) {
	w := newWorkspace(t)
	before := &apisv1alpha2.APIExport{ObjectMeta: metav1.ObjectMeta{Name: "workload.kcp.io", Annotations: map[string]string{
		corev1.LastAppliedConfigAnnotation: "{}", "of-an-earlier-version": "true",
	}}}
	if err := w.raw.Create(t.Context(), before, client.FieldOwner(kubectlOwner)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := &apisv1alpha2.APIExport{}
	if err := w.raw.Get(t.Context(), client.ObjectKeyFromObject(before), after); err != nil || after.Annotations["of-an-earlier-version"] != "" {
		t.Errorf("annotations are %v, %v", after.Annotations, err)
	}
}

func TestErrors(t *testing.T) {
	resource := schema.GroupResource{Group: "apis.kcp.io", Resource: "apiexports"}
	kind := schema.GroupKind{Group: "apis.kcp.io", Kind: "APIExport"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"Forbidden":    {apierrors.NewForbidden(resource, "workload.kcp.io", errors.New("no")), "its user needs the rights that docs/install.md lists"},
		"Unauthorized": {apierrors.NewUnauthorized("no"), "replace the credentials in --kubeconfig"},
		"NotKcp":       {&meta.NoKindMatchError{GroupKind: kind}, "must be the URL of a workspace of kcp"},
		"NoWorkspace":  {apierrors.NewGenericServerResponse(http.StatusNotFound, "patch", resource, "", "", 0, true), "must be the URL of a workspace of kcp"},
		"Immutable":    {apierrors.NewInvalid(kind, "workload.kcp.io", nil), "delete it and repeat the command"},
		"Other":        {apierrors.NewServiceUnavailable("etcd"), "repeat the command when this is solved"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t)
			w.refused = map[string]error{"APIExport workload.kcp.io": test.err}
			lines, err := w.install(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), `applying APIExport "workload.kcp.io": `) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want the object and %q", err, test.want)
			}
			if !errors.Is(err, test.err) {
				t.Errorf("%v does not wrap the answer", err)
			}
			if len(lines) != len(schemas(t)) {
				t.Errorf("after the error more was applied: %q", lines)
			}
		})
	}
}

func TestSchemaRefused(t *testing.T) {
	w := newWorkspace(t)
	name := schemas(t)[0]
	w.refused = map[string]error{"APIResourceSchema " + name: apierrors.NewForbidden(schema.GroupResource{}, name, errors.New("no"))}
	if _, err := w.install(t.Context()); err == nil || !strings.HasPrefix(err.Error(), `applying APIResourceSchema "`+name+`": `) {
		t.Errorf("%v", err)
	}
}

func TestWait(t *testing.T) {
	for name, test := range map[string]struct {
		usableAfter int
		without     string
		want        string // the error, or nothing
	}{
		"Later":      {usableAfter: 5},
		"NoIdentity": {without: "identity", want: `waiting for kcp: APIExport "workload.kcp.io" has no identity`},
		"NoSlice":    {without: "slice", want: `waiting for kcp: APIExportEndpointSlice "workload.kcp.io", which kcp creates`},
		"NoToken":    {without: "token", want: `waiting for kcp: Secret "synctarget-system/synctarget-controller-token" has no token`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkspace(t)
				w.usableAfter, w.without = test.usableAfter, test.without
				_, err := w.install(t.Context())
				switch {
				case test.want == "" && (err != nil || w.reads != test.usableAfter):
					t.Errorf("%v after %d reads, want %d", err, w.reads, test.usableAfter)
				case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
					t.Errorf("%v, want %s", err, test.want)
				}
			})
		})
	}
}
