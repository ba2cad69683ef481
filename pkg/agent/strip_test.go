package agent

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestStrip: what our syncer has left on an object goes, and nothing else does.
func TestStrip(t *testing.T) {
	finalizer, report := workloadv1alpha1.SyncerFinalizer(testKey()), workloadv1alpha1.SyncAnnotation(testKey())
	tests := map[string]struct {
		reason      string
		namespace   string
		finalizers  []string
		annotations []string
		wantFinal   []string
		wantNotes   []string
		wantWrite   bool
	}{
		"held":            {"", "shop", []string{"other", finalizer}, []string{"note", report}, []string{"other"}, []string{"note"}, true},
		"reported alone":  {"What was refused is not held.", "shop", nil, []string{"note", report}, nil, []string{"note"}, true},
		"held alone":      {"The syncer ended in between.", "shop", []string{finalizer}, nil, nil, nil, true},
		"another's":       {"Each target has its own.", "shop", []string{workloadv1alpha1.SyncerFinalizer("other")}, []string{workloadv1alpha1.SyncAnnotation("other")}, []string{workloadv1alpha1.SyncerFinalizer("other")}, []string{workloadv1alpha1.SyncAnnotation("other")}, false},
		"other Namespace": {"It is stripped when its turn comes.", "bank", []string{finalizer}, []string{report}, []string{finalizer}, []string{report}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, Name: "object", Finalizers: tc.finalizers, Annotations: map[string]string{}}}
			for _, name := range tc.annotations {
				object.Annotations[name] = "{}"
			}
			mapper := meta.NewDefaultRESTMapper(nil)
			mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
			workspace := fake.NewClientBuilder().WithRESTMapper(mapper).WithObjects(object).Build()
			before := live(t, workspace, tc.namespace)
			for _, resource := range []string{"configmaps", "widgets"} { // widgets are not served
				if err := stripResource(t.Context(), workspace, testKey(), schema.GroupResource{Resource: resource}, "shop"); err != nil {
					t.Fatal(err)
				}
			}
			after := live(t, workspace, tc.namespace)
			var notes []string
			for name := range after.Annotations {
				notes = append(notes, name)
			}
			slices.Sort(notes)
			if diff := cmp.Diff([][]string{tc.wantFinal, tc.wantNotes}, [][]string{after.Finalizers, notes}); diff != "" {
				t.Errorf("%s\nfinalizers and annotations: -want +got\n%s", tc.reason, diff)
			}
			if wrote := before.ResourceVersion != after.ResourceVersion; wrote != tc.wantWrite {
				t.Errorf("%s\nwrote = %t", tc.reason, wrote)
			}
		})
	}
}

// TestStripGoesOn: an object that changes meanwhile is read again, and one that cannot be stripped keeps no other from it.
func TestStripGoesOn(t *testing.T) {
	held := func(name string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Finalizers: []string{workloadv1alpha1.SyncerFinalizer(testKey())}}}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	conflicts := 1
	workspace := fake.NewClientBuilder().WithRESTMapper(mapper).WithObjects(held("broken"), held("busy"), held("object")).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			switch {
			case o.GetName() == "broken":
				return apierrors.NewInternalError(errInjected)
			case o.GetName() == "busy" && conflicts > 0:
				conflicts--
				return apierrors.NewConflict(corev1.Resource("configmaps"), o.GetName(), errInjected)
			}
			return c.Patch(ctx, o, patch, opts...)
		},
	}).Build()
	err := stripResource(t.Context(), workspace, testKey(), schema.GroupResource{Resource: "configmaps"}, "shop")
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("stripResource() = %v", err)
	}
	var left corev1.ConfigMapList
	if err := workspace.List(t.Context(), &left); err != nil {
		t.Fatal(err)
	}
	for _, o := range left.Items {
		if held := len(o.Finalizers) > 0; held != (o.Name == "broken") {
			t.Errorf("%s is held: %t", o.Name, held)
		}
	}
}

func live(t *testing.T, workspace client.Client, namespace string) *corev1.ConfigMap {
	t.Helper()
	var object corev1.ConfigMap
	if err := workspace.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "object"}, &object); err != nil {
		t.Fatal(err)
	}
	return &object
}

// TestStripRefused: what a token that is no longer good is told, before anything is found out about resources.
func TestStripRefused(t *testing.T) {
	kcp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer header.payload.signature" {
			t.Errorf("Authorization: %q", r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(apierrors.NewUnauthorized("Unauthorized").Status())
	}))
	defer kcp.Close()
	c := testConfig()
	c.KcpURL, c.KcpCA = kcp.URL, nil
	if err := Strip(t.Context(), c, c.AsSyncer(c.Token), "shop"); !apierrors.IsUnauthorized(err) {
		t.Errorf("Strip() = %v", err)
	}
}
