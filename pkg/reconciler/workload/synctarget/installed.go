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
	// right is when each installation was first found right by this process.
	right map[types.UID]time.Time
	// unobserved are the targets whose syncer may not be given the right to watch its installation.
	unobserved map[types.UID]bool
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
	// reported is what the syncer reported of its installation when the round began that found it right, at found.
	reported string
	found    time.Time
	// namespaces are those that were found right then or since.
	namespaces *provenNamespaces
}

// round is one look at everything that is installed. It takes several passes where there is much, or where a Namespace is
// obstructed: then it rests in between, and what was found right is not looked at again.
type round struct {
	inputs [sha256.Size]byte
	began  time.Time
	// reported is what the syncer reported of its installation when the round began.
	reported string
	// namespaces are those that were looked at so far.
	namespaces *provenNamespaces
	// proven is what the last full round has found, and still holds: then this one looks at Namespaces alone. nil if everything is
	// looked at.
	proven *installation
	// stale is set when something may have changed since it was looked at.
	stale bool
	// resting is set while the round waits for what is obstructed.
	resting bool
}

func newInstalled() *installed {
	return &installed{
		byUID: map[types.UID]installation{}, identities: map[types.UID]provenIdentity{}, rounds: map[types.UID]*round{},
		right: map[types.UID]time.Time{}, unobserved: map[types.UID]bool{},
	}
}

// begin returns the round that is under way, or a new one. reported is what the syncer reports of its installation, and fresh whether
// the verdict of the last round still holds: then the new one looks at Namespaces alone.
func (i *installed) begin(uid types.UID, inputs [sha256.Size]byte, reported string, fresh bool, now time.Time) *round {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.rounds[uid]
	if found != nil && found.inputs == inputs && !found.isOld(reported, fresh, now) {
		return found
	}
	found = &round{inputs: inputs, began: now, reported: reported, namespaces: newProvenNamespaces()}
	if last, ok := i.byUID[uid]; ok && fresh {
		found.proven, found.namespaces = &last, last.namespaces
	}
	i.rounds[uid] = found
	return found
}

// isOld reports whether a round is to give way to a new one: one that waits for what is obstructed when something may have changed, and
// one that looks at Namespaces alone when all else is to be looked at, too. A full one that is under way goes on.
func (r *round) isOld(reported string, fresh bool, now time.Time) bool {
	if r.proven != nil && (r.stale || !fresh) {
		return true
	}
	return r.resting && (r.stale || r.reported != reported || now.Sub(r.began) >= driftInterval)
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
	found.namespaces.forgetObstructed()
	return min(max(now.Sub(found.began)/4, namespaceRecheck), refusedRecheck)
}

// end ends the round, and tells whether something may have changed since it was looked at.
func (i *installed) end(uid types.UID) (stale bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	ended := i.rounds[uid]
	delete(i.rounds, uid)
	return ended != nil && ended.stale
}

// reportInterval is the least time between two looks for what the syncer reports of its installation: one that reports changes
// all the time must not keep the workers busy.
const reportInterval = 10 * time.Second

// get returns the verdict of the last full round, if it still holds. If the syncer reports its installation otherwise than when that
// round began, the verdict holds for the rest of reportInterval. So a change that the controller itself made costs one more
// round, which changes nothing.
func (i *installed) get(uid types.UID, inputs [sha256.Size]byte, reported string, now time.Time) (verdict, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.byUID[uid]
	until := found.until
	if next := found.found.Add(reportInterval); found.reported != reported && next.Before(until) {
		until = next
	}
	if !ok || found.inputs != inputs || !now.Before(until) {
		return verdict{}, false
	}
	return found.verdict.after(until.Sub(now)), true
}

// covers reports whether all Namespaces that a plan needs were found right by the last full round or since.
func (i *installed) covers(uid types.UID, plan namespacePlan, pullMode bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.byUID[uid]
	return ok && found.namespaces.covers(plan, pullMode)
}

// forgetNamespace tells that what was made for a Namespace is taken back.
func (i *installed) forgetNamespace(uid types.UID, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found, ok := i.byUID[uid]; ok {
		found.namespaces.forget(name)
	}
	if found := i.rounds[uid]; found != nil {
		found.namespaces.forget(name)
	}
}

// put remembers what a full round has found, and tells whether it still holds.
func (i *installed) put(uid types.UID, inputs [sha256.Size]byte, v verdict, now time.Time) (holds bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := installation{inputs: inputs, verdict: v, until: now.Add(v.requeueAfter), found: now, namespaces: newProvenNamespaces()}
	if ended := i.rounds[uid]; ended != nil {
		if ended.stale {
			return false
		}
		found.reported, found.namespaces = ended.reported, ended.namespaces
	}
	i.byUID[uid] = found
	if i.right[uid].IsZero() {
		i.right[uid] = now
	}
	return true
}

// isRightSince tells whether this process has found an installation right at this time or before, whatever has happened since.
func (i *installed) isRightSince(uid types.UID, at time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	first, ok := i.right[uid]
	return ok && !first.After(at)
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

// isUnobserved tells whether the right to watch the installation could not be given when that was last tried.
func (i *installed) isUnobserved(uid types.UID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unobserved[uid]
}

func (i *installed) setUnobserved(uid types.UID, unobserved bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if unobserved {
		i.unobserved[uid] = true
		return
	}
	delete(i.unobserved, uid)
}

// drop forgets a target.
func (i *installed) drop(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byUID, uid)
	delete(i.identities, uid)
	delete(i.rounds, uid)
	delete(i.right, uid)
	delete(i.unobserved, uid)
}
