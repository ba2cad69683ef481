package heartbeat

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// leasePatch renews the Lease, provided that it is that of the SyncTarget with this UID. The whole spec is the syncer's.
func leasePatch(uid types.UID, now time.Time, clusterID, instance string, duration time.Duration) []byte {
	return encode(
		operation{"test", "/metadata/labels/" + escape(workloadv1alpha1.LabelUID), uid},
		operation{"add", "/metadata/annotations/" + escape(workloadv1alpha1.AnnotationClusterID), clusterID},
		operation{"add", "/spec", coordinationv1.LeaseSpec{
			HolderIdentity: &instance, LeaseDurationSeconds: ptr.To(int32(duration.Seconds())), RenewTime: &metav1.MicroTime{Time: now},
		}},
	)
}

// escape makes a key a part of a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// syncerPatch says what the syncer has to report beside a Lease.
func syncerPatch(uid types.UID, syncer workloadv1alpha1.SyncerStatus) []byte {
	return encode(
		operation{"test", "/metadata/uid", uid},
		operation{"add", "/status/syncer", syncer},
	)
}

// heartbeatPatch says, without a Lease, that the syncer lives, provided that the cluster it last reported is still this one.
func heartbeatPatch(uid types.UID, now time.Time, clusterID string) []byte {
	return encode(
		operation{"test", "/metadata/uid", uid},
		operation{"test", "/status/syncer/clusterID", clusterID},
		operation{"add", "/status/lastHeartbeatTime", metav1.NewTime(now)},
	)
}

// fullPatch says, without a Lease, that the syncer lives, and what it has to report.
func fullPatch(uid types.UID, now time.Time, syncer workloadv1alpha1.SyncerStatus) []byte {
	return encode(
		operation{"test", "/metadata/uid", uid},
		operation{"add", "/status/lastHeartbeatTime", metav1.NewTime(now)},
		operation{"add", "/status/syncer", syncer},
	)
}

func encode(operations ...operation) []byte {
	patch, err := json.Marshal(operations)
	if err != nil {
		panic(fmt.Sprintf("encoding a patch of plain API types: %v", err)) // no value of these types can fail
	}
	return patch
}
