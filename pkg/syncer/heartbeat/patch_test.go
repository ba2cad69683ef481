package heartbeat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestPatches(t *testing.T) {
	now := time.Date(2025, 1, 2, 5, 4, 5, 678, time.FixedZone("CEST", 2*3600))
	cases := map[string]struct {
		reason string
		patch  []byte
		want   string
	}{
		"Lease": {
			reason: "It is renewed only for the SyncTarget it belongs to, and tells which cluster the syncer runs in.",
			patch:  leasePatch("u-1", now, "c-1", "syncer-abc", time.Minute),
			want: `[{"op":"test","path":"/metadata/labels/workload.kcp.io~1uid","value":"u-1"},` +
				`{"op":"add","path":"/metadata/annotations/workload.kcp.io~1cluster-id","value":"c-1"},` +
				`{"op":"add","path":"/spec","value":{"holderIdentity":"syncer-abc","leaseDurationSeconds":60,"renewTime":"2025-01-02T03:04:05.000000Z"}}]`,
		},
		"Report": {
			reason: "Beside a Lease, lastHeartbeatTime is the controller's.",
			patch:  syncerPatch("u-1", workloadv1alpha1.SyncerStatus{ClusterID: "c-1"}),
			want:   `[{"op":"test","path":"/metadata/uid","value":"u-1"},{"op":"add","path":"/status/syncer","value":{"clusterID":"c-1","nodes":0}}]`,
		},
		"Heartbeat": {
			reason: "A heartbeat writes one field, and only in the SyncTarget and for the cluster it speaks for.",
			patch:  heartbeatPatch("u-1", now, "c-1"),
			want: `[{"op":"test","path":"/metadata/uid","value":"u-1"},` +
				`{"op":"test","path":"/status/syncer/clusterID","value":"c-1"},` +
				`{"op":"add","path":"/status/lastHeartbeatTime","value":"2025-01-02T03:04:05Z"}]`,
		},
		"Full": {
			reason: "A report replaces status.syncer as a whole and touches no field of the controller's.",
			patch: fullPatch("u-1", now, workloadv1alpha1.SyncerStatus{
				Version: "v0.1.0", Instance: "syncer-abc", TokenSecret: "syncer-token", ClusterID: "c-1", KubernetesVersion: "v1.34.4", Nodes: 2,
				Capacity:    map[string]resource.Quantity{"cpu": resource.MustParse("8000m")},
				Allocatable: map[string]resource.Quantity{"memory": resource.MustParse("2048Mi")},
			}),
			want: `[{"op":"test","path":"/metadata/uid","value":"u-1"},` +
				`{"op":"add","path":"/status/lastHeartbeatTime","value":"2025-01-02T03:04:05Z"},` +
				`{"op":"add","path":"/status/syncer","value":{"version":"v0.1.0","instance":"syncer-abc","tokenSecret":"syncer-token","clusterID":"c-1",` +
				`"kubernetesVersion":"v1.34.4","nodes":2,"capacity":{"cpu":"8"},"allocatable":{"memory":"2Gi"}}}]`,
		},
		"FullOfNothing": {
			reason: "A cluster without ready nodes says so: nodes is never left out.",
			patch:  fullPatch("u-1", now, workloadv1alpha1.SyncerStatus{}),
			want: `[{"op":"test","path":"/metadata/uid","value":"u-1"},` +
				`{"op":"add","path":"/status/lastHeartbeatTime","value":"2025-01-02T03:04:05Z"},` +
				`{"op":"add","path":"/status/syncer","value":{"nodes":0}}]`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, string(tc.patch)); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
