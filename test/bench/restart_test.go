//go:build bench

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/synctarget/synctarget/pkg/agent"
	"github.com/synctarget/synctarget/test/framework"
)

// TestRestart ends a syncer that has nothing to do, in its pod and with the standard settings, and measures how long the next
// one takes until it has looked at everything.
func TestRestart(t *testing.T) {
	count, rounds := size(t, "BENCH_OBJECTS", 1000), size(t, "BENCH_ROUNDS", 3)
	s := newInstalled(t, nil)
	s.restarts(s.open("sync", 1), count, rounds, restartTime)
}

// manyRestartTime is the mark of a restart with ten times the objects of TestRestart.
const manyRestartTime = 30 * time.Second

// TestRestartOfMany is TestRestart with 10,000 objects in ten Namespaces.
func TestRestartOfMany(t *testing.T) {
	count, rounds := size(t, "BENCH_MANY", 10_000), size(t, "BENCH_ROUNDS", 3)
	s := newInstalled(t, nil)
	s.restarts(s.open("sync", 10), count, rounds, manyRestartTime)
}

// restarts fills Namespaces, ends the syncer in each of two ways in each round, and requires that the next one is at rest in
// time.
func (s *installed) restarts(namespaces []string, count, rounds int, limit time.Duration) {
	t := s.t
	t.Helper()
	s.fill(namespaces, count, 1024)
	out := newTable("Restart of a syncer in its pod, with %d unchanged ConfigMaps of 1 KiB in %d Namespaces; at rest is when a new one in each has arrived and the queue is empty", count, len(namespaces))
	out.row("how it ended", "from its end to at rest", "from the next one's start", "writes", "memory (RSS)")
	out.row("floor: a bare client that lists both sides", "", s.listBoth(namespaces))
	for round := range rounds {
		// A pod whose process was killed before waits: kubelet backs off.
		for _, way := range []struct {
			name string
			end  func()
		}{
			{"pod deleted", s.deletePod},
			{"process killed", s.killProcess},
		} {
			before, err := s.process()
			require.NoError(t, err)
			began := time.Now()
			way.end()
			rested, started := s.settled(before, namespaces, fmt.Sprintf("probe-%d-%d", round, before))
			writes := s.writes(began)
			out.row(way.name, rested.Sub(began), rested.Sub(started), len(writes), mebibytes(s.memory()))
			assert.Less(t, rested.Sub(started), limit, "%s: from the next one's start", way.name)
			assert.Empty(t, writes, way.name)
		}
	}
	out.print()
}

// settled returns when the syncer after this one is at rest, and when it was started. A ConfigMap of this name in each Namespace
// shows that it does its work.
func (s *installed) settled(after int, namespaces []string, probe string) (rested, started time.Time) {
	s.t.Helper()
	s.eventually("the next syncer runs", func() (bool, string) {
		pid, err := s.process()
		if err != nil || pid == after {
			return false, fmt.Sprint(pid, err)
		}
		started, err = framework.StartOf(pid)
		return err == nil, fmt.Sprint(err)
	})
	for _, namespace := range namespaces {
		s.create(namespace, probe, 1024, nil)
	}
	arrived := 0 // in these Namespaces, in their order
	s.eventually("it is at rest", func() (bool, string) {
		for ; arrived < len(namespaces); arrived++ {
			if _, err := s.there.CoreV1().ConfigMaps(s.counterpart(namespaces[arrived])).Get(s.t.Context(), probe, metav1.GetOptions{}); err != nil {
				return false, err.Error()
			}
		}
		waiting, err := s.waiting()
		rested = time.Now()
		return waiting == 0 && err == nil, fmt.Sprint(waiting, err)
	})
	return rested, started
}

// listBoth returns how long a bare client takes to list what the syncer has to list of ConfigMaps.
func (s *installed) listBoth(namespaces []string) time.Duration {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	began := time.Now()
	var synced []cache.InformerSynced
	for _, namespace := range namespaces {
		for side, in := range map[dynamic.Interface]string{s.upBare: namespace, s.downBare: s.counterpart(namespace)} {
			informer := dynamicinformer.NewFilteredDynamicInformer(side, configMaps, in, 0, nil, nil).Informer()
			go informer.RunWithContext(ctx)
			synced = append(synced, informer.HasSynced)
		}
	}
	require.True(s.t, cache.WaitForCacheSync(ctx.Done(), synced...))
	return time.Since(began)
}

// writes are what was written of the ConfigMaps that were there before, on both sides, by the time at which nothing has been
// written for 5 s.
func (s *installed) writes(since time.Time) []string {
	s.t.Helper()
	var found []string
	s.eventually("5 s are over", func() (bool, string) {
		found = nil
		last := since
		for _, log := range []string{"kcp", "cluster-1"} {
			all, err := env.WritesBy(log, "system:serviceaccount:"+s.home+":"+agent.DeploymentName, since)
			require.NoError(s.t, err)
			for _, w := range all {
				if w.Resource == "configmaps" && strings.HasPrefix(w.Name, "config-") {
					found = append(found, log+" "+w.Verb+" "+w.Name)
				}
				if w.Resource == "configmaps" && w.Time.After(last) {
					last = w.Time
				}
			}
		}
		return time.Since(last) > 5*time.Second, last.String()
	})
	slices.Sort(found)
	return found
}
