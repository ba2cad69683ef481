package pcluster

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// liveClient passes every call on, unless the cluster is dead, and puts every failure into our words. A failure that
// says that the cluster cannot be used marks it dead, unless the client is lenient.
type liveClient struct {
	client.Client
	cluster *Cluster
	lenient bool
}

func (l *liveClient) do(ctx context.Context, r request, call func(context.Context) error) error {
	if err := l.cluster.remembered(); err != nil {
		return err
	}
	err := l.cluster.call(ctx, Budget, r, call)
	if endsContact(err) && !l.lenient {
		l.cluster.markDead(err)
	}
	return err
}

func (l *liveClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	r, err := l.request("get", obj, key.Namespace, key.Name)
	if err != nil {
		return err
	}
	err = l.do(ctx, r, func(ctx context.Context) error { return l.Client.Get(ctx, key, obj, opts...) })
	l.cluster.note(r, obj.GetResourceVersion(), err)
	return err
}

func (l *liveClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	listed := (&client.ListOptions{}).ApplyOptions(opts)
	r, err := l.request("list", list, listed.Namespace, "")
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.List(ctx, list, opts...) })
}

func (l *liveClient) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	r, err := l.requestFor("create", obj)
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.Create(ctx, obj, opts...) })
}

func (l *liveClient) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	r, err := l.requestFor("delete", obj)
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.Delete(ctx, obj, opts...) })
}

func (l *liveClient) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	r, err := l.requestFor("update", obj)
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.Update(ctx, obj, opts...) })
}

func (l *liveClient) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
	r, err := l.requestFor("patch", obj)
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.Patch(ctx, obj, patch, opts...) })
}

func (l *liveClient) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	r, err := l.requestForApply(obj)
	if err != nil {
		return err
	}
	err = l.do(ctx, r, func(ctx context.Context) error { return l.Client.Apply(ctx, obj, opts...) })
	if applied, ok := obj.(client.Object); ok && err == nil {
		l.cluster.note(r, applied.GetResourceVersion(), nil)
	}
	return err
}

func (l *liveClient) DeleteAllOf(ctx context.Context, obj client.Object, opts ...client.DeleteAllOfOption) error {
	selected := (&client.DeleteAllOfOptions{}).ApplyOptions(opts)
	r, err := l.request("deletecollection", obj, selected.Namespace, "")
	if err != nil {
		return err
	}
	return l.do(ctx, r, func(ctx context.Context) error { return l.Client.DeleteAllOf(ctx, obj, opts...) })
}

func (l *liveClient) Status() client.SubResourceWriter { return l.SubResource("status") }

func (l *liveClient) SubResource(name string) client.SubResourceClient {
	return &liveSubresource{SubResourceClient: l.Client.SubResource(name), parent: l, name: name}
}

// liveSubresource does the same for a subresource.
type liveSubresource struct {
	client.SubResourceClient
	parent *liveClient
	name   string
}

func (s *liveSubresource) do(ctx context.Context, verb string, obj client.Object, call func(context.Context) error) error {
	r, err := s.parent.requestFor(verb, obj)
	if err != nil {
		return err
	}
	r.resource.Resource += "/" + s.name
	return s.parent.do(ctx, r, call)
}

func (s *liveSubresource) Get(ctx context.Context, obj, sub client.Object, opts ...client.SubResourceGetOption) error {
	return s.do(ctx, "get", obj, func(ctx context.Context) error { return s.SubResourceClient.Get(ctx, obj, sub, opts...) })
}

func (s *liveSubresource) Create(ctx context.Context, obj, sub client.Object, opts ...client.SubResourceCreateOption) error {
	return s.do(ctx, "create", obj, func(ctx context.Context) error { return s.SubResourceClient.Create(ctx, obj, sub, opts...) })
}

func (s *liveSubresource) Update(ctx context.Context, obj client.Object, opts ...client.SubResourceUpdateOption) error {
	return s.do(ctx, "update", obj, func(ctx context.Context) error { return s.SubResourceClient.Update(ctx, obj, opts...) })
}

func (s *liveSubresource) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	return s.do(ctx, "patch", obj, func(ctx context.Context) error { return s.SubResourceClient.Patch(ctx, obj, patch, opts...) })
}

func (s *liveSubresource) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
	r, err := s.parent.requestForApply(obj)
	if err != nil {
		return err
	}
	r.resource.Resource += "/" + s.name
	return s.parent.do(ctx, r, func(ctx context.Context) error { return s.SubResourceClient.Apply(ctx, obj, opts...) })
}

// request names what is asked for. What is our own mistake, such as a kind that the scheme or the mapper lacks, fails
// here, before anything is sent, so that it is not blamed on the cluster.
func (l *liveClient) request(verb string, obj runtime.Object, namespace, name string) (request, error) {
	gvk, err := l.GroupVersionKindFor(obj)
	if err != nil {
		return request{}, err
	}
	return l.requestForKind(verb, gvk, namespace, name)
}

func (l *liveClient) requestFor(verb string, obj client.Object) (request, error) {
	return l.request(verb, obj, obj.GetNamespace(), obj.GetName())
}

func (l *liveClient) requestForApply(obj runtime.ApplyConfiguration) (request, error) {
	switch obj := obj.(type) {
	case interface { // made from an unstructured object
		GroupVersionKind() schema.GroupVersionKind
		GetNamespace() string
		GetName() string
	}:
		return l.requestForKind("patch", obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName())
	case interface { // generated
		GetAPIVersion() *string
		GetKind() *string
		GetNamespace() *string
		GetName() *string
	}:
		gvk := schema.FromAPIVersionAndKind(ptr.Deref(obj.GetAPIVersion(), ""), ptr.Deref(obj.GetKind(), ""))
		return l.requestForKind("patch", gvk, ptr.Deref(obj.GetNamespace(), ""), ptr.Deref(obj.GetName(), ""))
	default:
		return request{}, fmt.Errorf("apply configuration of unknown type %T", obj)
	}
}

func (l *liveClient) requestForKind(verb string, gvk schema.GroupVersionKind, namespace, name string) (request, error) {
	kind := gvk.GroupKind()
	if verb == "list" {
		kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	}
	mapping, err := l.RESTMapper().RESTMapping(kind, gvk.Version)
	if err != nil {
		return request{}, err
	}
	r := request{verb: verb, resource: mapping.Resource.GroupResource(), namespace: namespace, name: name}
	many := verb == "list" || verb == "deletecollection"
	switch {
	case name == "" && !many && verb != "create":
		return request{}, fmt.Errorf("a name is needed to %s", r)
	case namespace == "" && !many && mapping.Scope.Name() == meta.RESTScopeNameNamespace:
		return request{}, fmt.Errorf("a namespace is needed to %s", r)
	}
	return r, nil
}
