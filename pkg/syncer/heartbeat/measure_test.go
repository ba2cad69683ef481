package heartbeat

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestSum(t *testing.T) {
	cordoned := node(corev1.ConditionTrue, "4", "8Gi")
	cordoned.Spec.Unschedulable = true
	silent := node(corev1.ConditionTrue, "4", "8Gi")
	silent.Status.Conditions = nil
	gpu := node(corev1.ConditionTrue, "500m", "1Gi")
	gpu.Status.Capacity["example.com/gpu"] = resource.MustParse("2")
	gpu.Status.Allocatable["example.com/gpu"] = resource.MustParse("1")
	huge := node(corev1.ConditionTrue, "4", "4Ei")

	type list = map[string]string
	cases := map[string]struct {
		reason                string
		nodes                 []corev1.Node
		want                  int32
		capacity, allocatable list
	}{
		"NoNodes": {
			reason: "A cluster without nodes has nothing to offer.",
		},
		"OneNode": {
			reason: "One node's resources are the sum.",
			nodes:  []corev1.Node{node(corev1.ConditionTrue, "4", "8Gi")}, want: 1,
			capacity: list{"cpu": "4", "memory": "8Gi"}, allocatable: list{"cpu": "4", "memory": "8Gi"},
		},
		"NotReadyIsLeftOut": {
			reason: "What runs on a node that is not ready cannot be relied on, nor on one that says nothing.",
			nodes: []corev1.Node{
				node(corev1.ConditionFalse, "4", "8Gi"), node(corev1.ConditionUnknown, "4", "8Gi"), silent,
				node(corev1.ConditionTrue, "2", "4Gi"),
			},
			want: 1, capacity: list{"cpu": "2", "memory": "4Gi"}, allocatable: list{"cpu": "2", "memory": "4Gi"},
		},
		"CordonedCounts": {
			reason: "What runs on a cordoned node still runs.",
			nodes:  []corev1.Node{cordoned, node(corev1.ConditionTrue, "2", "4Gi")}, want: 2,
			capacity: list{"cpu": "6", "memory": "12Gi"}, allocatable: list{"cpu": "6", "memory": "12Gi"},
		},
		"EveryResource": {
			reason: "Extended resources are summed like the others, in canonical form.",
			nodes:  []corev1.Node{gpu, node(corev1.ConditionTrue, "1500m", "1536Mi")}, want: 2,
			capacity:    list{"cpu": "2", "memory": "2560Mi", "example.com/gpu": "2"},
			allocatable: list{"cpu": "2", "memory": "2560Mi", "example.com/gpu": "1"},
		},
		"BeyondInt64": {
			reason: "A sum that does not fit 64 bits is still right.",
			nodes:  []corev1.Node{huge, huge, huge}, want: 3,
			capacity: list{"cpu": "12", "memory": "12Ei"}, allocatable: list{"cpu": "12", "memory": "12Ei"},
		},
	}
	text := func(quantities map[string]resource.Quantity) list {
		var l list
		for name, q := range quantities {
			if l == nil {
				l = list{}
			}
			l[name] = q.String()
		}
		return l
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := (&corev1.NodeList{Items: tc.nodes}).DeepCopy().Items
			got := sum(tc.nodes)
			if got.nodes != tc.want {
				t.Errorf("\n%s\nnodes: want %d, got %d", tc.reason, tc.want, got.nodes)
			}
			if diff := cmp.Diff(tc.capacity, text(got.capacity)); diff != "" {
				t.Errorf("\n%s\ncapacity: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.allocatable, text(got.allocatable)); diff != "" {
				t.Errorf("\n%s\nallocatable: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.nodes); diff != "" {
				t.Errorf("the nodes, which are shared with the cache, were changed: -before, +after:\n%s", diff)
			}
		})
	}
}

func TestMeasureWithoutNodes(t *testing.T) {
	earlier := &workloadv1alpha1.SyncerStatus{
		Version: "old", Instance: "old", ClusterID: "c-1", KubernetesVersion: "old", Nodes: 3,
		Capacity:    map[string]resource.Quantity{"cpu": resource.MustParse("12")},
		Allocatable: map[string]resource.Quantity{"cpu": resource.MustParse("11")},
	}
	elsewhere := earlier.DeepCopy()
	elsewhere.ClusterID = "c-2"
	head := `[{"op":"test","path":"/metadata/uid","value":"u-1"},` +
		`{"op":"add","path":"/status/lastHeartbeatTime","value":"2025-01-02T03:04:05Z"},` +
		`{"op":"add","path":"/status/syncer","value":{"version":"v0.1.0","instance":"syncer-abc","tokenSecret":"syncer-token","clusterID":"c-1","kubernetesVersion":"v1.34.4",`

	cases := map[string]struct {
		reason string
		change func(*recorder)
		want   []string
		state  string
	}{
		"Nothing": {
			reason: "Who and where the syncer is does not wait for the nodes.",
			change: func(*recorder) {},
			want:   []string{head + `"nodes":0}}]`},
			state:  "accepted",
		},
		"Inherited": {
			reason: "What an earlier leader measured here is kept until it is known better.",
			change: func(r *recorder) { r.target.Status.Syncer = earlier },
			want:   []string{head + `"nodes":3,"capacity":{"cpu":"12"},"allocatable":{"cpu":"11"}}}]`},
			state:  "accepted",
		},
		"OfAnotherCluster": {
			reason: "What was measured in another cluster says nothing of this one.",
			change: func(r *recorder) { r.target.Status.Syncer = elsewhere },
			want:   []string{head + `"nodes":0}}]`},
			state:  "accepted",
		},
		"Recreated": {
			reason: "Nothing is taken from, or sent to, another SyncTarget.",
			change: func(r *recorder) { r.target = target("u-2") },
			state:  "recreated",
		},
		"CannotBeRead": {
			reason: "If kcp does not answer there is nothing to send.",
			change: func(r *recorder) { r.getErr = status(http.StatusForbidden) },
			state:  "forbidden",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cluster.nodesErr = errDown
			tc.change(f.kcp)
			_, _ = f.attempt(t.Context())
			if diff := cmp.Diff(tc.want, f.kcp.patches); diff != "" {
				t.Errorf("\n%s\npatches: -want, +got:\n%s", tc.reason, diff)
			}
			if f.state != tc.state {
				t.Errorf("\n%s\nstate: want %q, got %q", tc.reason, tc.state, f.state)
			}
			if f.kcp.gets != 1 {
				t.Errorf("\n%s\nwant one read of the SyncTarget, got %d", tc.reason, f.kcp.gets)
			}
		})
	}
}

func TestMeasureKeepsWhatItKnew(t *testing.T) {
	f := newFixture(t)
	_, _ = f.attempt(t.Context())
	f.cluster.nodesErr, f.cluster.versionErr = errDown, errDown
	f.clock.Step(versionInterval)
	_, _ = f.attempt(t.Context())
	if got := len(f.kcp.patches); got != 2 {
		t.Fatalf("want a heartbeat although nothing could be measured, got %d in two attempts", got)
	}
	if diff := cmp.Diff(string(heartbeatPatch("u-1", f.clock.Now(), "c-1")), f.kcp.patches[1]); diff != "" {
		t.Errorf("want the measurement to stand: -want, +got:\n%s", diff)
	}
	if f.kcp.gets != 0 {
		t.Errorf("want no read of the SyncTarget by who has measured before, got %d", f.kcp.gets)
	}
}

func TestVersionIsReadRarely(t *testing.T) {
	f := newFixture(t)
	step := func(reason string, want int) {
		t.Helper()
		_, _ = f.attempt(t.Context())
		if f.cluster.versionReads != want {
			t.Errorf("%s: want %d reads of the version so far, got %d", reason, want, f.cluster.versionReads)
		}
	}
	step("the first attempt reads it", 1)
	f.clock.Step(versionInterval - 1)
	step("it stands for ten minutes", 1)
	f.clock.Step(1)
	step("then it is read again", 2)
	f.cluster.idErr = errDown
	step("nothing is read while the cluster is away", 2)
	f.cluster.idErr = nil
	step("what comes back may have been upgraded", 3)
}
