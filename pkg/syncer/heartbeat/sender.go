package heartbeat

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

// Upstream is the SyncTarget in kcp. Its errors are, or wrap, the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// Lease is the Lease in kcp that is renewed as the heartbeat. Its errors are, or wrap, the API server's.
type Lease interface {
	Patch(ctx context.Context, patch []byte) error
}

// Downstream is the physical cluster that the syncer runs in.
type Downstream interface {
	// ID identifies the cluster. It is read live.
	ID(ctx context.Context) (string, error)
	KubernetesVersion(ctx context.Context) (string, error)
	// Nodes may be shared and are not changed.
	Nodes(ctx context.Context) ([]corev1.Node, error)
}

// Config is what a Sender needs. All of it is required, except where a default is named.
type Config struct {
	Upstream   Upstream
	Lease      Lease
	Downstream Downstream
	// Elected is closed when this replica becomes the leader. It never stops leading but by leaving.
	Elected <-chan struct{}
	// Name and UID are those of the SyncTarget that this syncer acts for.
	Name string
	UID  types.UID
	// Interval is the mean time between two heartbeats.
	Interval time.Duration
	// OrphanThreshold is how long kcp has to say that there is no such SyncTarget, or refuse the token, until Start gives
	// up; it defaults to orphan.DefaultThreshold.
	OrphanThreshold time.Duration
	// Version and Instance are reported as they are.
	Version, Instance string
	// TokenSecret names the Secret of the token that heartbeats are sent with; it defaults to none.
	TokenSecret func() string
	Metrics     *Metrics
	// Clock defaults to the real one.
	Clock clock.Clock
	// Random yields numbers in [0,1) for jitter; it defaults to math/rand.
	Random func() float64
}

// Sender sends heartbeats, from Start until its context ends.
type Sender struct {
	Config

	readiness *readiness
	detector  orphan.Detector
	// failures in a row; set by settle.
	failures int
	// state is the last one logged; set by settle.
	state string
	// version is the cluster's Kubernetes version, read at versionRead; set by measure.
	version     string
	versionRead time.Time
	// measured is the last full measurement, nil before the first; set by measure.
	measured *measurement
	// nodesFailing is whether the last attempt to list Nodes failed; set by measure.
	nodesFailing bool
	// reported is the status.syncer that was last accepted, nil if unknown; set by report.
	reported *workloadv1alpha1.SyncerStatus
	// leaseMisses is how often in a row the Lease could not be renewed, and leaseRetry when it is tried again; set by report.
	leaseMisses int
	leaseRetry  time.Time
	// confirmed is when kcp last showed the SyncTarget with our UID.
	confirmed time.Time
}

// New returns a Sender that is ready to Start.
func New(config Config) *Sender {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Random == nil {
		config.Random = rand.Float64
	}
	if config.TokenSecret == nil {
		config.TokenSecret = func() string { return "" }
	}
	return &Sender{
		Config:    config,
		readiness: &readiness{clock: config.Clock, tolerance: missedHeartbeats * config.Interval},

		detector: orphan.Detector{Threshold: cmp.Or(config.OrphanThreshold, orphan.DefaultThreshold)},
	}
}

// NeedLeaderElection tells the manager to start the Sender in every replica: a standby proves that it could take
// over, and only the leader reports.
func (s *Sender) NeedLeaderElection() bool { return false }

// Start sends a heartbeat at once, at once again on being elected, and then at every interval. It returns nil when ctx ends, and an
// *orphan.Error when the SyncTarget does not exist any more or kcp does not accept the token any more.
func (s *Sender) Start(ctx context.Context) error {
	elected := s.Elected
	for {
		pause, err := s.attempt(ctx)
		if err != nil {
			return err
		}
		timer := s.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-elected:
			timer.Stop()
			elected = nil
			log.FromContext(ctx).Info("elected: this replica sends the heartbeats")
		case <-timer.C():
		}
	}
}

// leads is whether this replica is the leader.
func (s *Sender) leads() bool {
	select {
	case <-s.Elected:
		return true
	default:
		return false
	}
}
