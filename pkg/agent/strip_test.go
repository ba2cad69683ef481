package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
				if _, err := stripResource(t.Context(), workspace, testKey(), schema.GroupResource{Resource: resource}, "shop"); err != nil {
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

// TestStripTakesTheStatusOff: a status that the syncer has written tells of a copy that nobody follows any more.
func TestStripTakesTheStatusOff(t *testing.T) {
	available := appsv1.DeploymentStatus{Replicas: 3, AvailableReplicas: 3}
	completed := batchv1.JobStatus{Succeeded: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}
	at := func(finalizers ...string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: "object", UID: "source", Finalizers: finalizers}
	}
	reported := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		m.Annotations = map[string]string{workloadv1alpha1.SyncAnnotation(testKey()): "{}"}
		return m
	}
	ours, others := workloadv1alpha1.SyncerFinalizer(testKey()), workloadv1alpha1.SyncerFinalizer("other")
	tests := map[string]struct {
		reason  string
		object  client.Object
		owner   string
		refused error
		cleared bool
		fails   bool
	}{
		"of a Deployment":        {"", &appsv1.Deployment{ObjectMeta: at(ours), Status: available}, workloadv1alpha1.FieldOwnerSyncer, nil, true, false},
		"of a Job":               {"It has not ended.", &batchv1.Job{ObjectMeta: at(ours), Status: batchv1.JobStatus{Active: 1}}, workloadv1alpha1.FieldOwnerSyncer, nil, true, false},
		"of a Job that has run":  {"It is not to run again.", &batchv1.Job{ObjectMeta: at(ours), Status: completed}, workloadv1alpha1.FieldOwnerSyncer, nil, false, false},
		"held by another syncer": {"Its copy is followed.", &appsv1.Deployment{ObjectMeta: at(ours, others), Status: available}, workloadv1alpha1.FieldOwnerSyncer, nil, false, false},
		"not held":               {"What is there is of somebody else by now.", &appsv1.Deployment{ObjectMeta: reported(at()), Status: available}, workloadv1alpha1.FieldOwnerSyncer, nil, false, false},
		"by somebody else":       {"", &appsv1.Deployment{ObjectMeta: at(ours), Status: available}, "somebody", nil, false, false},
		"refused":                {"It holds the object no longer.", &appsv1.Deployment{ObjectMeta: at(ours), Status: available}, workloadv1alpha1.FieldOwnerSyncer, apierrors.NewForbidden(schema.GroupResource{}, "object", errInjected), false, false},
		"by a broken webhook":    {"", &appsv1.Deployment{ObjectMeta: at(ours), Status: available}, workloadv1alpha1.FieldOwnerSyncer, apierrors.NewInternalError(errInjected), false, false},
		"not now":                {"Once the finalizer is gone nobody would come back.", &appsv1.Deployment{ObjectMeta: at(ours), Status: available}, workloadv1alpha1.FieldOwnerSyncer, apierrors.NewServiceUnavailable("restarting"), false, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			mapper := meta.NewDefaultRESTMapper(nil)
			mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
			mapper.Add(batchv1.SchemeGroupVersion.WithKind("Job"), meta.RESTScopeNamespace)
			workspace := fake.NewClientBuilder().WithRESTMapper(mapper).WithObjects(tc.object).WithStatusSubresource(tc.object).WithInterceptorFuncs(interceptor.Funcs{
				// The fake does not note who has written a status.
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					err := c.List(ctx, list, opts...)
					for i := range list.(*metav1.PartialObjectMetadataList).Items {
						list.(*metav1.PartialObjectMetadataList).Items[i].ManagedFields = []metav1.ManagedFieldsEntry{{Manager: tc.owner, Subresource: "status"}}
					}
					return err
				},
				SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
					if tc.refused != nil {
						return tc.refused
					}
					return c.SubResource(sub).Patch(ctx, o, patch, opts...)
				},
			}).Build()
			resource := schema.GroupResource{Group: "apps", Resource: "deployments"}
			if _, ok := tc.object.(*batchv1.Job); ok {
				resource = schema.GroupResource{Group: "batch", Resource: "jobs"}
			}
			if _, err := stripResource(t.Context(), workspace, testKey(), resource, "shop"); (err != nil) != tc.fails {
				t.Fatalf("%s\nstripResource() = %v", tc.reason, err)
			}
			left := &unstructured.Unstructured{}
			gvk, err := workspace.GroupVersionKindFor(tc.object)
			if err != nil {
				t.Fatal(err)
			}
			left.SetGroupVersionKind(gvk)
			if err := workspace.Get(t.Context(), client.ObjectKeyFromObject(tc.object), left); err != nil {
				t.Fatal(err)
			}
			if status, _, _ := unstructured.NestedMap(left.Object, "status"); (len(status) == 0) != tc.cleared {
				t.Errorf("%s\nthe status is %v", tc.reason, status)
			}
			if slices.Contains(left.GetFinalizers(), ours) != tc.fails {
				t.Errorf("%s\nheld by %q", tc.reason, left.GetFinalizers())
			}
		})
	}
}

// TestStripInPages: however many there are, and whatever is in them, few of them are held in memory at once.
func TestStripInPages(t *testing.T) {
	held := func(name string) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Finalizers: []string{workloadv1alpha1.SyncerFinalizer(testKey())}}}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	pages := map[string]metav1.PartialObjectMetadataList{
		"":  {ListMeta: metav1.ListMeta{Continue: "2"}, Items: []metav1.PartialObjectMetadata{held("a")}},
		"2": {ListMeta: metav1.ListMeta{Continue: "3"}},
		"3": {Items: []metav1.PartialObjectMetadata{held("c")}},
	}
	var stripped []string
	workspace := fake.NewClientBuilder().WithRESTMapper(mapper).WithInterceptorFuncs(interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			o := (&client.ListOptions{}).ApplyOptions(opts)
			if o.Limit != pageSize {
				t.Errorf("a list of up to %d, 0 for all", o.Limit)
			}
			page := pages[o.Continue]
			page.DeepCopyInto(list.(*metav1.PartialObjectMetadataList))
			return nil
		},
		Patch: func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
			stripped = append(stripped, o.GetName())
			return nil
		},
	}).Build()
	if count, err := stripResource(t.Context(), workspace, testKey(), schema.GroupResource{Resource: "configmaps"}, "shop"); err != nil || count != 2 || !slices.Equal(stripped, []string{"a", "c"}) {
		t.Errorf("stripResource() = %d, %v, stripped %q", count, err, stripped)
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
	_, err := stripResource(t.Context(), workspace, testKey(), schema.GroupResource{Resource: "configmaps"}, "shop")
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

// ending is a context whose time is over when done is closed.
type ending struct {
	context.Context
	done chan struct{}
}

func (e ending) Done() <-chan struct{} { return e.done }

func (e ending) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestStripUnfinished: that the time was over is told as that, and not as a failure, if something was stripped; otherwise it
// would be begun again and again in vain.
func TestStripUnfinished(t *testing.T) {
	for name, tc := range map[string]struct {
		hangs      string
		unfinished bool
	}{
		"after the first": {"b", true},
		"at the first":    {"a", false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := ending{t.Context(), make(chan struct{})}
			const all = "/api/v1/namespaces/shop/configmaps"
			held := func(name string) metav1.PartialObjectMetadata {
				return metav1.PartialObjectMetadata{
					TypeMeta:   typeMeta("meta.k8s.io/v1", "PartialObjectMetadata"),
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "1", Finalizers: []string{workloadv1alpha1.SyncerFinalizer(testKey())}},
				}
			}
			answers := map[string]any{
				"/api":  metav1.APIVersions{TypeMeta: typeMeta("", "APIVersions"), Versions: []string{"v1"}},
				"/apis": metav1.APIGroupList{TypeMeta: typeMeta("v1", "APIGroupList")},
				"/api/v1": metav1.APIResourceList{TypeMeta: typeMeta("v1", "APIResourceList"), GroupVersion: "v1", APIResources: []metav1.APIResource{
					{Name: "configmaps", SingularName: "configmap", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"list", "patch"}},
				}},
				all: metav1.PartialObjectMetadataList{
					TypeMeta: typeMeta("meta.k8s.io/v1", "PartialObjectMetadataList"), Items: []metav1.PartialObjectMetadata{held("a"), held("b")},
				},
				all + "/a": held("a"), all + "/b": held("b"),
			}
			kcp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == all+"/"+tc.hangs {
					_, _ = io.Copy(io.Discard, r.Body) // or the server does not see the client leave
					close(ctx.done)
					<-r.Context().Done()
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
			}))
			defer kcp.Close()
			c := testConfig()
			c.KcpURL, c.KcpCA = kcp.URL, nil
			c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}}
			if err := Strip(ctx, c, c.AsSyncer(c.Token), "shop"); err == nil || errors.Is(err, ErrUnfinished) != tc.unfinished {
				t.Errorf("Strip() = %v", err)
			}
		})
	}
}
