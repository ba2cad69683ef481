package pcluster

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// TestWatchOnly: what is not named is watched no longer, and can be watched anew.
func TestWatchOnly(t *testing.T) {
	s := newStory(t, false)
	if err := s.cluster.WatchOnly(deployment()); err != nil {
		t.Fatal(err)
	}
	s.modify()
	s.told(t, "a change of what is named")

	other := &appsv1.Deployment{}
	other.Namespace, other.Name = "n", "other"
	if err := s.cluster.WatchOnly(other); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the watch", func() bool { return goroutines("pcluster.(*watcher).run") == 0 })
	s.modify()
	s.quiet()
	if len(s.changes) != 0 {
		t.Error("OnChange was called for what is no longer watched")
	}
	if err := s.cluster.remembered(); err != nil {
		t.Errorf("the cluster is dead: %v", err)
	}

	watchIt(t, s.cluster)
	s.told(t, "the first look, of which nothing was known")
	s.modify()
	s.told(t, "a change")
	if got := s.watchCount(); got != 2 {
		t.Errorf("%d watches, want a second one", got)
	}
}
