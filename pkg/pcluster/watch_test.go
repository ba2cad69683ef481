package pcluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestWatchTells(t *testing.T) {
	for name, happen := range map[string]func(*story){
		"modified": func(s *story) { s.modify() },
		"deleted":  func(s *story) { s.remove() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			if len(s.changes) != 0 {
				t.Error("OnChange was called, though the caller has seen this Deployment")
			}
			happen(s)
			s.told(t, "the change")
			s.modify()
			s.told(t, "another change")
			if got := s.watchCount(); got != 1 {
				t.Errorf("%d watches, want 1", got)
			}
			if diff := cmp.Diff("metadata.name=d", s.queries[0]); diff != "" {
				t.Errorf("field selector, -want +got:\n%s", diff)
			}
		})
	}
}

func TestWatchFirstLook(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		before func(t *testing.T, s *story)
		tells  bool
	}{
		"never read":    {"what the caller knows is unknown", func(*testing.T, *story) {}, true},
		"read":          {"it knows all", func(t *testing.T, s *story) { s.read(t) }, false},
		"changed since": {"what happened in between counts", func(t *testing.T, s *story) { s.read(t); s.modify() }, true},
		"deleted since": {"so does this", func(t *testing.T, s *story) { s.read(t); s.remove() }, true},
		"known missing": {"it knows that, too", func(t *testing.T, s *story) { s.remove(); s.read(t) }, false},
		"created since": {"", func(t *testing.T, s *story) { s.remove(); s.read(t); s.modify() }, true},
		"applied": {"its own write is no news", func(t *testing.T, s *story) {
			applied := &unstructured.Unstructured{}
			applied.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
			applied.SetNamespace("n")
			applied.SetName("d")
			if err := newClient(t, s.cluster).Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("test")); err != nil {
				t.Fatal(err)
			}
		}, false},
		"read unavailable": {"a failed read tells the caller nothing", func(*testing.T, *story) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{watched: newWatched(t), clock: clocktesting.NewFakeClock(time.Now())}
			s.clusters, s.changes = startClusters(t, s.clock, nil)
			var err error
			if s.cluster, err = s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); err != nil {
				t.Fatal(err)
			}
			test.before(t, s)
			for range 3 {
				watchIt(t, s.cluster)
			}
			eventually(t, "the watch", func() bool { return s.watchCount() > 0 })
			if test.tells {
				await(t, "OnChange", s.changes)
			} else if len(s.changes) != 0 {
				t.Errorf("%s: OnChange was called", test.reason)
			}
			if got := s.watchCount(); got != 1 {
				t.Errorf("%d watches, want 1 for three calls", got)
			}
		})
	}
}

// Every kind is watched where API servers serve it, and what none of ours knows is an error.
func TestWatchPaths(t *testing.T) {
	server := newServer(t, nil)
	looks := make(chan string, 100)
	server.answer(except(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("watch") {
			looks <- r.URL.Path + "?" + r.URL.Query().Get("fieldSelector")
		}
		refuse(http.StatusForbidden, "Forbidden", "")(w, r)
	}))
	clusters, _ := startClusters(t, clocktesting.NewFakeClock(time.Now()), nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	local, global := metav1.ObjectMeta{Namespace: "n", Name: "x"}, metav1.ObjectMeta{Name: "x"}
	for want, object := range map[string]client.Object{
		"/api/v1/namespaces":                                           &corev1.Namespace{ObjectMeta: global},
		"/api/v1/namespaces/n/serviceaccounts":                         &corev1.ServiceAccount{ObjectMeta: local},
		"/api/v1/namespaces/n/secrets":                                 &corev1.Secret{ObjectMeta: local},
		"/apis/apps/v1/namespaces/n/deployments":                       &appsv1.Deployment{ObjectMeta: local},
		"/apis/rbac.authorization.k8s.io/v1/clusterroles":              &rbacv1.ClusterRole{ObjectMeta: global},
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings":       &rbacv1.ClusterRoleBinding{ObjectMeta: global},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles":        &rbacv1.Role{ObjectMeta: local},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/n/rolebindings": &rbacv1.RoleBinding{ObjectMeta: local},
	} {
		if err := cluster.Watch(object); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want+"?metadata.name=x", await(t, "the look", looks)); diff != "" {
			t.Errorf("%T: -want +got:\n%s", object, diff)
		}
	}
	if err := cluster.Watch(&appsv1.ControllerRevision{ObjectMeta: local}); !meta.IsNoMatchError(err) {
		t.Errorf("Watch(ControllerRevision) = %v, want no match", err)
	}
}

// The server's URL may end with a slash, and may have a path.
func TestWatchBelowPath(t *testing.T) {
	for name, test := range map[string]struct{ path, prefix string }{
		"slash":          {"/", ""},
		"path":           {"/prefix", "/prefix"},
		"path and slash": {"/prefix/", "/prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{watched: newWatched(t)}
			s.answer(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, test.prefix+"/api") {
					http.NotFound(w, r)
					return
				}
				http.StripPrefix(test.prefix, except(s.serve)).ServeHTTP(w, r)
			})
			var err error
			s.clusters, s.changes = startClusters(t, nil, nil)
			kubeconfig := tokenKubeconfig(s.URL+test.path, s.Certificate().Raw, "t")
			if s.cluster, err = s.clusters.Get(t.Context(), testID("a"), kubeconfig); err != nil {
				t.Fatal(err)
			}
			s.read(t)
			watchIt(t, s.cluster)
			eventually(t, "the watch", func() bool { return s.watchCount() == 1 })
			s.modify()
			await(t, "the change", s.changes)
		})
	}
}

// A flood of events is a call at once and then one in each interval, and the last of them is never lost.
func TestWatchFlood(t *testing.T) {
	s := newStory(t, false)
	s.modify()
	await(t, "the first", s.changes)
	for range 100 {
		s.modify()
	}
	last := fmt.Sprint(101 + 1)
	eventually(t, "the last event", func() bool {
		s.read(t)
		s.cluster.mu.Lock()
		defer s.cluster.mu.Unlock()
		return s.cluster.noted[watchKey{resource: appsv1.Resource("deployments"), namespace: "n", name: "d"}] == last
	})
	if len(s.changes) != 0 {
		t.Error("OnChange was called again at once")
	}
	eventually(t, "the interval", s.clock.HasWaiters)
	if waited := s.stepUntil(t, "the rest", func() bool { return len(s.changes) > 0 }); waited < 10*time.Second {
		t.Errorf("OnChange was called again after %s", waited)
	}
}
