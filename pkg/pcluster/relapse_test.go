package pcluster

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestRelapse: a cluster that answers probes and nothing else is probed ever more rarely; one that served for a while
// begins anew.
func TestRelapse(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	clusters := New(Options{Clock: clock})
	cluster, err := clusters.newCluster(testID("a"), tokenKubeconfig("https://edge.example.com", nil, "t"))
	if err != nil {
		t.Fatal(err)
	}
	next := func() time.Duration {
		cluster.markDead(unreachable("it does not answer"))
		backoff := cluster.backoff
		cluster.markAlive("uid")
		return backoff.Step()
	}
	first := next()
	for range 5 {
		clock.Step(10 * time.Second)
		last := next()
		if last <= first {
			t.Errorf("the next probe comes after %s, the first after %s", last, first)
		}
	}
	clock.Step(relapseTime)
	if again := next(); again > 15*time.Second {
		t.Errorf("a cluster that served for %s is probed after %s", relapseTime, again)
	}
}
