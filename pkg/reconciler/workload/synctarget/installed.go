package synctarget

import (
	"crypto/sha256"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// installed remembers when everything that is installed was last found right, so that a pass in between costs the
// physical cluster no request. Any sign of a change drops the memory, and of a syncer that fell silent it is not believed.
type installed struct {
	mu         sync.Mutex
	byUID      map[types.UID]installation
	identities map[types.UID]provenIdentity
	rounds     map[types.UID]*round
}

// provenIdentity is the token of a syncer whose identity in the workspace was found right.
type provenIdentity struct {
	inputs [sha256.Size]byte
	token  []byte
	until  time.Time
}

type installation struct {
	inputs  [sha256.Size]byte
	verdict verdict
	until   time.Time
}

// round is one look at everything that is installed. It takes several passes where there is much, or where a Namespace is
// obstructed: then it rests in between, and what was found right is not looked at again.
type round struct {
	inputs [sha256.Size]byte
	began  time.Time
	// admitted are the Namespaces into which the syncer is let in the workspace, and seen those whose counterparts were looked
	// at so far, with what obstructs each, empty for nothing.
	admitted, seen sync.Map
	// stale is set when something may have changed since it was looked at.
	stale bool
	// resting is set while the round waits for what is obstructed.
	resting bool
}

func newInstalled() *installed {
	return &installed{byUID: map[types.UID]installation{}, identities: map[types.UID]provenIdentity{}, rounds: map[types.UID]*round{}}
}

// begin returns the round that is under way, or a new one.
func (i *installed) begin(uid types.UID, inputs [sha256.Size]byte, now time.Time) *round {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.rounds[uid]
	if found == nil || found.inputs != inputs || found.resting && (found.stale || now.Sub(found.began) >= driftInterval) {
		found = &round{inputs: inputs, began: now}
		i.rounds[uid] = found
	}
	return found
}

// rest has the round go on with what is obstructed, and nothing else, later, and returns when: after a quarter of the time that
// it has lasted.
func (i *installed) rest(uid types.UID, now time.Time) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.rounds[uid]
	if found == nil {
		return namespaceRecheck // the target was forgotten meanwhile
	}
	found.resting = true
	found.seen.Range(func(name, message any) bool {
		if message != "" {
			found.seen.Delete(name)
		}
		return true
	})
	return min(max(now.Sub(found.began)/4, namespaceRecheck), refusedRecheck)
}

// end ends the round.
func (i *installed) end(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.rounds, uid)
}

func (i *installed) get(uid types.UID, inputs [sha256.Size]byte, now time.Time) (verdict, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.byUID[uid]
	if !ok || found.inputs != inputs || !now.Before(found.until) {
		return verdict{}, false
	}
	return found.verdict.after(found.until.Sub(now)), true
}

// put remembers what a round has found, and tells whether it still holds.
func (i *installed) put(uid types.UID, inputs [sha256.Size]byte, v verdict, now time.Time) (holds bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found := i.rounds[uid]; found != nil && found.stale {
		return false
	}
	i.byUID[uid] = installation{inputs: inputs, verdict: v, until: now.Add(v.recheck)}
	return true
}

// identity returns the token of a syncer whose identity was found right, unless something may have happened to it since.
func (i *installed) identity(uid types.UID, inputs [sha256.Size]byte, now time.Time) (token []byte, known bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.identities[uid]
	if !ok || found.inputs != inputs || !now.Before(found.until) {
		return nil, false
	}
	return found.token, true
}

// putIdentity remembers that an identity was found right, unless something has changed during the round.
func (i *installed) putIdentity(uid types.UID, inputs [sha256.Size]byte, token []byte, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found := i.rounds[uid]; found != nil && found.stale {
		return
	}
	i.identities[uid] = provenIdentity{inputs: inputs, token: token, until: now.Add(driftInterval * 4 / 5)}
}

// forgetIdentity tells that something may have happened to an identity, and to what was installed with it.
func (i *installed) forgetIdentity(uid types.UID) {
	i.mu.Lock()
	delete(i.identities, uid)
	i.mu.Unlock()
	i.forget(uid)
}

// forget tells that something may have changed.
func (i *installed) forget(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byUID, uid)
	if found := i.rounds[uid]; found != nil {
		found.stale = true
	}
}

// drop forgets a target.
func (i *installed) drop(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byUID, uid)
	delete(i.identities, uid)
	delete(i.rounds, uid)
}
