package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// TestSyncWrites counts what the syncer writes: once down and once up for a change, once more up for the finalizer of what is new,
// and once more down for the first change; nothing at rest, and nothing when another takes its place.
func TestSyncWrites(t *testing.T) {
	t.Parallel() // it rests most of its time
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	for _, log := range []string{"kcp", "cluster-1"} {
		all, err := s.audited(log, time.Time{})
		require.NoError(t, err)
		require.NotEmpty(t, all, "the audit log of %s shows heartbeats or the Lease: otherwise what it does not show would prove nothing", log)
	}

	start := time.Now()
	config := s.configMap("config", map[string]string{"a": "1"})
	s.create(config)
	s.awaitReport(config, `"ready":"Current"`)
	s.requireWrites(start, "creating a ConfigMap", "configmaps config", 1, 2)
	// The report tells the second of the last apply, which has to be another to be told.
	created := time.Now()
	n.eventually("the next second begins", func() (bool, string) { return time.Now().Unix() > created.Unix(), "" })
	changed := time.Now()
	change(n, config, func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "2"} })
	s.awaitCopy("config", map[string]string{"a": "2"})
	s.requireWrites(changed, "changing it for the first time, with the ownership that a create has given", "configmaps config", 2, 1)
	n.eventually("the next second begins", func() (bool, string) { return time.Now().Unix() > changed.Unix()+1, "" })
	again := time.Now()
	change(n, config, func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "3"} })
	s.awaitCopy("config", map[string]string{"a": "3"})
	s.requireWrites(again, "changing it again", "configmaps config", 1, 1)

	web := idleDeployment("shop", "web")
	s.create(web)
	s.awaitAvailable(web, 1)
	s.awaitQuiet()
	scaled := time.Now()
	change(n, web, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](10) })
	s.awaitAvailable(web, 10)
	s.awaitReport(web, `"ready":"Current"`)
	took := time.Since(scaled)
	s.awaitQuiet()
	down, up := s.writes(scaled)
	status, reports := about("deployments.apps/status web", up), about("deployments.apps web", up)
	t.Logf("scaling a Deployment from 1 to 10 within %s: %d writes down, %d of its status and %d reports up", took, len(down), len(status), len(reports))
	assert.Len(t, down, 2, "writes down of a Deployment that is scaled: the ownership that its creation has given, and the apply")
	assert.NotEmpty(t, status, "its status has come up")
	assert.LessOrEqual(t, len(status), 2+int(took.Seconds()), "its status: the first step, one a second, and the last")
	assert.LessOrEqual(t, len(reports), 2, "reports: it is on its way, and it is there")

	t.Log("at rest, nothing")
	rested := time.Now()
	s.rest(30*time.Second, nil)
	down, up = s.writes(rested)
	assert.Empty(t, down, "written at rest in the physical cluster")
	assert.Empty(t, up, "written at rest in the workspace")
	down, up = s.writes(start)
	assert.Len(t, about("configmaps config", down), 4, "nothing came late, down")
	assert.Len(t, about("configmaps config", up), 4, "nothing came late, up")
	assert.Len(t, about("deployments.apps web", down), 3, "a Deployment created and scaled")

	const many = 300
	s.burst(many)
	s.takesOver(1 + many)
}

// burst creates many ConfigMaps at once, more than the syncer's limits let through. Each is held before its copy exists, and
// costs no more writes than one alone.
func (s *shop) burst(many int) {
	t := s.t
	t.Logf("%d ConfigMaps at once", many)
	start := time.Now()
	var all errgroup.Group
	all.SetLimit(16)
	for i := range many {
		all.Go(func() error {
			return s.Create(t.Context(), s.configMap(fmt.Sprintf("burst-%d", i), map[string]string{"a": "1"}))
		})
	}
	require.NoError(t, all.Wait())
	s.eventually("all are told of", func() (bool, string) {
		configMaps := &corev1.ConfigMapList{}
		require.NoError(t, s.List(t.Context(), configMaps, client.InNamespace("shop")))
		told := 0
		for _, c := range configMaps.Items {
			if c.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)] != "" {
				told++
			}
		}
		return told > many, fmt.Sprintf("%d are", told) // with the one that was there
	})
	s.awaitQuiet()
	up, down := s.timesOf("kcp", start), s.timesOf(s.target.Spec.Cluster, start)
	for i := range many {
		name := fmt.Sprintf("burst-%d", i)
		assert.Len(t, up[name], 2, "writes of %s in the workspace", name)
		if assert.Len(t, down[name], 1, "writes of %s in the physical cluster", name) && len(up[name]) > 0 {
			assert.True(t, up[name][0].Before(down[name][0]), "%s was first written upstream at %s, and copied at %s", name, up[name][0], down[name][0])
		}
	}
}

// timesOf are when the syncer has written each ConfigMap on a side, in order, what was refused left out.
func (s *shop) timesOf(log string, since time.Time) map[string][]time.Time {
	s.t.Helper()
	all, err := s.audited(log, since)
	require.NoError(s.t, err)
	times := map[string][]time.Time{}
	for _, w := range all {
		if w.Resource == "configmaps" && w.Code < http.StatusMultipleChoices {
			times[w.Name] = append(times[w.Name], w.Time)
		}
	}
	for _, of := range times {
		slices.SortFunc(of, time.Time.Compare)
	}
	return times
}

// takesOver kills the syncer. The next one finds everything as it should be, so many ConfigMaps among it, writes nothing, and
// tells no other numbers.
func (s *shop) takesOver(configMaps int) {
	t := s.t
	t.Log("a new syncer writes nothing")
	target := &workloadv1alpha1.SyncTarget{}
	s.eventually("all objects are counted", func() (bool, string) {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		counts, objects := countsOf(target), int32(0)
		for _, r := range target.Status.SyncedResources {
			objects += r.Objects
		}
		a, err := s.assignment() // which is told of them later
		if err != nil || a == nil || a.Status.Objects == nil {
			return false, fmt.Sprint("no report of the Namespace: ", err)
		}
		return counts["configmaps"] == fmt.Sprintf("%d, 0 failing", configMaps) && counts["deployments"] == "1, 0 failing" && a.Status.Objects.Applied == objects,
			fmt.Sprint(counts, a.Status.Objects)
	})
	before, counts, killed := target.Status.Syncer.Instance, countsOf(target), time.Now()
	s.killSyncer(s.target.Name)
	s.eventually("another has the Lease, and its heartbeat is told", func() (bool, string) {
		lease := &coordinationv1.Lease{}
		if err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.namespaceOf(s.target.Name), Name: options.LeaseName}, lease); err != nil {
			return false, err.Error()
		}
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		holder, instance := ptr.Deref(lease.Spec.HolderIdentity, ""), target.Status.Syncer.Instance
		return instance != before && strings.HasPrefix(holder, instance+"_"), fmt.Sprintf("%s beats, %s holds the Lease", instance, holder)
	})
	other := map[string]string{}
	s.rest(20*time.Second, func(target *workloadv1alpha1.SyncTarget) {
		if now := countsOf(target); !maps.Equal(now, counts) {
			other = now
		}
	})
	assert.Empty(t, other, "other counts than %v were told", counts)
	down, up := s.writes(killed)
	assert.Empty(t, down, "written by the new syncer in the physical cluster")
	assert.Empty(t, up, "written by the new syncer in the workspace")
	all, err := s.audited("kcp", killed)
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprint(all), namespaceReports, "told by the new syncer of the Namespace")
}

// countsOf is what a SyncTarget tells of each resource in numbers.
func countsOf(target *workloadv1alpha1.SyncTarget) map[string]string {
	counts := map[string]string{}
	for _, r := range target.Status.SyncedResources {
		counts[r.Resource] = fmt.Sprintf("%d, %d failing", r.Objects, r.Failing)
	}
	return counts
}

// rest lets time pass in which the syncer lives, as at least one heartbeat has to show, and looks at the SyncTarget again
// and again meanwhile.
func (s *shop) rest(d time.Duration, look func(*workloadv1alpha1.SyncTarget)) {
	s.t.Helper()
	start, beats := time.Now(), map[int64]bool{}
	s.eventually(fmt.Sprintf("%s have passed, and a heartbeat in them", d), func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		beats[s.renewed(target.Name).Unix()] = true
		if look != nil {
			look(target)
		}
		return time.Since(start) >= d && len(beats) > 1, ""
	})
}

// awaitQuiet waits until the syncer has written nothing for a while: a status may come in several steps.
func (s *shop) awaitQuiet() {
	s.t.Helper()
	s.eventually("the syncer has had nothing to write for 3 s", func() (bool, string) {
		down, up := s.writes(time.Now().Add(-3 * time.Second))
		return len(down)+len(up) == 0, fmt.Sprint(down, up)
	})
}

// requireWrites waits until the syncer has written an object so often in the physical cluster and in the workspace, and fails if it
// has written more.
func (s *shop) requireWrites(since time.Time, what, object string, downs, ups int) {
	s.t.Helper()
	s.eventually(what+" is written down and up", func() (bool, string) {
		down, up := s.writes(since)
		return len(down) >= downs && len(up) >= ups, fmt.Sprint(down, up)
	})
	down, up := s.writes(since)
	assert.Len(s.t, down, downs, "%s: writes in the physical cluster", what)
	assert.Len(s.t, up, ups, "%s: writes in the workspace", what)
	for side, writes := range map[string][]string{"the physical cluster": down, "the workspace": up} {
		assert.Len(s.t, about(object, writes), len(writes), "%s: writes of nothing but %s in %s", what, object, side)
	}
}

// about are the writes of one resource and name.
func about(object string, writes []string) []string {
	var found []string
	for _, w := range writes {
		if strings.Contains(w, " "+object+" ") {
			found = append(found, w)
		}
	}
	return found
}

// writes are what the syncer has written of synced objects since a moment, in the physical cluster and in the workspace,
// failed attempts included.
func (s *shop) writes(since time.Time) (down, up []string) {
	s.t.Helper()
	sides := map[string][]string{}
	for _, log := range []string{s.target.Spec.Cluster, "kcp"} {
		all, err := s.audited(log, since)
		require.NoError(s.t, err)
		for _, w := range all {
			switch w.Resource {
			case "synctargets.workload.kcp.io/status", namespaceReports, "leases.coordination.k8s.io", "events":
			default:
				sides[log] = append(sides[log], fmt.Sprintf("%s %s %s (%d)", w.Verb, w.Resource, w.Name, w.Code))
			}
		}
	}
	return sides[s.target.Spec.Cluster], sides["kcp"]
}

// namespaceReports are what the syncer writes of a whole Namespace.
const namespaceReports = "assignments.workload.kcp.io/status"

// audited is everything that the syncer has written, on one side: its ServiceAccount has the same name on both.
func (s *shop) audited(log string, since time.Time) ([]framework.Request, error) {
	return env.WritesBy(log, "system:serviceaccount:"+s.namespaceOf(s.target.Name)+":"+agent.DeploymentName, since)
}
