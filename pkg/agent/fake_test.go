package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var errInjected = errors.New("injected")

// server is controller-runtime's fake with what it lacks: it gives UIDs, minds them in deletes, lets a Namespace be
// deleted as a real one is, counts, and fails when told to.
type server struct {
	client.Client
	raw    client.WithWatch
	reads  []string
	writes []string
	uids   int
	// failWrite fails the n-th write, counted from 1; with lost, the write is made but its answer is lost.
	failWrite int
	lost      bool
	// sentUIDs are the UIDs that applies named, by object.
	sentUIDs map[string]types.UID
	// failApply is what every apply of a kind answers, and failList every list.
	failApply, failList map[string]error
	mu                  sync.Mutex // some requests are made at the same time; here they come one after the other
}

func newServer(t *testing.T, objects ...client.Object) *server {
	t.Helper()
	s := &server{raw: fake.NewClientBuilder().Build(), sentUIDs: map[string]types.UID{}}
	for _, object := range objects {
		object = object.DeepCopyObject().(client.Object)
		if object.GetUID() == "" {
			object.SetUID(s.nextUID())
		}
		if err := s.raw.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	s.Client = interceptor.NewClient(s.raw, interceptor.Funcs{
		Get: func(ctx context.Context, raw client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reads = append(s.reads, kindOf(obj)+" "+key.String())
			return raw.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, raw client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reads = append(s.reads, fmt.Sprintf("%T", list))
			if err := s.failList[list.GetObjectKind().GroupVersionKind().Kind]; err != nil {
				return err
			}
			return raw.List(ctx, list, opts...)
		},
		Apply: func(ctx context.Context, raw client.WithWatch, config runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			object := config.(interface {
				client.Object
				GroupVersionKind() schema.GroupVersionKind
			})
			return s.write("apply", object, func() error { return s.apply(ctx, object, config, opts...) })
		},
		Patch: func(ctx context.Context, raw client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return s.write("patch", obj, func() error { return raw.Patch(ctx, obj, patch, opts...) })
		},
		Delete: func(ctx context.Context, _ client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return s.write("delete", obj, func() error { return s.delete(ctx, obj, opts...) })
		},
	})
	return s
}

func (s *server) nextUID() types.UID {
	s.uids++
	return types.UID(fmt.Sprintf("live-%d", s.uids))
}

func (s *server) write(verb string, obj client.Object, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, verb+" "+describe(obj))
	if len(s.writes) == s.failWrite {
		if s.lost {
			_ = do()
		}
		return errInjected
	}
	return do()
}

func (s *server) apply(ctx context.Context, object client.Object, config runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if err := s.failApply[kindOf(object)]; err != nil {
		return err
	}
	s.sentUIDs[describe(object)] = object.GetUID()
	if err := s.raw.Apply(ctx, config, opts...); err != nil {
		return err
	}
	live, err := get(ctx, s.raw, object)
	if err != nil || live.GetUID() != "" {
		return err
	}
	live.SetUID(s.nextUID())
	return s.raw.Update(ctx, live)
}

func (s *server) delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	options := (&client.DeleteOptions{}).ApplyOptions(opts)
	live, err := get(ctx, s.raw, obj)
	if err != nil {
		return err
	}
	if live == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: kindOf(obj)}, obj.GetName())
	}
	if options.Preconditions == nil || options.Preconditions.UID == nil {
		return errors.New("deleted without a UID precondition")
	}
	if *options.Preconditions.UID != live.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Resource: kindOf(obj)}, obj.GetName(), errors.New("uid mismatch"))
	}
	if live.GetKind() == "Namespace" {
		live.SetFinalizers(append(live.GetFinalizers(), "kubernetes"))
		if err := s.raw.Update(ctx, live); err != nil {
			return err
		}
	}
	return s.raw.Delete(ctx, live)
}

// finishNamespaces does the work of the namespace controller.
func (s *server) finishNamespaces(t *testing.T) {
	t.Helper()
	for _, live := range s.all(t) {
		if live.GetNamespace() == "" {
			continue
		}
		namespace := &corev1.Namespace{}
		if err := s.raw.Get(t.Context(), client.ObjectKey{Name: live.GetNamespace()}, namespace); err != nil {
			t.Fatal(err)
		}
		if namespace.DeletionTimestamp != nil && live.GetDeletionTimestamp() == nil {
			if err := s.raw.Delete(t.Context(), live); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := s.all(t)
	for _, live := range left {
		inside := func(o *unstructured.Unstructured) bool { return o.GetNamespace() == live.GetName() }
		if live.GetKind() == "Namespace" && live.GetDeletionTimestamp() != nil && !slices.ContainsFunc(left, inside) {
			live.SetFinalizers(slices.DeleteFunc(live.GetFinalizers(), func(f string) bool { return f == "kubernetes" }))
			if err := s.raw.Update(t.Context(), live); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// all is everything there is of the kinds that matter here.
func (s *server) all(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, gvk := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Namespace"}, {Version: "v1", Kind: "ServiceAccount"}, {Version: "v1", Kind: "Secret"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := s.raw.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	return all
}

// names is all, described and sorted.
func (s *server) names(t *testing.T) []string {
	t.Helper()
	names := []string{}
	for _, live := range s.all(t) {
		names = append(names, describe(live))
	}
	slices.Sort(names)
	return names
}

// object reads one object; it fails the test when there is none.
func (s *server) object(t *testing.T, want client.Object) *unstructured.Unstructured {
	t.Helper()
	live, err := get(t.Context(), s.raw, want)
	if err != nil || live == nil {
		t.Fatalf("%s: %v, %v", describe(want), live, err)
	}
	return live
}

// edit changes an object behind our back.
func (s *server) edit(t *testing.T, which client.Object, change func(*unstructured.Unstructured)) {
	t.Helper()
	live := s.object(t, which)
	change(live)
	if err := s.raw.Update(t.Context(), live, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
}

func (s *server) forget() { s.reads, s.writes = nil, nil }

func kindOf(obj client.Object) string {
	if kind := obj.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return fmt.Sprintf("%T", obj)
}

// byKind picks the first object of a kind.
func byKind(t *testing.T, objects []client.Object, kind string) client.Object {
	t.Helper()
	for _, object := range objects {
		if kindOf(object) == kind {
			return object
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

// testConfig is a SyncTarget of the name edge-1 with nothing but defaults.
func testConfig() Config {
	return Config{
		Target:      &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", UID: "7c3a6f0e-1111-4222-8333-444455556666", Generation: 1}},
		ClusterName: "2vkq1d7w9hx0a3bc",
		Image:       "registry.example.com/synctarget/syncer:v0.1.0",
		KcpURL:      "https://kcp.example.com:6443/clusters/2vkq1d7w9hx0a3bc",
		KcpCA:       []byte("-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n"),
		Token:       []byte("header.payload.signature"),
	}
}

func testKey() string {
	c := testConfig()
	return c.key()
}
