package kcpprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	mccontroller "sigs.k8s.io/multicluster-runtime/pkg/controller"
	mchandler "sigs.k8s.io/multicluster-runtime/pkg/handler"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"
	mcsource "sigs.k8s.io/multicluster-runtime/pkg/source"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

const (
	shard1 = "https://shard-1/services/apiexport/a/b"
	shard2 = "https://shard-2/services/apiexport/a/b"

	bindingsPath = "/clusters/*/apis/apis.kcp.io/v1alpha2/apibindings"
	secretsPath  = "/clusters/*/api/v1/secrets"
	mapsPath     = "/clusters/*/api/v1/configmaps"
	leasesPath   = "/clusters/*/apis/coordination.k8s.io/v1/leases"
	slicesURL    = "https://kcp/clusters/root/apis/apis.kcp.io/v1alpha1/apiexportendpointslices"
)

// TestMain removes the handlers of errors of client-go: one of them sleeps by the difference of the clocks inside and outside a
// bubble of synctest.
func TestMain(m *testing.M) {
	utilruntime.ErrorHandlers = nil
	log.SetLogger(logr.Discard())
	m.Run()
}

// fakeKcp is the transport to a kcp with any number of shards: it lists and watches what is at a URL.
type fakeKcp struct {
	mu       sync.Mutex
	objects  map[string][]client.Object
	watchers map[string][]*io.PipeWriter
	revision int
	// fault decides whether a request hangs until its context ends or the fault is another one, or fails with a code.
	fault func(r *http.Request) (hang bool, code int)
	// mended is closed when the fault is replaced.
	mended chan struct{}
}

func newFakeKcp() *fakeKcp {
	return &fakeKcp{
		objects: map[string][]client.Object{}, watchers: map[string][]*io.PipeWriter{},
		mended: make(chan struct{}),
		fault:  func(*http.Request) (bool, int) { return false, 0 },
	}
}

// RoundTrip implements http.RoundTripper.
func (f *fakeKcp) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hang, code := f.fault(r); hang {
		mended := f.mended
		f.mu.Unlock()
		defer f.mu.Lock()
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-mended:
			return f.respond(r, http.StatusGatewayTimeout, &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGatewayTimeout, Reason: metav1.StatusReasonTimeout})
		}
	} else if code != 0 {
		return f.respond(r, code, &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Message: "injected", Reason: metav1.StatusReason(http.StatusText(code))}) //nolint:gosec // a code of HTTP
	}
	url := "https://" + r.URL.Host + r.URL.Path
	switch {
	case r.URL.Query().Get("sendInitialEvents") == "true":
		return f.respond(r, http.StatusUnprocessableEntity, &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid})
	case r.URL.Query().Get("watch") == "true":
		return f.watch(r, url)
	}
	list := map[string]any{"metadata": map[string]any{"resourceVersion": fmt.Sprint(f.revision)}, "items": f.objects[url]}
	list["apiVersion"], list["kind"] = listType(r)
	return f.respond(r, http.StatusOK, list)
}

// listType is the API version and the kind of the list that a request asks for.
func listType(r *http.Request) (apiVersion, kind string) {
	if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
		return "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/apibindings"):
		return "apis.kcp.io/v1alpha2", "APIBindingList"
	case strings.HasSuffix(r.URL.Path, "/apiexportendpointslices"):
		return "apis.kcp.io/v1alpha1", "APIExportEndpointSliceList"
	}
	if strings.HasSuffix(r.URL.Path, "/leases") {
		return "coordination.k8s.io/v1", "LeaseList"
	}
	return "v1", "ConfigMapList"
}

func (f *fakeKcp) respond(r *http.Request, code int, body any) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(data))),
	}, nil
}

func (f *fakeKcp) watch(r *http.Request, url string) (*http.Response, error) {
	reader, writer := io.Pipe()
	f.watchers[url] = append(f.watchers[url], writer)
	context.AfterFunc(r.Context(), func() { _ = writer.Close() })
	return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: &watchBody{reader}}, nil
}

// watchBody ends with io.EOF, also when it is closed: any other error may leave a goroutine of client-go's metadata client behind.
type watchBody struct{ *io.PipeReader }

func (w *watchBody) Read(p []byte) (int, error) {
	n, err := w.PipeReader.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return n, err
}

// put adds an object at a URL, or replaces it.
func (f *fakeKcp) put(url string, object client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	object.SetResourceVersion(fmt.Sprint(f.revision))
	event, same := "ADDED", func(o client.Object) bool {
		return o.GetName() == object.GetName() && o.GetAnnotations()["kcp.io/cluster"] == object.GetAnnotations()["kcp.io/cluster"]
	}
	if i := slices.IndexFunc(f.objects[url], same); i >= 0 {
		event = "MODIFIED"
		f.objects[url][i] = object
	} else {
		f.objects[url] = append(f.objects[url], object)
	}
	f.notify(url, event, object)
}

// remove removes an object from a URL.
func (f *fakeKcp) remove(url string, object client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	object.SetResourceVersion(fmt.Sprint(f.revision))
	f.objects[url] = slices.DeleteFunc(f.objects[url], func(o client.Object) bool { return o == object })
	f.notify(url, "DELETED", object)
}

func (f *fakeKcp) notify(url, event string, object client.Object) {
	data, err := json.Marshal(map[string]any{"type": event, "object": object})
	if err != nil {
		panic(err)
	}
	watchers := f.watchers[url]
	f.mu.Unlock()
	defer f.mu.Lock()
	for _, w := range watchers {
		if _, err := w.Write(append(data, '\n')); err != nil && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, context.Canceled) {
			panic(err)
		}
	}
}

// setFault replaces the faults.
func (f *fakeKcp) setFault(fault func(*http.Request) (hang bool, code int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	close(f.mended)
	f.mended = make(chan struct{})
}

// list lists the endpoints in the endpoint slice.
func (f *fakeKcp) list(urls ...string) {
	slice := &apisv1alpha1.APIExportEndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "export"}}
	slice.SetGroupVersionKind(apisv1alpha1.SchemeGroupVersion.WithKind("APIExportEndpointSlice"))
	for _, url := range urls {
		slice.Status.APIExportEndpoints = append(slice.Status.APIExportEndpoints, apisv1alpha1.APIExportEndpoint{URL: url})
	}
	f.put(slicesURL, slice)
}

// in makes metadata of an object in a logical cluster.
func in(cluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{"kcp.io/cluster": cluster}}
}

func binding(cluster string, phase apisv1alpha2.APIBindingPhaseType) *apisv1alpha2.APIBinding {
	b := &apisv1alpha2.APIBinding{ObjectMeta: in(cluster, "export")}
	b.SetGroupVersionKind(apisv1alpha2.SchemeGroupVersion.WithKind("APIBinding"))
	b.Status.Phase = phase
	return b
}

func bound(cluster string) *apisv1alpha2.APIBinding {
	return binding(cluster, apisv1alpha2.APIBindingPhaseBound)
}

func configMap(cluster, name string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: in(cluster, name)}
	m.Namespace = "default"
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return m
}

func lease(cluster, name string) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: in(cluster, name)}
	l.Namespace = "default"
	l.SetGroupVersionKind(coordinationv1.SchemeGroupVersion.WithKind("Lease"))
	return l
}

func secretMeta() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

// newSupervisor watches ConfigMaps, the metadata of Secrets, and Leases where they are served.
func newSupervisor(t testing.TB, kcp http.RoundTripper) *Supervisor {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, apisv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	mapper.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	mapper.Add(apisv1alpha2.SchemeGroupVersion.WithKind("APIBinding"), meta.RESTScopeRoot)
	mapper.Add(apisv1alpha1.SchemeGroupVersion.WithKind("APIExportEndpointSlice"), meta.RESTScopeRoot)
	s, err := New(Options{
		Config: &rest.Config{Host: "https://kcp/clusters/root", Transport: kcp, QPS: -1}, EndpointSlice: "export",
		Kinds: []client.Object{&corev1.ConfigMap{}, secretMeta()}, Optional: []client.Object{&coordinationv1.Lease{}}, Scheme: scheme, Mapper: mapper, Log: logr.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// passes is a Reconciler that counts its passes over each object.
type passes struct {
	mu     sync.Mutex
	counts map[string]int
}

func (p *passes) Reconcile(_ context.Context, req mcreconcile.Request) (reconcile.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[req.ClusterName.String()+"/"+req.Name]++
	return reconcile.Result{}, nil
}

// take returns the passes since the last call.
func (p *passes) take() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.counts
	p.counts = map[string]int{}
	return counts
}

// newController starts a controller of multicluster-runtime.
func newController(ctx context.Context, t testing.TB, r mcreconcile.Reconciler, kinds ...client.Object) mccontroller.Controller {
	t.Helper()
	skip := true
	c, err := mccontroller.NewTypedUnmanaged("test", nil, mccontroller.Options{
		Reconciler: r, SkipNameValidation: &skip,
		LogConstructor: func(*mcreconcile.Request) logr.Logger { return logr.Discard() },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if err := c.MultiClusterWatch(mcsource.Kind(kind, mchandler.EnqueueRequestForObject)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		if err := c.Start(ctx); err != nil {
			t.Errorf("the controller ended: %v", err)
		}
	}()
	return c
}
