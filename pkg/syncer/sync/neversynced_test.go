package sync

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// token makes an object the token of a ServiceAccount, with the label that asks for its sync set to a value.
func token(sync string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		o.SetKind("Secret")
		o.Object["type"] = "kubernetes.io/service-account-token"
		o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: sync})
	}
}

// visible makes an object a kubeconfig that is shown to the service, and asks for its sync.
func visible(o *unstructured.Unstructured) {
	o.SetKind("Secret")
	o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "true", workloadv1alpha1.LabelVisible: "true"})
}

// warningsOf are the Events of the workspace, and forgets the requests until now.
func (s *server) warningsOf(t *testing.T) (messages []string, requests int) {
	t.Helper()
	for _, action := range s.up.Actions() {
		if action.GetResource() == events {
			requests++
		}
	}
	list, err := s.up.Resource(events).Namespace("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range list.Items {
		reason, _, _ := unstructured.NestedString(event.Object, "reason")
		message, _, _ := unstructured.NestedString(event.Object, "message")
		messages = append(messages, reason+": "+message)
	}
	s.up.ClearActions()
	return messages, requests
}

// TestNeverSyncedIsWarnedOnce: who asks by a label for the sync of what is never synced is told so, once for each reason.
func TestNeverSyncedIsWarnedOnce(t *testing.T) {
	s := newServer(t, sourceOf(fresh, token("true")), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	s.pass.clock = clock
	expect := func(when, want string, requests int) {
		t.Helper()
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
		got, made := s.warningsOf(t)
		if made != requests || len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %d requests about Events, which are now %q", when, made, got)
		}
		if live := s.live(t); len(live.GetFinalizers())+len(live.GetAnnotations()) > 0 || len(s.applied) > 0 {
			t.Errorf("%s: it has finalizers %q and annotations %q, and %d copies", when, live.GetFinalizers(), live.GetAnnotations(), len(s.applied))
		}
	}
	isToken := "SyncRefused: this object is not synced although the label workload.kcp.io/sync=true asks for it: this Secret is the token of a ServiceAccount"
	expect("at first", isToken, 3) // hasEvent, and a read and a write
	expect("at rest", isToken, 0)
	clock.Step(time.Hour)
	expect("later", isToken, 0)

	s.pass.namespace.setObjectState(s.pass.key(), objectState{})
	expect("after a restart", isToken, 1)
	expect("and at rest", isToken, 0)

	changed := s.live(t)
	delete(changed.Object, "type")
	visible(changed)
	if err := s.up.Tracker().Update(configMaps, changed, "shop"); err != nil {
		t.Fatal(err)
	}
	isVisible := "SyncRefused: this object is not synced although the label workload.kcp.io/sync=true asks for it: the label workload.kcp.io/visible=true"
	expect("for another reason", isVisible, 3)
	expect("and at rest", isVisible, 0)

	s.pass.state = objectState{neverSyncedWarned: "x"}
	changed.SetLabels(nil)
	if err := s.up.Tracker().Update(configMaps, changed, "shop"); err != nil {
		t.Fatal(err)
	}
	s.cache(t, s.pass.resource.up, changed)
	s.pass.src = changed
	s.pass.finish(t.Context(), nil)
	if state, found := s.pass.namespace.objectStates.Load(s.pass.key()); found {
		t.Errorf("of an object that asks for nothing is remembered %+v", state)
	}
}

// TestNeverSyncedIsNotWarned: nobody is told what nobody asked for.
func TestNeverSyncedIsNotWarned(t *testing.T) {
	tests := map[string]struct {
		reason string
		source *unstructured.Unstructured
		change func(*server)
	}{
		"no label":  {"", sourceOf(fresh, token(""), func(o *unstructured.Unstructured) { o.SetLabels(nil) }), func(*server) {}},
		"opted out": {"", sourceOf(fresh, token("false")), func(*server) {}},
		"deleted": {"", sourceOf(fresh, token("true"), func(o *unstructured.Unstructured) {
			now := metav1.Now()
			o.SetDeletionTimestamp(&now)
			o.SetFinalizers([]string{"example.com/x"})
		}), func(*server) {}},
		"draining": {"", sourceOf(fresh, token("true")), func(s *server) { s.pass.namespace.setDrain(&drain{}) }},
		"removing": {"", sourceOf(fresh, token("true")), func(s *server) { s.pass.resource.api.Removing = true }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, tc.source, nil)
			tc.change(s)
			if _, err := s.run(t); err != nil {
				t.Fatal(err)
			}
			if got, requests := s.warningsOf(t); len(got) > 0 || requests > 0 {
				t.Errorf("%s\nit is told %q, after %d requests", tc.reason, got, requests)
			}
		})
	}
}

// TestNeverSyncedWarningFails: an Event that could not be written is no failure of the object, and is tried again with the next
// pass.
func TestNeverSyncedWarningFails(t *testing.T) {
	s := newServer(t, sourceOf(fresh, token("true")), nil)
	fails := true
	s.up.PrependReactor("*", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return fails && action.GetVerb() != "list", nil, errors.New("connection refused")
	})
	for _, want := range []int{0, 1} {
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.warningsOf(t); len(got) != want {
			t.Errorf("it is told %q, want %d", got, want)
		}
		fails = false
	}
}

// TestNeverSyncedAfterACopy: the copy of what is never synced any more goes first, and the next pass says why.
func TestNeverSyncedAfterACopy(t *testing.T) {
	s := newServer(t, sourceOf(visible), nil)
	again, err := s.run(t)
	if got, _ := s.warningsOf(t); err != nil || again != lagRetry || len(got) > 0 {
		t.Errorf("the first pass: again after %s, %v, told %q", again, err, got)
	}
	_, err = s.run(t)
	if got, _ := s.warningsOf(t); err != nil || len(got) != 1 || len(s.live(t).GetFinalizers()) > 0 {
		t.Errorf("the second pass: %v, told %q", err, got)
	}
}
