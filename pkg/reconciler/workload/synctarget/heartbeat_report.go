package synctarget

import (
	"hash/fnv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// The controller writes status.lastHeartbeatTime for a syncer that renews a Lease: at each change of Ready, and once in each
// interval (Config.HeartbeatStatusInterval). A syncer that has no Lease writes it itself.

// reportDue returns the status.lastHeartbeatTime to write, by the controller's clock; nil to leave it as it is.
func (h heartbeatRecord) reportDue(target *workloadv1alpha1.SyncTarget, readyChanged bool, now time.Time, interval time.Duration) *metav1.Time {
	if h.source != sourceLease || h.changed.IsZero() {
		return nil
	}
	seen, written := metav1.NewTime(h.changed).Rfc3339Copy(), target.Status.LastHeartbeatTime
	last := h.reportedAt
	if h.watchedSince.After(last) {
		last = h.watchedSince
	}
	switch {
	case seen.Equal(written):
		return nil
	case written == nil, readyChanged, !now.Before(nextReport(target.UID, last, interval)):
		return &seen
	}
	return nil
}

// nextReport returns the first time after another at which status.lastHeartbeatTime is due. It is spread over the interval by
// the UID, so that many targets are not written at once, as after a start of the controller.
func nextReport(uid types.UID, after time.Time, interval time.Duration) time.Time {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(uid)) // never fails
	offset := time.Duration(hash.Sum64() % uint64(interval))
	return after.Add(-offset).Truncate(interval).Add(interval + offset)
}

// reporting notes that this controller is about to write status.lastHeartbeatTime where another time stood before. The write may
// fail: then the watch goes on to show the earlier one, which is no heartbeat either.
func (t *heartbeatTracker) reporting(uid types.UID, before *metav1.Time, written time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if record, known := t.targets[uid]; known {
		if before != nil {
			record.last[sourceStatus].at = before.Time
		}
		record.reportedBefore, record.reported, record.reportedAt = record.reported, written, t.clock.Now()
		t.put(uid, record)
	}
}
