package synctarget

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// EventRecorder sends Events to the workspace of the object that they are about.
type EventRecorder interface {
	Event(clusterName multicluster.ClusterName, object client.Object, eventType, reason, message string)
}

// eventTimeout bounds the writing of one Event.
const eventTimeout = 5 * time.Second

// annotationLogicalCluster tells the sink which workspace an Event belongs to; it does not leave the process.
const annotationLogicalCluster = "workload.kcp.io/event-logical-cluster"

// Events is one recorder for all workspaces: one queue, one aggregation, one writer.
type Events struct {
	recorder record.EventRecorder
}

// NewEvents starts the writer, which runs until ctx ends.
func NewEvents(ctx context.Context, scheme *runtime.Scheme, workspaces Workspaces, upstream func(*rest.Config) (client.Client, error)) *Events {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&eventSink{ctx: ctx, workspaces: workspaces, upstream: upstream})
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return &Events{recorder: broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "synctarget-controller"})}
}

// Event queues an Event about an object of a workspace.
func (e *Events) Event(clusterName multicluster.ClusterName, object client.Object, eventType, reason, message string) {
	e.recorder.AnnotatedEventf(object, map[string]string{annotationLogicalCluster: clusterName.String()}, eventType, reason, "%s", message)
}

// eventSink writes each Event to its workspace.
type eventSink struct {
	ctx        context.Context
	workspaces Workspaces
	upstream   func(*rest.Config) (client.Client, error)
}

// clientFor leads to the workspace of an Event. Its error says that retrying changes nothing, as it does where the
// workspace has left: client-go's recorder holds back all other Events for two minutes while it retries one.
func (s *eventSink) clientFor(event *corev1.Event) (client.Client, *corev1.Event, error) {
	clusterName := multicluster.ClusterName(event.Annotations[annotationLogicalCluster])
	workspace, err := s.workspaces.GetCluster(s.ctx, clusterName)
	if err != nil {
		return nil, nil, &rest.RequestConstructionError{Err: fmt.Errorf("finding logical cluster %q: %w", clusterName, err)}
	}
	upstream, err := s.upstream(workspace.GetConfig())
	if err != nil {
		return nil, nil, &rest.RequestConstructionError{Err: err}
	}
	event = event.DeepCopy()
	event.Annotations = maps.Clone(event.Annotations)
	delete(event.Annotations, annotationLogicalCluster)
	if event.Labels == nil {
		event.Labels = map[string]string{}
	}
	event.Labels[workloadv1alpha1.LabelVisible] = "true"
	return upstream, event, nil
}

// once makes one call, bounded. A server that does not answer is not called again: it would hold back the Events of
// all workspaces, and what the Event said stands in a condition too.
func (s *eventSink) once(call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, eventTimeout)
	defer cancel()
	err := call(ctx)
	if err != nil && !isAnswer(err) {
		return &rest.RequestConstructionError{Err: err}
	}
	return err
}

// Create implements record.EventSink.
func (s *eventSink) Create(event *corev1.Event) (*corev1.Event, error) {
	upstream, event, err := s.clientFor(event)
	if err != nil {
		return nil, err
	}
	return event, s.once(func(ctx context.Context) error { return upstream.Create(ctx, event) })
}

// Update implements record.EventSink.
func (s *eventSink) Update(event *corev1.Event) (*corev1.Event, error) {
	upstream, event, err := s.clientFor(event)
	if err != nil {
		return nil, err
	}
	return event, s.once(func(ctx context.Context) error { return upstream.Update(ctx, event) })
}

// Patch implements record.EventSink.
func (s *eventSink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	upstream, event, err := s.clientFor(event)
	if err != nil {
		return nil, err
	}
	return event, s.once(func(ctx context.Context) error {
		return upstream.Patch(ctx, event, client.RawPatch(types.MergePatchType, data))
	})
}
