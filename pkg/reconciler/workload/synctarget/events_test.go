package synctarget

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// hosted is a logical cluster with a server of its own.
type hosted struct {
	*workspace
	name string
}

func (h *hosted) GetConfig() *rest.Config { return &rest.Config{Host: h.name} }

// newSink writes to two workspaces, each with a server of its own.
func newSink(t *testing.T) (workspaces *workspaces, servers map[string]*server, upstream func(*rest.Config) (client.Client, error)) {
	t.Helper()
	clock := clocktesting.NewFakeClock(newTarget().CreationTimestamp.Time)
	servers = map[string]*server{"one": newServer(t, clock), "two": newServer(t, clock)}
	return newWorkspaces(&hosted{name: "one"}, &hosted{name: "two"}), servers, func(cfg *rest.Config) (client.Client, error) {
		return servers[cfg.Host].Client, nil
	}
}

func newWorkspaces(all ...*hosted) *workspaces {
	out := &workspaces{byName: map[multicluster.ClusterName]cluster.Cluster{}}
	for _, h := range all {
		out.byName[multicluster.ClusterName(h.name)] = h
	}
	return out
}

func TestEvents(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	workspaces, servers, upstream := newSink(t)
	written := make(chan string, 10)
	for name, s := range servers {
		s.refuse = func(string) error { written <- name; return nil }
	}
	events := NewEvents(ctx, newScheme(t), workspaces, upstream)
	target := newTarget()
	for _, name := range []multicluster.ClusterName{"one", "two"} {
		events.Event(name, target, corev1.EventTypeWarning, workloadv1alpha1.ReasonUnhealthy, "100% silent")
		if got := <-written; got != name.String() {
			t.Errorf("an Event for workspace %q was written to %q", name, got)
		}
	}
	cancel()
	for name, s := range servers {
		var list corev1.EventList
		for len(list.Items) == 0 { // the write was announced; the fake makes it at once
			if err := s.raw.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
		}
		if len(list.Items) != 1 {
			t.Fatalf("%d Events in %q", len(list.Items), name)
		}
		got := list.Items[0]
		if got.Type != corev1.EventTypeWarning || got.Reason != workloadv1alpha1.ReasonUnhealthy || got.Message != "100% silent" ||
			got.InvolvedObject.Kind != "SyncTarget" || got.InvolvedObject.Name != testName || got.InvolvedObject.UID != testUID {
			t.Errorf("Event %+v", got)
		}
		if len(got.Annotations) != 0 {
			t.Errorf("our own annotation left the process: %v", got.Annotations)
		}
		if got.Labels[workloadv1alpha1.LabelVisible] != "true" {
			t.Errorf("labels %v: the permission claim does not select it", got.Labels)
		}
		if got.Source.Component != "synctarget-controller" {
			t.Errorf("component %q", got.Source.Component)
		}
	}
}

func TestEventSink(t *testing.T) {
	workspaces, servers, upstream := newSink(t)
	sink := &eventSink{ctx: t.Context(), workspaces: workspaces, upstream: upstream}
	event := &corev1.Event{}
	event.Namespace, event.Name, event.Annotations = "default", "e", map[string]string{annotationLogicalCluster: "one", "other": "stays"}
	before := event.DeepCopy()
	created, err := sink.Create(event)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, event); diff != "" {
		t.Errorf("the caller's Event was changed: -before +after\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"other": "stays"}, created.Annotations); diff != "" {
		t.Errorf("annotations: -want +got\n%s", diff)
	}
	created.Annotations[annotationLogicalCluster] = "one"
	if _, err := sink.Patch(created, []byte(`{"count":2}`)); err != nil {
		t.Fatal(err)
	}
	created.Annotations[annotationLogicalCluster], created.ResourceVersion = "one", ""
	created.Message = "updated"
	if _, err := sink.Update(created); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`create Event "default/e"`, `patch Event "default/e"`, `update Event "default/e"`}, servers["one"].writes); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
	if len(servers["two"].writes) != 0 {
		t.Errorf("the other workspace got %q", servers["two"].writes)
	}
}

// TestEventOfAWorkspaceThatIsGone: client-go's recorder holds back the Events of all others for two minutes while it
// retries, unless the error says that retrying changes nothing.
func TestEventOfAWorkspaceThatIsGone(t *testing.T) {
	workspaces, _, upstream := newSink(t)
	failing := func(*rest.Config) (client.Client, error) { return nil, errInjected }
	tests := map[string]struct {
		workspace string
		upstream  func(*rest.Config) (client.Client, error)
	}{
		"gone":      {"three", upstream},
		"no client": {"one", failing},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			sink := &eventSink{ctx: t.Context(), workspaces: workspaces, upstream: tc.upstream}
			event := &corev1.Event{}
			event.Annotations = map[string]string{annotationLogicalCluster: tc.workspace}
			for verb, err := range map[string]error{
				"Create": second(sink.Create(event)), "Update": second(sink.Update(event)), "Patch": second(sink.Patch(event, nil)),
			} {
				//nolint:errorlint // client-go does not unwrap
				if _, final := err.(*rest.RequestConstructionError); !final {
					t.Errorf("%s: %T, which client-go retries while it holds back all Events", verb, err)
				}
			}
		})
	}
}

func second[A, B any](_ A, b B) B { return b }
