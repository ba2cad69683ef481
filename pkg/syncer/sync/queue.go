package sync

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/fairness"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// retryBase and retryMax bound the backoff of one object, and retryAfterMax bounds what a server may ask for instead.
// Other objects do not wait for it. retryJitter is how much longer a wait may be, as a fraction of it.
const (
	retryBase     = 100 * time.Millisecond
	retryMax      = time.Minute
	retryAfterMax = 5 * time.Minute
	retryJitter   = 0.2
)

// queueKey is what waits in the queue: an object, a Namespace or the report on it if there is no resource, or everything if
// there is neither.
type queueKey struct {
	namespace source.Namespace
	resource  workloadv1alpha1.GroupResource
	name      string
}

// queue is a work queue in which Namespaces take turns, with the backoff of keys that have failed.
type queue struct {
	workqueue.TypedRateLimitingInterface[queueKey]
	backoff workqueue.TypedRateLimiter[queueKey]
}

// newQueue gives each Namespace its turn, and its share of the workers: one whose applies hang leaves the others
// theirs.
func newQueue(workers int) queue {
	backoff := workqueue.NewTypedItemExponentialFailureRateLimiter[queueKey](retryBase, retryMax)
	return queue{fairness.New(fairness.Options[queueKey, source.Namespace]{
		Name: "sync", RateLimiter: backoff, Workers: workers, Group: func(i queueKey) source.Namespace { return i.namespace },
	}), backoff}
}

// addFailed adds a key that has failed, for its next attempt. The wait is jittered, so that many objects that failed
// together are not retried together.
func (q queue) addFailed(i queueKey, err error) {
	failures := q.NumRequeues(i)
	q.backoff.When(i) // counts it
	q.AddAfter(i, wait.Jitter(pause(failures, err), retryJitter))
}

// pause is the shortest wait of what fails, after so many failures before: its backoff, and no less than the server
// has asked for.
func pause(failures int, err error) time.Duration {
	delay := min(retryBase<<min(failures, 20), retryMax)
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		delay = max(delay, min(time.Duration(seconds)*time.Second, retryAfterMax))
	}
	return delay
}
