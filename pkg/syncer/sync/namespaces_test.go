package sync

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// watches are those that a fake server has been asked for.
type watches struct {
	mu  sync.Mutex
	all map[string][]*watch.FakeWatcher
}

// newWatched is a server without objects, which notes who watches what.
func newWatched() (*dynamicfake.FakeDynamicClient, *watches) {
	kinds := map[schema.GroupVersionResource]string{}
	for resource, kind := range map[string]string{"configmaps": "ConfigMapList", "secrets": "SecretList", "events": "EventList"} {
		kinds[schema.GroupVersionResource{Version: "v1", Resource: resource}] = kind
	}
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	w := &watches{all: map[string][]*watch.FakeWatcher{}}
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		watcher := watch.NewFake()
		what := action.GetResource().Resource + " in " + action.GetNamespace()
		w.all[what] = append(w.all[what], watcher)
		return true, watcher, nil
	})
	return client, w
}

// running are the watches that have not ended, each as often as it runs.
func (w *watches) running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var running []string
	for what, watchers := range w.all {
		for _, watcher := range watchers {
			if !watcher.IsStopped() {
				running = append(running, what)
			}
		}
	}
	slices.Sort(running)
	return running
}

// TestOpenedNamespacesAloneAreFollowed: nothing is watched but the synced resources of a Namespace that is open or is being left,
// and the Events of its counterpart; no more than once, and no longer.
func TestOpenedNamespacesAloneAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kcp{}
		k.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Resource: "secrets"}}
		k.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps"}, {Resource: "secrets"}}
		say := func(e *Controller, assignments ...*workloadv1alpha1.Assignment) {
			t.Helper()
			k.assignments = assignments
			sourceIn(e).show(&k.SyncTarget, assignments...)
			for range 2 { // the second time there is nothing to do
				if err := e.reconcileNamespaces(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		e := newTestEngine(t, k)
		defer e.queue.ShutDown()
		up, upstream := newWatched()
		down, downstream := newWatched()
		sourceIn(e).Client, e.down = up, down
		here := func(namespace string) []string {
			return []string{"configmaps in " + namespace, "secrets in " + namespace}
		}
		there := func(namespace string) []string {
			counterpart := naming.Namespace(testOwner.Key, namespace)
			return []string{"configmaps in " + counterpart, "events in " + counterpart, "secrets in " + counterpart}
		}
		check := func(when string, namespaces ...string) {
			t.Helper()
			wantUp, wantDown := []string(nil), []string(nil)
			for _, n := range namespaces {
				wantUp, wantDown = append(wantUp, here(n)...), append(wantDown, there(n)...)
			}
			slices.Sort(wantUp)
			slices.Sort(wantDown)
			if diff := cmp.Diff(wantUp, upstream.running()); diff != "" {
				t.Errorf("%s: watched in the workspace: -want +got\n%s", when, diff)
			}
			if diff := cmp.Diff(wantDown, downstream.running()); diff != "" {
				t.Errorf("%s: watched in the physical cluster: -want +got\n%s", when, diff)
			}
		}
		say(e, assigned("opening", intentOfRun, notAdmitted), assigned("never begun", intentOfWithdraw, notAdmitted))
		check("before one is open")
		say(e, assigned("shop", intentOfRun), assigned("office", intentOfRun))
		check("two are open", "office", "shop")
		say(e, assigned("shop", intentOfRun), assigned("office", intentOfWithdraw))
		check("one is being left", "office", "shop")
		say(e, assigned("shop", intentOfRun), assigned("office", intentOfWithdraw, reportedWithdrawn))
		check("one has been left", "shop")
		say(e)
		check("their Assignments have vanished", "shop")
		if requests := len(up.Actions()); requests != 8 {
			t.Errorf("%d requests to the workspace, want a list and a watch for each of 4 resources", requests)
		}
		for _, p := range e.namespaces {
			p.stop()
		}
		synctest.Wait()
		check("the engine has ended")
	})
}

// TestListThatFails: a resource that the physical cluster does not list, though it answers, is told, on the objects too, and
// holds up neither the Warnings of others nor the end of the Namespace. No answer, and a failure that passes, are nobody's fault.
func TestListThatFails(t *testing.T) {
	broken := apierrors.NewInternalError(errors.New("conversion webhook failed"))
	for name, tc := range map[string]struct {
		reason string
		answer func(attempt int) error
		told   string
	}{
		"fails":            {"", func(int) error { return broken }, "the physical cluster fails to list it in an assigned Namespace: Internal error occurred: conversion webhook failed"},
		"is forbidden":     {"", func(int) error { return apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no")) }, `the physical cluster refuses to list it in an assigned Namespace: configmaps is forbidden: no`},
		"cannot be listed": {"It is made, and not kept.", func(int) error { return apierrors.NewMethodNotSupported(configMaps.GroupResource(), "list") }, "the physical cluster fails to list it in an assigned Namespace: list is not supported on resources of kind \"configmaps\""},
		"failed a while":   {"", func(attempt int) error { return map[bool]error{true: broken}[attempt < cache.MaxListFailures-1] }, ""},
		"fails, then is away": {"", func(attempt int) error {
			return map[bool]error{true: broken, false: errors.New("connection refused")}[attempt < cache.MaxListFailures-1]
		}, ""},
		"is away":         {"That too.", func(int) error { return apierrors.NewServiceUnavailable("restarting") }, ""},
		"does not answer": {"That is the SyncTarget's business.", func(int) error { return errors.New("connection refused") }, ""},
		"is gone":         {"It is looked for.", func(int) error { return apierrors.NewNotFound(configMaps.GroupResource(), "") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestEngine(t, &kcp{})
				defer e.queue.ShutDown()
				up, _ := newWatched()
				down, _ := newWatched()
				sourceIn(e).Client, e.down = up, down
				if err := up.Tracker().Create(configMaps, sourceOf(), "shop"); err != nil {
					t.Fatal(err)
				}
				attempts := 0
				down.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
					attempts++
					err := tc.answer(attempts - 1)
					return err != nil, nil, err
				})
				p := newTestNamespace(shopNamespace)
				r := discovery.Resource{GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}, Kind: "ConfigMap", State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}
				p.stopEvents = func() {}
				e.ensureResources(p, []discovery.Resource{r})
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				defer func() { p.stop(); synctest.Wait() }()

				status := e.resourceStatuses([]discovery.Resource{r}, &source.Plan{})[0]
				if status.Message != tc.told || (status.State == workloadv1alpha1.ResourceForbidden) != (tc.told != "") {
					t.Errorf("%s\ntold is %s %q, want %q", tc.reason, status.State, status.Message, tc.told)
				}
				l := p.resource(r.GroupResource)
				if tc.told == "" {
					return
				}
				queued := map[queueKey]bool{}
				for e.queue.Len() > 0 {
					i, _ := e.queue.Get()
					queued[i] = true
					e.queue.Done(i)
				}
				if !queued[queueKey{namespace: shopNamespace}] || !queued[queueKey{shopNamespace, r.GroupResource, "a"}] {
					t.Errorf("looked at is %v", queued)
				}
				if _, err := e.syncObject(t.Context(), p, l, "a"); err != nil {
					t.Fatal(err)
				}
				live, err := up.Resource(configMaps).Namespace("shop").Get(t.Context(), "a", metav1.GetOptions{})
				if err != nil || !strings.Contains(rejection.ParseReport(e.syncAnnotation(live)).Refused, tc.told) {
					t.Errorf("told on the object is %q, %v", e.syncAnnotation(live), err)
				}
			})
		})
	}
}

// TestListsThatFailAlike: what one Namespace's list says does not take turns with another's, of which each would be a write.
func TestListsThatFailAlike(t *testing.T) {
	gr := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	e := newTestEngine(t, &kcp{})
	defer e.queue.ShutDown()
	clock := clocktesting.NewFakeClock(time.Now())
	e.clock, e.namespaces[shopNamespace] = clock, newTestNamespace(shopNamespace)
	for _, tc := range []struct {
		namespace, words, want string
		after                  time.Duration
	}{
		{"shop", "not in shop", "not in shop", 0},
		{"office", "not in office", "not in shop", 0},
		{"shop", "nowhere", "nowhere", 0},
		{"office", "not in office", "not in office", cache.ListErrorLifetime + time.Second}, // nothing was heard of shop
		{"shop", "not in shop", "not in shop", 0},                                           // office is not followed any more
	} {
		clock.Step(tc.after)
		e.recordListError(gr, clusterSide, listFailure{tc.words, namespaceNamed(tc.namespace), clock.Now()})
		if got := e.listErrors[resourceOnSide{gr, clusterSide}].message; got != tc.want {
			t.Errorf("told is %q, want %q", got, tc.want)
		}
	}
	e.recordListError(gr, workspaceSide, listFailure{"not there either", shopNamespace, clock.Now()})
	accepted := discovery.Resource{GroupResource: gr, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}
	if got := e.resourceStatuses([]discovery.Resource{accepted}, &source.Plan{})[0].Message; got != "not there either" {
		t.Errorf("told of both sides is %q", got)
	}
	if e.clearListError(gr); len(e.listErrors) != 0 {
		t.Errorf("told after a list is %v", e.listErrors)
	}
}
