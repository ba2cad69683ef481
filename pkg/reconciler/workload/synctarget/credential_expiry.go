package synctarget

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/synctarget/synctarget/pkg/pcluster"
)

// expiryNotice is how long before its end the user is told that a credential of the kubeconfig expires. Of a credential that is
// replaced often, such as a token of a day, it is a third of its lifetime.
const expiryNotice = 14 * 24 * time.Hour

// credentialExpiries records from when on users are told that the credentials of their kubeconfigs expire, of those that do.
type credentialExpiries struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	byUID map[types.UID]time.Time
}

func newCredentialExpiries(clock clock.PassiveClock) *credentialExpiries {
	return &credentialExpiries{clock: clock, byUID: map[types.UID]time.Time{}}
}

// set records from when on the user is told; zero for never.
func (e *credentialExpiries) set(uid types.UID, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at.IsZero() {
		delete(e.byUID, uid)
		return
	}
	e.byUID[uid] = at
}

// forget drops a SyncTarget.
func (e *credentialExpiries) forget(uid types.UID) { e.set(uid, time.Time{}) }

// count returns of how many SyncTargets users are told now.
func (e *credentialExpiries) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, count := e.clock.Now(), 0
	for _, at := range e.byUID {
		if !at.After(now) {
			count++
		}
	}
	return count
}

// metric exports the count.
func (e *credentialExpiries) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "synctarget_controller_credentials_expiring",
		Help: "SyncTargets whose kubeconfig has a client certificate or a token that expires soon, or has expired: within 14 days, or a third of its lifetime if that is shorter. Their condition Valid says when.",
	}, func() float64 { return float64(e.count()) })
}

// noticedExpiry is when the first credential of a kubeconfig expires, and from when on the user is told.
type noticedExpiry struct {
	pcluster.Expiry
	// notice is zero if no credential is known to expire.
	notice time.Time
}

func expiryOf(config *rest.Config) noticedExpiry {
	expiry := pcluster.FirstExpiry(config)
	if expiry.At.IsZero() {
		return noticedExpiry{}
	}
	before := expiryNotice
	if !expiry.Issued.IsZero() {
		before = min(before, expiry.At.Sub(expiry.Issued)/3)
	}
	return noticedExpiry{Expiry: expiry, notice: expiry.At.Add(-before)}
}

// addTo adds to the verdict of a valid kubeconfig that a credential in it expires soon, and has the pass repeated when that is to be
// said. Whether an expired credential is still accepted is for the physical cluster to say.
func (e noticedExpiry) addTo(valid verdict, now time.Time) verdict {
	if e.notice.IsZero() {
		return valid
	}
	if now.Before(e.notice) {
		return valid.after(e.notice.Sub(now))
	}
	verb := "expired"
	if now.Before(e.At) {
		verb, valid = "expires", valid.after(e.At.Sub(now))
	}
	valid.message += fmt.Sprintf("; the %s in the kubeconfig %s at %s: write a new kubeconfig to the Secret",
		e.Credential, verb, e.At.UTC().Format(time.RFC3339))
	return valid
}
