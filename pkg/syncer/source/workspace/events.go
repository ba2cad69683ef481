package workspace

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// events are those in a Namespace of the workspace.
func (s *Source) events(namespace source.Namespace) dynamic.ResourceInterface {
	return s.Client.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(namespace.Name)
}

// ReadEvent reads an Event, nil if there is none of this name.
func (s *Source) ReadEvent(ctx context.Context, namespace source.Namespace, name string) (*corev1.Event, error) {
	live, err := s.events(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var event corev1.Event
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &event); err != nil {
		return nil, err
	}
	return &event, nil
}

// WriteEvent makes an Event, or brings the one that is there up to date; after a restart it may be.
func (s *Source) WriteEvent(ctx context.Context, namespace source.Namespace, event *corev1.Event) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
	if err != nil {
		return err
	}
	client := s.events(namespace)
	before, err := s.ReadEvent(ctx, namespace, event.Name)
	if err != nil {
		return err
	}
	if before == nil {
		_, err = client.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
		return err
	}
	if before.Count == event.Count && before.LastTimestamp.Unix() == event.LastTimestamp.Unix() && before.Message == event.Message {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"count": event.Count, "lastTimestamp": event.LastTimestamp, "message": event.Message})
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, event.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	return err
}
