package sync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
)

// stage is a place with a Deployment, its copy, and the ReplicaSet and the Pod of that.
type stage struct {
	engine   *Controller
	place    *namespaceSync
	up, down *dynamicfake.FakeDynamicClient
	// clock is that of newStage.
	clock  *clocktesting.FakeClock
	events toolscache.Store
	// unlisted is set while the informers have not listed anything.
	unlisted bool
	t        *testing.T
}

func newStage(t *testing.T) *stage {
	t.Helper()
	c := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s := newStageWith(t, c)
	s.clock = c
	return s
}

// newStageWith is one with another clock.
func newStageWith(t *testing.T, clock clock.WithTicker) *stage {
	t.Helper()
	s := &stage{t: t, place: newTestNamespace(shopNamespace)}
	there := s.place.downstreamNamespace
	owner := func(apiVersion, kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: ptr.To(true)}}
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	s.up = dynamicfake.NewSimpleDynamicClient(scheme)
	s.down = dynamicfake.NewSimpleDynamicClient(scheme,
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: there, Name: "web-1", OwnerReferences: owner("apps/v1", "Deployment", "web")}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: there, Name: "web-1-x", OwnerReferences: owner("apps/v1", "ReplicaSet", "web-1")}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: there, Name: "foreign"}},
	)
	s.engine = &Controller{
		owner: testOwner, source: newTestSource(workspace.Config{Client: s.up, Clock: clock}), down: s.down, clock: clock, queue: newQueue(maxWorkers), lookupLimiter: newLookupLimiter(clock),
		namespaces: map[source.Namespace]*namespaceSync{shopNamespace: s.place},
	}
	t.Cleanup(s.engine.queue.ShutDown)

	source := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment"}}
	source.SetNamespace("shop")
	source.SetName("web")
	source.SetUID("source-1")
	c, err := testOwner.Copy(source)
	if err != nil {
		t.Fatal(err)
	}
	cached := func(object *unstructured.Unstructured) *cache.ResourceCache {
		store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
		if object != nil {
			if err := store.Add(mustPack(t, object)); err != nil {
				t.Fatal(err)
			}
		}
		s.events = store
		return &cache.ResourceCache{Objects: cache.NewAssumed(store, clock), HasSynced: func() bool { return !s.unlisted }}
	}
	gr := workloadv1alpha1.GroupResource{Group: "apps", Resource: "deployments"}
	s.place.resources[gr] = &resourceSync{api: discovery.Resource{GroupResource: gr, Kind: "Deployment", Versions: []string{"v1"}}, up: cached(source), down: cached(c)}
	s.place.events = cached(nil)
	return s
}

// warn puts a Warning into the cache of the physical cluster.
func (s *stage) warn(version, kind, apiVersion, name string, count int32, age time.Duration) {
	s.t.Helper()
	s.warnAs("e", version, kind, apiVersion, name, count, age)
}

// warnAs does so by another Event than the usual one.
func (s *stage) warnAs(event, version, kind, apiVersion, name string, count int32, age time.Duration) {
	s.t.Helper()
	s.warnWith(event, version, kind, apiVersion, name, "image is absent", count, age)
}

// warnWith does so with another message.
func (s *stage) warnWith(event, version, kind, apiVersion, name, message string, count int32, age time.Duration) {
	s.t.Helper()
	at := metav1.NewTime(s.engine.clock.Now().Add(-age))
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: s.place.downstreamNamespace, Name: event, UID: types.UID("event-" + event), ResourceVersion: version},
		InvolvedObject: corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: s.place.downstreamNamespace, Name: name},
		Type:           corev1.EventTypeWarning, Reason: "Failed", Message: message, Count: count, FirstTimestamp: at, LastTimestamp: at,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.events.Add(mustPack(s.t, &unstructured.Unstructured{Object: content})); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) relay() time.Duration {
	s.t.Helper()
	return s.relayAs("e")
}

func (s *stage) relayAs(event string) time.Duration {
	s.t.Helper()
	again, err := s.engine.syncEvent(s.t.Context(), s.place, event)
	if err != nil {
		s.t.Fatal(err)
	}
	return again
}

// told is what stands upstream.
func (s *stage) told() []string {
	s.t.Helper()
	list, err := s.up.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).Namespace("shop").List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, item := range list.Items {
		var e corev1.Event
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &e); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, e.Name+" on "+e.InvolvedObject.Kind+" "+e.InvolvedObject.Namespace+"/"+e.InvolvedObject.Name+" "+string(e.InvolvedObject.UID)+": "+e.Message)
	}
	return out
}

func TestWarningsAreTold(t *testing.T) {
	tests := map[string]struct {
		reason                 string
		apiVersion, kind, name string
		age                    time.Duration
		want                   []string
	}{
		"of the copy":                    {"", "apps/v1", "Deployment", "web", 0, []string{"web.event-e on Deployment shop/web source-1: image is absent"}},
		"of its Pod":                     {"By way of the ReplicaSet.", "v1", "Pod", "web-1-x", 0, []string{`web.event-e on Deployment shop/web source-1: Pod "web-1-x": image is absent`}},
		"of another":                     {"It is none of ours.", "v1", "Pod", "foreign", 0, nil},
		"of one gone":                    {"", "v1", "Pod", "gone", 0, nil},
		"of a kind that is not followed": {"", "v1", "Node", "n-1", 0, nil},
		"old":                            {"It has just come: the clocks differ.", "apps/v1", "Deployment", "web", eventAge + time.Second, []string{"web.event-e on Deployment shop/web source-1: image is absent"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.warn("1", tc.kind, tc.apiVersion, tc.name, 1, tc.age)
			s.relay()
			if diff := cmp.Diff(tc.want, s.told()); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// TestWarningsAtAStart: what was told before a restart, long ago or just now, costs no write; what comes of it later is told.
func TestWarningsAtAStart(t *testing.T) {
	for name, tc := range map[string]struct {
		age     time.Duration
		restart bool // with the Event told upstream
		want    int  // writes for what is there at the start
	}{
		"old":               {eventAge + time.Second, false, 0},
		"young, and told":   {time.Second, true, 0},
		"young, yet untold": {time.Second, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.warn("1", "Deployment", "apps/v1", "web", 1, tc.age)
			if tc.restart {
				s.relay()
				s.place.writtenEvents.Clear()
				s.place.recentEvents = map[eventKey][]eventRecord{}
			}
			s.up.ClearActions()
			look := func() (writes int) {
				t.Helper()
				s.relay()
				for _, action := range s.up.Actions() {
					if verb := action.GetVerb(); verb != "get" {
						writes++
					}
				}
				s.up.ClearActions()
				return writes
			}
			s.engine.enqueueEvent(s.place, "e", true)
			if got := look(); got != tc.want {
				t.Errorf("%d writes at the start, want %d", got, tc.want)
			}
			s.clock.Step(eventPace)
			s.warn("2", "Deployment", "apps/v1", "web", 2, eventAge+time.Second) // by a clock that is behind
			s.engine.enqueueEvent(s.place, "e", false)
			if got := look(); got != 1 {
				t.Errorf("%d writes for a repetition", got)
			}
		})
	}
}

// TestWarningOfABarredResource: it waits until it is known what has copies, and is not lost.
func TestWarningOfABarredResource(t *testing.T) {
	s := newStage(t)
	l := s.place.resource(workloadv1alpha1.GroupResource{Group: "apps", Resource: "deployments"})
	s.unlisted = true
	l.up.ListError.Store(ptr.To("it refuses"))
	s.warn("1", "Deployment", "apps/v1", "web", 1, 0)
	if again := s.relay(); again != eventPace || len(s.told()) != 0 {
		t.Errorf("comes again after %s, told %q", again, s.told())
	}
	s.unlisted = false
	if s.relay(); len(s.told()) != 1 {
		t.Errorf("told %q", s.told())
	}
}

// TestWarningComesFirst: the Event of a copy that has yet to be listed is looked at again.
func TestWarningComesFirst(t *testing.T) {
	s := newStage(t)
	s.unlisted = true
	s.warn("1", "Deployment", "apps/v1", "web", 1, 0)
	if again := s.relay(); again != eventWait || len(s.told()) != 0 {
		t.Errorf("comes again after %s, told %q", again, s.told())
	}
	s.unlisted = false
	if s.relay(); len(s.told()) != 1 {
		t.Errorf("told %q", s.told())
	}
}

// TestOnePodSpeaksForAll: many Pods of a Deployment that fail for one reason make one Event a minute.
func TestOnePodSpeaksForAll(t *testing.T) {
	s := newStage(t)
	for _, event := range []string{"e", "f", "g"} {
		s.warnAs(event, "1", "Pod", "v1", "web-1-x", 1, 0)
		s.relayAs(event)
	}
	if got := s.told(); len(got) != 1 {
		t.Errorf("told %q", got)
	}
	s.clock.Step(eventPace)
	s.warnAs("f", "2", "Pod", "v1", "web-1-x", 2, 0)
	if s.relayAs("f"); len(s.told()) != 2 {
		t.Errorf("after a minute, told %q", s.told())
	}
}

// TestSpeakers: two causes of one reason are both told, a hundred ways to say it are not.
func TestSpeakers(t *testing.T) {
	p, now := newNamespaceSync("key", shopNamespace), time.Now()
	told := 0
	for i, words := range []string{"image a is absent", "image a is absent", "image b is absent", "c", "d", "e"} {
		if p.shouldWriteEvent("uid", "Failed", fmt.Sprint(i), words, now) {
			told++
		}
	}
	if told != maxEventsPerReason || p.shouldWriteEvent("uid", "Failed", "1", "image a is absent", now) || !p.shouldWriteEvent("uid", "Failed", "2", "image b is absent", now) {
		t.Errorf("%d were told, of %v", told, p.recentEvents)
	}
	if !p.shouldWriteEvent("uid", "Failed", "1", "image a is absent", now.Add(eventPace)) || len(p.recentEvents) != 1 {
		t.Errorf("after a minute: %v", p.recentEvents)
	}
}

func TestWarningsAreToldOnceAMinute(t *testing.T) {
	s := newStage(t)
	s.warn("1", "Deployment", "apps/v1", "web", 1, 0)
	s.relay()
	s.up.ClearActions()
	s.relay()
	if got := len(s.up.Actions()); got != 0 {
		t.Errorf("%d requests for what was told", got)
	}
	s.warn("2", "Deployment", "apps/v1", "web", 2, 0)
	s.clock.Step(20 * time.Second)
	if again := s.relay(); again != 40*time.Second || len(s.up.Actions()) != 0 {
		t.Errorf("comes again after %s, with %d requests", again, len(s.up.Actions()))
	}
	s.clock.Step(40 * time.Second)
	s.relay()
	if got := s.told(); len(got) != 1 {
		t.Errorf("a repetition made another: %q", got)
	}
	list, err := s.up.Resource(events).Namespace("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if count, _, _ := unstructured.NestedInt64(list.Items[0].Object, "count"); count != 2 {
		t.Errorf("count = %d", count)
	}
}

// TestRefusedWarning: what the workspace refuses is not written again until the Event is repeated; what passes is tried
// again.
func TestRefusedWarning(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		final  bool
	}{
		"forbidden":   {apierrors.NewForbidden(events.GroupResource(), "e", errors.New("quota")), true},
		"invalid":     {apierrors.NewInvalid(events.GroupVersion().WithKind("Event").GroupKind(), "e", nil), true},
		"webhook":     {apierrors.NewInternalError(errors.New("failed calling webhook")), true},
		"busy":        {apierrors.NewTooManyRequests("later", 1), false},
		"no answer":   {errors.New("connection refused"), false},
		"unavailable": {apierrors.NewServiceUnavailable("restarting"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.up.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.answer })
			s.warn("1", "Deployment", "apps/v1", "web", 1, 0)
			if _, err := s.engine.syncEvent(t.Context(), s.place, "e"); (err == nil) != tc.final {
				t.Fatalf("syncEvent() = %v", err)
			}
			s.up.ClearActions()
			_, _ = s.engine.syncEvent(t.Context(), s.place, "e")
			if requests := len(s.up.Actions()); (requests == 0) != tc.final {
				t.Errorf("%d requests for the same Event", requests)
			}
			s.up.ClearActions()
			s.clock.Step(eventPace)
			s.warn("2", "Deployment", "apps/v1", "web", 2, 0)
			if _, _ = s.engine.syncEvent(t.Context(), s.place, "e"); len(s.up.Actions()) == 0 {
				t.Error("a repetition is not tried")
			}
		})
	}
}

func TestClipName(t *testing.T) {
	long := strings.Repeat("a", 215)
	for name, want := range map[string]string{
		"web":                     "web",
		"web.example.com":         "web.example.com",
		long + "bcd":              long + "b",
		long + "-bcd":             long,
		long + ".bcd":             long,
		long[1:] + ".-bcd":        long[1:],
		long[1:] + "-.bcd":        long[1:],
		"system:Controller":       "system-controller",
		":x:.:y":                  "x.y",
		"::":                      "object",
		strings.Repeat("ä", 500):  "object",
		strings.Repeat("a-", 200): strings.Repeat("a-", 107) + "a",
	} {
		got := clipName(name)
		if got != want {
			t.Errorf("clipName(%q) = %q, want %q", name, got, want)
		}
		if problems := validation.IsDNS1123Subdomain(got + "." + strings.Repeat("f", 36)); len(problems) > 0 {
			t.Errorf("%q: %q", got, problems)
		}
	}
}
