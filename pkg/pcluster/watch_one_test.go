package pcluster

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func otherDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "other"}}
}

// TestWatchOne: a cluster has one watch. Watching another object ends it, and the first can be watched anew.
func TestWatchOne(t *testing.T) {
	s := newStory(t, false)
	if err := s.cluster.Watch(otherDeployment()); err != nil {
		t.Fatal(err)
	}
	s.told(t, "the first look at the other, of which nothing was known")
	eventually(t, "the end of the first watch", func() bool { return goroutines("pcluster.(*watcher).run") == 1 })
	if err := s.cluster.remembered(); err != nil {
		t.Errorf("the cluster is dead: %v", err)
	}

	watchIt(t, s.cluster)
	s.told(t, "the first look, of which nothing is known any more")
	s.modify()
	s.told(t, "a change")
	if got := s.watchCount(); got != 3 {
		t.Errorf("%d watches, want three, one after the other", got)
	}
}

// TestNotedIsBounded: of what is not watched nothing is remembered, however much the caller reads.
func TestNotedIsBounded(t *testing.T) {
	s := newStory(t, false)
	for range 2 {
		if err := newClient(t, s.cluster).Get(t.Context(), client.ObjectKeyFromObject(otherDeployment()), otherDeployment()); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		s.read(t)
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	want := map[watchKey]string{{resource: appsv1.Resource("deployments"), namespace: "n", name: "d"}: "1"}
	if diff := cmp.Diff(want, s.cluster.noted, cmp.AllowUnexported(watchKey{})); diff != "" {
		t.Errorf("noted: -want +got\n%s", diff)
	}
}

// TestUnwatchedEnds: a refusal goes with its watch, and with its cluster.
func TestUnwatchedEnds(t *testing.T) {
	for name, end := range map[string]func(*story) error{
		"forgotten": func(s *story) error { s.clusters.Forget(testID("a")); return nil },
		"another is watched": func(s *story) error {
			s.set(func() { s.refusal = nil })
			return s.cluster.Watch(otherDeployment())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			if err := s.cluster.Unwatched(); err != nil {
				t.Errorf("Unwatched() = %v, though the watch holds", err)
			}
			s.set(func() { s.refusal = refuse(http.StatusForbidden, "Forbidden", "") })
			s.cutWatches()
			s.stepUntil(t, "the refusal", func() bool { return s.cluster.Unwatched() != nil })
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its end", func() bool { return s.cluster.Unwatched() == nil })
		})
	}
}
