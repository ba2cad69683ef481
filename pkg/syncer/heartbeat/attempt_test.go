package heartbeat

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// syncer is what a fixture reports.
func (f *fixture) syncer(change ...func(*workloadv1alpha1.SyncerStatus)) workloadv1alpha1.SyncerStatus {
	list := map[string]resource.Quantity{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")}
	s := workloadv1alpha1.SyncerStatus{
		Version: "v0.1.0", Instance: "syncer-abc", TokenSecret: "syncer-token", ClusterID: "c-1", KubernetesVersion: "v1.34.4", Nodes: 1,
		Capacity: list, Allocatable: list,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func (f *fixture) full(change ...func(*workloadv1alpha1.SyncerStatus)) string {
	return string(fullPatch("u-1", f.clock.Now(), f.syncer(change...)))
}

func (f *fixture) heartbeat() string { return string(heartbeatPatch("u-1", f.clock.Now(), "c-1")) }

// sent returns what was patched since it was last called.
func (f *fixture) sent() []string {
	patches := f.kcp.patches
	f.kcp.patches = nil
	return patches
}

func TestAttemptWritesOnlyWhatHasChanged(t *testing.T) {
	f := newFixture(t)
	steps := []struct {
		reason string
		change func()
		want   func() []string
	}{
		{
			reason: "The first attempt says everything.",
			change: func() {},
			want:   func() []string { return []string{f.full()} },
		},
		{
			reason: "With nothing new, only the time is written.",
			change: func() {},
			want:   func() []string { return []string{f.heartbeat()} },
		},
		{
			reason: "The same amount in other words is nothing new.",
			change: func() { f.cluster.nodes = []corev1.Node{node(corev1.ConditionTrue, "4000m", "8192Mi")} },
			want:   func() []string { return []string{f.heartbeat()} },
		},
		{
			reason: "A node that comes is reported once.",
			change: func() { f.cluster.nodes = append(f.cluster.nodes, node(corev1.ConditionTrue, "2", "2Gi")) },
			want: func() []string {
				return []string{f.full(func(s *workloadv1alpha1.SyncerStatus) {
					list := map[string]resource.Quantity{"cpu": resource.MustParse("6"), "memory": resource.MustParse("10Gi")}
					s.Nodes, s.Capacity, s.Allocatable = 2, list, list
				})}
			},
		},
		{
			reason: "And then it is nothing new.",
			change: func() {},
			want:   func() []string { return []string{f.heartbeat()} },
		},
		{
			reason: "A report that kcp did not get is sent again; of what failed nothing is known.",
			change: func() {
				f.cluster.nodes = f.cluster.nodes[:1]
				f.kcp.errs = []error{errDown}
			},
			want: func() []string { return []string{f.full()} },
		},
		{
			reason: "So it is said again in full.",
			change: func() {},
			want:   func() []string { return []string{f.full()} },
		},
		{
			reason: "A heartbeat that failed leaves the report as it was.",
			change: func() { f.kcp.errs = []error{errDown} },
			want:   func() []string { return []string{f.heartbeat()} },
		},
		{
			reason: "A heartbeat again.",
			change: func() {},
			want:   func() []string { return []string{f.heartbeat()} },
		},
		{
			reason: "Where the report is gone, or another cluster's stands, ours is put back within the same attempt.",
			change: func() { f.kcp.errs = []error{status(http.StatusUnprocessableEntity)} },
			want:   func() []string { return []string{f.heartbeat(), f.full()} },
		},
	}
	for _, step := range steps {
		f.clock.Step(interval)
		step.change()
		_, _ = f.attempt(t.Context())
		if diff := cmp.Diff(step.want(), f.sent()); diff != "" {
			t.Fatalf("%s\n-want, +got:\n%s", step.reason, diff)
		}
	}
	if f.kcp.gets != 0 {
		t.Errorf("want no read of the SyncTarget, got %d", f.kcp.gets)
	}
}

func TestAttemptAfterFailure(t *testing.T) {
	invalid := status(http.StatusUnprocessableEntity)
	cases := map[string]struct {
		reason  string
		change  func(*fixture)
		patches int
		gets    int
		state   string
		rest    time.Duration
	}{
		"OwnClusterAway": {
			reason: "Who cannot reach its own cluster's API has nothing to say.",
			change: func(f *fixture) { f.cluster.idErr = errDown },
			state:  "ownCluster", rest: 750 * time.Millisecond,
		},
		"OwnClusterRefuses": {
			reason: "A refusal of the own cluster is not mistaken for one of kcp's.",
			change: func(f *fixture) { f.cluster.idErr = status(http.StatusForbidden) },
			state:  "ownCluster", rest: 750 * time.Millisecond,
		},
		"KcpAway": {
			reason:  "An unreachable kcp is tried again in a second.",
			change:  func(f *fixture) { f.kcp.errs = []error{errDown} },
			patches: 1, state: "unreachable", rest: 750 * time.Millisecond,
		},
		"Unauthorized": {
			reason:  "The token may be renewed any moment.",
			change:  func(f *fixture) { f.kcp.errs = []error{status(http.StatusUnauthorized)} },
			patches: 1, state: "unauthorized", rest: 750 * time.Millisecond,
		},
		"Forbidden": {
			reason:  "The role may be repaired any moment.",
			change:  func(f *fixture) { f.kcp.errs = []error{status(http.StatusForbidden)} },
			patches: 1, state: "forbidden", rest: 750 * time.Millisecond,
		},
		"NotFound": {
			reason:  "A kcp that starts up may know nothing of the API yet.",
			change:  func(f *fixture) { f.kcp.errs = []error{status(http.StatusNotFound)} },
			patches: 1, state: "notFound", rest: 750 * time.Millisecond,
		},
		"Recreated": {
			reason: "The successor of the same name is another syncer's; the second answer confirms it.",
			change: func(f *fixture) {
				f.kcp.errs = []error{invalid}
				f.kcp.target = target("u-2")
			},
			patches: 1, gets: 1, state: "recreated", rest: 750 * time.Millisecond,
		},
		"NoStatus": {
			reason: "A patch does not fit where the controller has not written yet.",
			change: func(f *fixture) {
				f.kcp.errs = []error{invalid}
				f.kcp.target.Status.Key = ""
			},
			patches: 1, gets: 1, state: "uninitialized", rest: 750 * time.Millisecond,
		},
		"Refused": {
			reason:  "What the schema refuses is told apart from both.",
			change:  func(f *fixture) { f.kcp.errs = []error{invalid} },
			patches: 1, gets: 1, state: "refused", rest: 750 * time.Millisecond,
		},
		"GoneMeanwhile": {
			reason: "The reason of the second answer counts.",
			change: func(f *fixture) {
				f.kcp.errs = []error{invalid}
				f.kcp.getErr = status(http.StatusNotFound)
			},
			patches: 1, gets: 1, state: "notFound", rest: 750 * time.Millisecond,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.change(f)
			rest, _ := f.attempt(t.Context())
			if got := len(f.sent()); got != tc.patches || f.kcp.gets != tc.gets {
				t.Errorf("\n%s\nwant %d patches and %d reads, got %d and %d", tc.reason, tc.patches, tc.gets, got, f.kcp.gets)
			}
			if f.state != tc.state || rest != tc.rest {
				t.Errorf("\n%s\nwant %q and %s of rest, got %q and %s", tc.reason, tc.state, tc.rest, f.state, rest)
			}

			f.cluster.idErr, f.kcp.errs, f.kcp.getErr, f.kcp.target = nil, nil, nil, target("u-1")
			if rest, _ := f.attempt(t.Context()); rest != interval {
				t.Errorf("\n%s\nwant %s of rest after all is well again, got %s", tc.reason, interval, rest)
			}
			if diff := cmp.Diff([]string{f.full()}, f.sent()); diff != "" {
				t.Errorf("\n%s\nwant everything said once all is well again: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestAttemptBacksOffAndRecovers(t *testing.T) {
	f := newFixture(t)
	var got []time.Duration
	attempt := func() {
		rest, err := f.attempt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rest)
	}
	for range 7 {
		f.kcp.errs = []error{errDown}
		attempt()
	}
	for range 2 {
		attempt()
	}
	f.kcp.errs = []error{errDown}
	attempt()

	half := func(seconds float64) time.Duration { return time.Duration(0.75 * seconds * float64(time.Second)) }
	want := []time.Duration{
		half(1), half(2), half(4), half(8), half(16), half(20), half(20), // with the jitter in the middle
		interval, interval,
		half(1), // a success forgets the failures before it
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rests: -want, +got:\n%s", diff)
	}
}

func TestStandbySendsNothing(t *testing.T) {
	f := newStandby(t)
	if rest, _ := f.attempt(t.Context()); rest != interval {
		t.Errorf("want a standby to rest %s, got %s", interval, rest)
	}
	if len(f.sent()) != 0 || f.cluster.versionReads != 0 {
		t.Error("want a standby to send nothing and to measure nothing")
	}
	if f.cluster.idReads != 1 {
		t.Errorf("want a standby to look whether its cluster answers, once an attempt; got %d looks", f.cluster.idReads)
	}
}

func TestAttemptCutShortIsNoFailure(t *testing.T) {
	f := newFixture(t)
	_, _ = f.attempt(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = f.attempt(ctx)
	if f.failures != 0 || f.state != "accepted" {
		t.Errorf("want an attempt that was cut short by leaving to count for nothing, got %d failures in state %q", f.failures, f.state)
	}
}
