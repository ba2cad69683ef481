package heartbeat

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// pulsePatch says that the syncer lives, provided that the cluster it last reported is still this one.
func pulsePatch(uid types.UID, now time.Time, clusterID string) []byte {
	return encode(
		operation{"test", "/metadata/uid", uid},
		operation{"test", "/status/syncer/clusterID", clusterID},
		operation{"add", "/status/lastHeartbeatTime", metav1.NewTime(now)},
	)
}

// fullPatch says that the syncer lives, and what it has to report.
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
