package sync

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	metadatafake "k8s.io/client-go/metadata/fake"
)

// metadataServer is the fake metadata client of client-go with pages, which that one does not have. It notes every
// list.
type metadataServer struct {
	*metadatafake.FakeMetadataClient
	// answer is asked before each list is answered; an error is the answer.
	answer func(ctx context.Context, resource string, options metav1.ListOptions) error

	mu    sync.Mutex
	lists []string
}

// newMetadataServer is a server that has these ConfigMaps; nil is none.
func newMetadataServer(t *testing.T, objects ...*unstructured.Unstructured) *metadataServer {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	client := metadatafake.NewSimpleMetadataClient(scheme)
	for _, object := range objects {
		if object == nil {
			continue
		}
		if err := client.Tracker().Create(configMaps, metadataOf(object), object.GetNamespace()); err != nil {
			t.Fatal(err)
		}
	}
	return &metadataServer{FakeMetadataClient: client}
}

func metadataOf(object *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: object.GetAPIVersion(), Kind: object.GetKind()},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), Labels: object.GetLabels(),
			Annotations: object.GetAnnotations(), Finalizers: object.GetFinalizers(), OwnerReferences: object.GetOwnerReferences(),
		},
	}
}

// requests are the lists so far, in order: the resource, the limit, the selector and the token.
func (s *metadataServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lists...)
}

func (s *metadataServer) Resource(resource schema.GroupVersionResource) metadata.Getter {
	return metadataGetter{s.FakeMetadataClient.Resource(resource), s, resource.Resource}
}

type metadataGetter struct {
	metadata.Getter
	server   *metadataServer
	resource string
}

func (g metadataGetter) Namespace(namespace string) metadata.ResourceInterface {
	return metadataPages{g.Getter.Namespace(namespace), g.server, g.resource}
}

type metadataPages struct {
	metadata.ResourceInterface
	server   *metadataServer
	resource string
}

// List implements metadata.ResourceInterface. The token of a page is the number of its first object.
func (p metadataPages) List(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	p.server.mu.Lock()
	p.server.lists = append(p.server.lists, fmt.Sprintf("%s limit=%d selector=%s continue=%s", p.resource, options.Limit, options.LabelSelector, options.Continue))
	p.server.mu.Unlock()
	if p.server.answer != nil {
		if err := p.server.answer(ctx, p.resource, options); err != nil {
			return nil, err
		}
	}
	list, err := p.ResourceInterface.List(ctx, options)
	if err != nil {
		return nil, err
	}
	first, _ := strconv.Atoi(options.Continue)
	end := len(list.Items)
	if options.Limit > 0 && first+int(options.Limit) < end {
		end = first + int(options.Limit)
		list.Continue = strconv.Itoa(end)
	}
	list.Items = list.Items[first:end]
	return list, nil
}
