package installation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// settleTime is how long the Reporter waits after a change for others of the same cause. It is short: a syncer that has lost
// its ServiceAccount loses its Lease, and ends, about 10 s later.
const settleTime = 2 * time.Second

// reportTimeout bounds one request to kcp.
const reportTimeout = 5 * time.Second

// retryBackoff is when a report is tried again that kcp did not accept: after a second at first, after 30 s in the end.
func retryBackoff() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 30 * time.Second}
}

// Upstream is the SyncTarget in kcp. Its errors are, or wrap, the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// Config is what a Reporter needs.
type Config struct {
	// Cluster reads the metadata of objects in the physical cluster.
	Cluster  metadata.Interface
	Upstream Upstream
	// UID is that of the SyncTarget, and Key its status.key.
	UID types.UID
	Key string
	// Namespace is the syncer's own in the physical cluster.
	Namespace string
	// Clock defaults to the real one.
	Clock clock.Clock
}

// Reporter reports changes of the installation. It runs on the leader only.
type Reporter struct {
	Config

	// changed holds an element when something has changed since the last look.
	changed chan struct{}
	// watches are those that run, by object; used by Start alone.
	watches map[options.InstalledObject]*objectWatch
	// reported is the hash that the SyncTarget holds, nil if unknown; used by Start alone.
	reported *string

	mu sync.Mutex
	// namespaces are the downstream Namespaces in which the syncer needs its rights, nil before they are known.
	namespaces map[string]bool
}

// New returns a Reporter that is ready to Start.
func New(config Config) *Reporter {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Reporter{Config: config, changed: make(chan struct{}, 1), watches: map[options.InstalledObject]*objectWatch{}}
}

// NeedLeaderElection keeps the standbys from reporting the same.
func (r *Reporter) NeedLeaderElection() bool { return true }

// Follow returns the same source. While it runs, the Reporter knows by its Plan in which downstream Namespaces the syncer needs
// its rights. Before that nothing is reported.
func (r *Reporter) Follow(s source.Source) source.Source { return followed{s, r} }

type followed struct {
	source.Source
	reporter *Reporter
}

// Run implements source.Source.
func (f followed) Run(ctx context.Context, changed func()) error {
	return f.Source.Run(ctx, func() {
		changed()
		f.reporter.follow(f.Plan())
	})
}

// follow takes in a Plan; nil is none.
func (r *Reporter) follow(plan *source.Plan) {
	if plan == nil {
		return
	}
	namespaces := map[string]bool{}
	for _, a := range plan.Assignments {
		if a.Intent != source.Prepare && !a.IsWithdrawn() {
			namespaces[naming.Namespace(r.Key, a.Namespace.Name)] = true
		}
	}
	r.mu.Lock()
	r.namespaces = namespaces
	r.mu.Unlock()
	r.signal()
}

// Start watches and reports until ctx ends, and returns nil then.
func (r *Reporter) Start(ctx context.Context) error {
	backoff, retry := retryBackoff(), time.Duration(0)
	for r.awaitChange(ctx, retry) {
		objects := r.objects()
		r.ensureWatches(ctx, objects)
		if !r.pause(ctx, settleTime) {
			break
		}
		retry = 0
		hash, known := r.hash(r.objects())
		if !known {
			continue // what is not known yet is a change when it is
		}
		if err := r.report(ctx, hash); err != nil {
			retry = backoff.Step()
			log.FromContext(ctx).V(1).Info("trying again to report a change of the installation", "cause", err.Error(), "after", retry)
			continue
		}
		backoff = retryBackoff()
	}
	return nil
}

// awaitChange waits for a change, or for retry if that is not 0, and returns false when ctx ends.
func (r *Reporter) awaitChange(ctx context.Context, retry time.Duration) bool {
	var again <-chan time.Time
	if retry > 0 {
		timer := r.Clock.NewTimer(retry)
		defer timer.Stop()
		again = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-r.changed:
	case <-again:
	}
	return true
}

// pause returns false if ctx ends before d has passed.
func (r *Reporter) pause(ctx context.Context, d time.Duration) bool {
	timer := r.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// objects are those that make up the installation; none before all are known.
func (r *Reporter) objects() []options.InstalledObject {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.namespaces == nil {
		return nil
	}
	objects := options.Installation(r.Namespace)
	for namespace := range r.namespaces {
		objects = append(objects, options.InstalledIn(namespace))
	}
	return objects
}

// ensureWatches watches these objects, and no others.
func (r *Reporter) ensureWatches(ctx context.Context, objects []options.InstalledObject) {
	wanted := map[options.InstalledObject]bool{}
	for _, object := range objects {
		wanted[object] = true
		if r.watches[object] == nil {
			r.watches[object] = startWatch(ctx, r.Cluster, object, r.signal)
		}
	}
	for object, w := range r.watches {
		if !wanted[object] {
			w.stop()
			delete(r.watches, object)
		}
	}
}

// hash is the hash of what is seen of these objects; known is false while something of them has yet to be seen.
func (r *Reporter) hash(objects []options.InstalledObject) (hash string, known bool) {
	states := make([]state, 0, len(objects))
	for _, object := range objects {
		w := r.watches[object]
		if w == nil {
			return "", false
		}
		s, known := w.state()
		if !known {
			return "", false
		}
		states = append(states, s)
	}
	return hashOf(states), len(states) > 0
}

// report writes a hash into the SyncTarget, unless it is there.
func (r *Reporter) report(ctx context.Context, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if r.reported == nil {
		target, err := r.Upstream.Get(ctx)
		if err != nil {
			return err
		}
		if target.UID != r.UID {
			return fmt.Errorf("SyncTarget %q was recreated: its UID is %q, not %q", target.Name, target.UID, r.UID)
		}
		r.reported = &target.Status.InstallationHash
	}
	if *r.reported == hash {
		return nil
	}
	patch, err := statusPatch(r.UID, hash)
	if err != nil {
		return fmt.Errorf("encoding the hash of the installation: %w", err)
	}
	log.FromContext(ctx).Info("Reporting a change of what is installed in the physical cluster", "hash", hash)
	if err := r.Upstream.PatchStatus(ctx, patch); err != nil {
		r.reported = nil // the answer may be lost, and not the write
		return err
	}
	r.reported = &hash
	return nil
}

func (r *Reporter) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
