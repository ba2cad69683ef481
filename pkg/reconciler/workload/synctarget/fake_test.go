package synctarget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

var errInjected = errors.New("injected")

// server is controller-runtime's fake of an API server with what it lacks: it gives UIDs and creation times, fills
// token Secrets, wants a UID precondition in each delete, records what is asked of it, and fails when told to.
type server struct {
	client.Client
	raw    client.WithWatch
	mu     sync.Mutex // some requests are made at the same time; here they come one after the other
	clock  *clocktesting.FakeClock
	reads  []string
	writes []string
	// statuses are the raw bodies of the writes to status.
	statuses []string
	// failWrite fails the n-th write, counted from 1; with lost, the write is made but its answer is lost.
	failWrite int
	lost      bool
	// refuse is asked before each request, such as `get Secret "default/edge-1"`; an error is the answer.
	refuse func(request string) error
	// hangs tells of an object of which no write is answered; nil for none.
	hangs func(client.Object) bool
	// token is what kcp issues; empty for none yet.
	token string
	// slowNamespaces keeps Namespaces that are deleted until finishNamespaces.
	slowNamespaces bool
}

// newScheme has no more than it needs: the fake goes through all of it with each write.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func newServer(t *testing.T, clock *clocktesting.FakeClock, objects ...client.Object) *server {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(newScheme(t)).WithStatusSubresource(&workloadv1alpha1.SyncTarget{}, &workloadv1alpha1.Assignment{}).
		WithTypeConverters(managedfields.NewDeducedTypeConverter()) // as good here, and made in no time
	if err := addIndexes(t.Context(), indexer{builder}); err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		builder = builder.WithObjects(object.DeepCopyObject().(client.Object))
	}
	s := &server{raw: builder.Build(), clock: clock, token: "header.payload.signature", refuse: func(string) error { return nil }}
	s.Client = interceptor.NewClient(s.raw, interceptor.Funcs{
		Get: func(ctx context.Context, raw client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return s.read("get", s.kind(obj), key, func() error { return raw.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, raw client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return s.read("list", s.kind(list), client.ObjectKey{}, func() error { return raw.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return s.write("create", obj, func() error { return raw.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return s.write("update", obj, func() error { return raw.Update(ctx, obj, opts...) })
		},
		Apply: func(ctx context.Context, _ client.WithWatch, config runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if s.hangs != nil && s.hangs(config.(client.Object)) {
				<-ctx.Done()
				return ctx.Err()
			}
			return s.write("apply", config.(client.Object), func() error { return s.apply(ctx, config, opts...) })
		},
		Patch: func(ctx context.Context, raw client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return s.write("patch", obj, func() error { return raw.Patch(ctx, obj, patch, opts...) })
		},
		Delete: func(ctx context.Context, _ client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return s.write("delete", obj, func() error { return s.delete(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, raw client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			body, err := patch.Data(obj)
			if err != nil {
				return err
			}
			if patch.Type() == types.ApplyPatchType {
				return s.write("apply-"+sub, obj, func() error { return s.applyConditions(ctx, obj.(*workloadv1alpha1.Assignment), body, opts...) })
			}
			s.mu.Lock()
			s.statuses = append(s.statuses, string(body))
			s.mu.Unlock()
			return s.write("patch-"+sub, obj, func() error { return raw.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
	})
	return s
}

// indexer gives the indexes of watch.go to the fake.
type indexer struct{ builder *fake.ClientBuilder }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.builder.WithIndex(object, field, extract)
	return nil
}

func (s *server) kind(obj runtime.Object) string {
	gvk, err := apiutil.GVKForObject(obj, s.raw.Scheme())
	if err != nil {
		return fmt.Sprintf("%T", obj)
	}
	return gvk.Kind
}

func (s *server) read(verb, kind string, key client.ObjectKey, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := fmt.Sprintf("%s %s %q", verb, kind, strings.TrimPrefix(key.String(), "/"))
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

func (s *server) apply(ctx context.Context, config runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if err := s.raw.Apply(ctx, config, opts...); err != nil {
		return err
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(config.(client.Object).GetObjectKind().GroupVersionKind())
	if err := s.raw.Get(ctx, client.ObjectKeyFromObject(config.(client.Object)), live); err != nil || live.GetUID() != "" {
		return err
	}
	live.SetUID(types.UID("live-" + live.GetKind() + live.GetNamespace() + live.GetName()))
	live.SetCreationTimestamp(metav1.NewTime(s.clock.Now()))
	if err := s.raw.Update(ctx, live); err != nil {
		return err
	}
	if kind, _, _ := unstructured.NestedString(live.Object, "type"); kind == string(corev1.SecretTypeServiceAccountToken) && s.token != "" {
		return s.issue(ctx, client.ObjectKeyFromObject(live))
	}
	return nil
}

// applyConditions is a server-side apply of conditions, which are a map by type. The fake of the API server takes them for one value.
func (s *server) applyConditions(ctx context.Context, into *workloadv1alpha1.Assignment, body []byte, opts ...client.SubResourcePatchOption) error {
	options := (&client.SubResourcePatchOptions{}).ApplyOptions(opts)
	if options.FieldManager != workloadv1alpha1.FieldOwnerController || !ptr.Deref(options.Force, false) {
		return fmt.Errorf("applied by %q, force = %v", options.FieldManager, options.Force)
	}
	var applied, live workloadv1alpha1.Assignment
	if err := json.Unmarshal(body, &applied); err != nil {
		return err
	}
	if err := s.raw.Get(ctx, client.ObjectKeyFromObject(into), &live); err != nil {
		return err
	}
	if applied.UID != "" && applied.UID != live.UID || applied.ResourceVersion != "" && applied.ResourceVersion != live.ResourceVersion {
		return apierrors.NewConflict(workloadv1alpha1.SchemeGroupVersion.WithResource("assignments").GroupResource(), live.Name, errInjected)
	}
	for _, condition := range applied.Status.Conditions {
		live.Status.Conditions = append(slices.DeleteFunc(live.Status.Conditions, func(c metav1.Condition) bool { return c.Type == condition.Type }), condition)
	}
	if err := s.raw.Status().Update(ctx, &live); err != nil {
		return err
	}
	live.DeepCopyInto(into)
	return nil
}

// issue fills a token Secret, as kcp does.
func (s *server) issue(ctx context.Context, name client.ObjectKey) error {
	var secret corev1.Secret
	if err := s.raw.Get(ctx, name, &secret); err != nil {
		return err
	}
	secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(s.token)}
	return s.raw.Update(ctx, &secret)
}

func (s *server) delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	if options := (&client.DeleteOptions{}).ApplyOptions(opts); options.Preconditions == nil || options.Preconditions.UID == nil {
		return errors.New("deleted without a UID precondition")
	}
	if s.kind(obj) == "Namespace" && s.slowNamespaces {
		var live corev1.Namespace
		if err := s.raw.Get(ctx, client.ObjectKeyFromObject(obj), &live); err != nil {
			return err
		}
		live.Finalizers = append(live.Finalizers, "kubernetes")
		if err := s.raw.Update(ctx, &live); err != nil {
			return err
		}
	}
	return s.raw.Delete(ctx, obj)
}

// finishNamespaces does the work of the namespace controller.
func (s *server) finishNamespaces(t *testing.T) {
	t.Helper()
	var namespaces corev1.NamespaceList
	if err := s.raw.List(t.Context(), &namespaces); err != nil {
		t.Fatal(err)
	}
	for i := range namespaces.Items {
		if namespace := &namespaces.Items[i]; namespace.DeletionTimestamp != nil {
			namespace.Finalizers = nil
			if err := s.raw.Update(t.Context(), namespace); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// names is everything that the syncer needs on this side, described and sorted.
func (s *server) names(t *testing.T) []string {
	t.Helper()
	names := []string{}
	for _, kind := range []string{"Namespace", "ServiceAccount", "Secret", "apps/Deployment", "rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/RoleBinding", "rbac.authorization.k8s.io/ClusterRole", "rbac.authorization.k8s.io/ClusterRoleBinding", "coordination.k8s.io/Lease"} {
		group, kind, found := strings.Cut(kind, "/")
		if !found {
			group, kind = "", group
		}
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(strings.TrimPrefix(group+"/v1", "/"))
		list.SetKind(kind + "List")
		if err := s.raw.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			names = append(names, fmt.Sprintf("%s %q", kind, strings.TrimPrefix(item.GetNamespace()+"/"+item.GetName(), "/")))
		}
	}
	slices.Sort(names)
	return names
}

func (s *server) forget() { s.reads, s.writes, s.statuses = nil, nil, nil }

// workspace is a logical cluster. Its cache is up to date, unless a test puts another reader there.
type workspace struct {
	cluster.Cluster
	reader client.Reader
}

func (w *workspace) GetCache() cache.Cache   { return &cached{reader: w.reader} }
func (w *workspace) GetConfig() *rest.Config { return &rest.Config{Host: "https://kcp.example.com"} }

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

// workspaces are the logical clusters that are served.
type workspaces struct {
	byName map[multicluster.ClusterName]cluster.Cluster
	err    error
}

func (w *workspaces) GetCluster(_ context.Context, name multicluster.ClusterName) (cluster.Cluster, error) {
	if w.err != nil {
		return nil, w.err
	}
	if found, ok := w.byName[name]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("logical cluster %q: %w", name, multicluster.ErrClusterNotFound)
}

// physicals leads every kubeconfig to one physical cluster, or to an error.
type physicals struct {
	cluster   *physical
	err       error
	gets      int
	mu        sync.Mutex // Forget is called when a workspace disengages, too
	forgotten []pcluster.ID
}

func (p *physicals) Get(context.Context, pcluster.ID, []byte) (physicalCluster, error) {
	p.gets++
	if p.err != nil {
		return nil, p.err
	}
	return p.cluster, nil
}

func (p *physicals) IsSlow(string, string) bool { return false }

func (p *physicals) Forget(id pcluster.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten = append(p.forgotten, id)
}

// physical is a physical cluster.
type physical struct {
	*server
	id string
	// unidentified is why the ID cannot be read.
	unidentified error

	watched []string
	// resources are served beside those that every cluster has, and silent is why these are not all.
	resources []metav1.APIResource
	silent    error
	// asked is how often what is served was asked for.
	asked int
	// refusal is why the cluster may not be watched.
	refusal error
}

func (p *physical) Unwatched() error { return p.refusal }

func (p *physical) ID(context.Context) (string, error) { return p.id, p.unidentified }
func (p *physical) Client() client.Client              { return p.server.Client }
func (p *physical) Watch(object client.Object) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name := watchName(object); !slices.Contains(p.watched, name) {
		p.watched = append(p.watched, name)
	}
	return nil
}

func (p *physical) Clean(sentence string) string {
	return strings.ReplaceAll(sentence, "s3cret", "[redacted]")
}

func (p *physical) Serving(context.Context) (client.Client, []metav1.APIResource, error) {
	p.asked++
	return p.server.Client, slices.Concat(served, p.resources), p.silent
}

// served is what every cluster serves, as far as it matters here.
var served = []metav1.APIResource{
	{Version: "v1", Name: "configmaps", Kind: "ConfigMap"}, {Version: "v1", Name: "secrets", Kind: "Secret"},
	{Group: "apps", Version: "v1", Name: "deployments", Kind: "Deployment"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Name: "rolebindings", Kind: "RoleBinding"},
}

func watchName(object client.Object) string {
	name := strings.TrimPrefix(client.ObjectKeyFromObject(object).String(), "/")
	return fmt.Sprintf("%s %q", object.GetObjectKind().GroupVersionKind().Kind, name)
}

// recorder records Events in the form: type reason: message.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Event(_ multicluster.ClusterName, _ client.Object, eventType, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf("%s %s: %s", eventType, reason, message))
}

func notFound(kind, name string) error {
	return apierrors.NewNotFound(corev1.Resource(kind), name)
}
