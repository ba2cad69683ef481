package sync

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/fairqueue"
)

// retryBase and retryMax bound the backoff of one object, and askedMax what a server may ask for in its place; the others do not
// wait for it.
const (
	retryBase     = 100 * time.Millisecond
	retryMax      = time.Minute
	retryAfterMax = 5 * time.Minute
)

// queueKey is what waits in the queue: an object, a Namespace if there is no resource, or everything if there is neither.
type queueKey struct {
	namespace string
	resource  workloadv1alpha1.GroupResource
	name      string
}

// queue is what waits for its turn, and for the time of its next attempt.
type queue struct {
	workqueue.TypedRateLimitingInterface[queueKey]
	backoff workqueue.TypedRateLimiter[queueKey]
}

// newQueue gives each Namespace its turn, and its share of the workers: one whose applies hang leaves the others theirs.
func newQueue(workers int) queue {
	namespace := func(i queueKey) string { return i.namespace }
	backoff := workqueue.NewTypedItemExponentialFailureRateLimiter[queueKey](retryBase, retryMax)
	return queue{fairqueue.Share(fairqueue.New("sync", backoff, namespace), workers, namespace), backoff}
}

// addFailed adds what has failed again, for its next attempt.
func (q queue) addFailed(i queueKey, err error) {
	failures := q.NumRequeues(i)
	q.backoff.When(i) // counts it
	q.AddAfter(i, pause(failures, err))
}

// pause is how long what fails waits, after so many failures before: its backoff, and no less than the server has asked for.
func pause(failures int, err error) time.Duration {
	wait := min(retryBase<<min(failures, 20), retryMax)
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		wait = max(wait, min(time.Duration(seconds)*time.Second, retryAfterMax))
	}
	return wait
}
