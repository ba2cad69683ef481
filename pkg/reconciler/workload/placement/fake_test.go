package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var errInjected = errors.New("injected")

// server is controller-runtime's fake of an API server with what it lacks: it gives UIDs, checks the preconditions of deletes and the
// UIDs of patches, hides Namespaces, records what is asked of it, and fails when told to.
type server struct {
	client.Client
	raw   client.WithWatch
	clock *clocktesting.FakeClock

	mu     sync.Mutex
	reads  []string
	writes []string
	// failWrite fails the n-th write, counted from 1; with lost, the write is made but its answer is lost.
	failWrite int
	lost      bool
	// refuse is asked before each request, such as `create Assignment "ns/name"`; an error is the answer.
	refuse func(request string) error
	// hidden are the Namespaces that the service may not see.
	hidden sets.Set[string]
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func newServer(t *testing.T, clock *clocktesting.FakeClock, objects ...client.Object) *server {
	t.Helper()
	s := &server{clock: clock, refuse: func(string) error { return nil }, hidden: sets.New[string]()}
	s.raw = fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(objects...).
		WithStatusSubresource(&workloadv1alpha1.SyncTarget{}, &workloadv1alpha1.Placement{}, &workloadv1alpha1.Assignment{}).Build()
	s.Client = interceptor.NewClient(s.raw, interceptor.Funcs{
		Get: func(ctx context.Context, raw client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return s.read("get", obj, key, func() error { return s.visible().Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, raw client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return s.read("list", list, client.ObjectKey{}, func() error { return s.visible().List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return s.write("create", obj, func() error {
				obj.SetUID(types.UID("uid-" + obj.GetNamespace() + "-" + obj.GetName()))
				obj.SetCreationTimestamp(metav1.NewTime(s.clock.Now()))
				return raw.Create(ctx, obj, opts...)
			})
		},
		Patch: func(ctx context.Context, raw client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return s.write("patch", obj, func() error {
				if err := s.checkUID(ctx, obj, patch); err != nil {
					return err
				}
				return raw.Patch(ctx, obj, patch, opts...)
			})
		},
		Delete: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return s.write("delete", obj, func() error { return s.delete(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, raw client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return s.write("patch-"+sub, obj, func() error {
				if err := s.checkUID(ctx, obj, patch); err != nil {
					return err
				}
				return raw.SubResource(sub).Patch(ctx, obj, patch, opts...)
			})
		},
	})
	return s
}

func (s *server) kind(obj runtime.Object) string {
	gvk, err := apiutil.GVKForObject(obj, s.raw.Scheme())
	if err != nil {
		return fmt.Sprintf("%T", obj)
	}
	return gvk.Kind
}

func (s *server) read(verb string, obj runtime.Object, key client.ObjectKey, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := fmt.Sprintf("%s %s %q", verb, s.kind(obj), strings.TrimPrefix(key.String(), "/"))
	s.reads = append(s.reads, request)
	if err := s.refuse(request); err != nil {
		return err
	}
	return do()
}

func (s *server) write(verb string, obj client.Object, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := fmt.Sprintf("%s %s %q", verb, s.kind(obj), strings.TrimPrefix(client.ObjectKeyFromObject(obj).String(), "/"))
	s.writes = append(s.writes, request)
	if err := s.refuse(request); err != nil {
		return err
	}
	if len(s.writes) == s.failWrite {
		if s.lost {
			_ = do()
		}
		return errInjected
	}
	return do()
}

// checkUID answers a patch with a UID as an API server does.
func (s *server) checkUID(ctx context.Context, obj client.Object, patch client.Patch) error {
	data, err := patch.Data(obj)
	if err != nil {
		return err
	}
	var asked metav1.PartialObjectMetadata
	if err := json.Unmarshal(data, &asked); err != nil || asked.UID == "" {
		return err
	}
	live := &metav1.PartialObjectMetadata{}
	gvk, err := apiutil.GVKForObject(obj, s.raw.Scheme())
	if err != nil {
		return err
	}
	live.SetGroupVersionKind(gvk)
	if err := s.raw.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return err
	}
	if live.UID != asked.UID {
		return apierrors.NewConflict(corev1.Resource("any"), obj.GetName(), errors.New("another UID"))
	}
	return nil
}

func (s *server) delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	want := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
	if want == nil || want.UID == nil || want.ResourceVersion == nil {
		return errors.New("deleted without preconditions")
	}
	live := &workloadv1alpha1.Assignment{}
	if err := s.raw.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return err
	}
	if live.UID != *want.UID || live.ResourceVersion != *want.ResourceVersion {
		return apierrors.NewConflict(corev1.Resource("assignments"), obj.GetName(), errors.New("another version"))
	}
	return s.raw.Delete(ctx, obj)
}

// visible reads what the service may see.
func (s *server) visible() client.Reader { return &visible{reader: s.raw, hidden: s.hidden} }

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads, s.writes = nil, nil
}

// requests are those of a verb and a kind, in order.
func (s *server) requests(prefix string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range slices.Concat(s.reads, s.writes) {
		if strings.HasPrefix(request, prefix) {
			found = append(found, request)
		}
	}
	return found
}

// visible hides Namespaces as a selector of a permission claim does.
type visible struct {
	reader client.Reader
	hidden sets.Set[string]
}

func (v *visible) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if partial, ok := obj.(*metav1.PartialObjectMetadata); ok && partial.Kind == "Namespace" && v.hidden.Has(key.Name) {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
	}
	return v.reader.Get(ctx, key, obj, opts...)
}

func (v *visible) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := v.reader.List(ctx, list, opts...); err != nil {
		return err
	}
	if partial, ok := list.(*metav1.PartialObjectMetadataList); ok {
		partial.Items = slices.DeleteFunc(partial.Items, func(m metav1.PartialObjectMetadata) bool { return v.hidden.Has(m.Name) })
	}
	return nil
}

// copyOf is a cache that stays as the server is now.
func (s *server) copyOf(t *testing.T) client.Reader {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(s.raw.Scheme())
	for _, list := range []client.ObjectList{
		&workloadv1alpha1.SyncTargetList{}, &workloadv1alpha1.PlacementList{}, &workloadv1alpha1.AssignmentList{},
		&corev1.NamespaceList{}, &apisv1alpha2.APIBindingList{},
	} {
		if err := s.raw.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			t.Fatal(err)
		}
		builder = builder.WithRuntimeObjects(objects...)
	}
	return &visible{reader: builder.Build(), hidden: s.hidden.Clone()}
}

// logicalCluster is one. Its cache is up to date, unless a test puts another reader there.
type logicalCluster struct {
	cluster.Cluster
	reader client.Reader
}

func (l *logicalCluster) GetCache() cache.Cache { return &cached{reader: l.reader} }
func (l *logicalCluster) GetConfig() *rest.Config {
	return &rest.Config{Host: "https://kcp.example.com"}
}

type cached struct {
	cache.Cache
	reader client.Reader
}

func (c *cached) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return c.reader.Get(ctx, key, obj, opts...)
}

func (c *cached) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.reader.List(ctx, list, opts...)
}

// served are the logical clusters that are served.
type served map[multicluster.ClusterName]cluster.Cluster

func (s served) GetCluster(_ context.Context, name multicluster.ClusterName) (cluster.Cluster, error) {
	if found, ok := s[name]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("logical cluster %q: %w", name, multicluster.ErrClusterNotFound)
}

// recorder records Events in the form: kind name: type reason.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Event(_ multicluster.ClusterName, object client.Object, eventType, reason, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := "Placement"
	if _, ok := object.(*metav1.PartialObjectMetadata); ok {
		kind = object.GetObjectKind().GroupVersionKind().Kind
	}
	r.events = append(r.events, fmt.Sprintf("%s %s: %s %s", kind, object.GetName(), eventType, reason))
}

// silence pauses the evictions from these SyncTargets.
type silence struct{ paused sets.Set[types.UID] }

func (s *silence) EvictionPaused(_ multicluster.ClusterName, target types.UID) bool {
	return s.paused.Has(target)
}
