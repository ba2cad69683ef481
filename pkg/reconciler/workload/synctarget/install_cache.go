package synctarget

import (
	"crypto/sha256"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// installCache remembers when everything that is installed was last found right, so that a pass in between costs the
// physical cluster no request. Any sign of a change drops the memory, and of a syncer that fell silent it is not believed.
type installCache struct {
	mu          sync.Mutex
	byUID       map[types.UID]installation
	identities  map[types.UID]provenIdentity
	inspections map[types.UID]*inspection
	// firstVerified is when each installation was first found right by this process.
	firstVerified map[types.UID]time.Time
	// unobserved are the targets whose syncer may not be given the right to watch its installation.
	unobserved map[types.UID]bool
}

// provenIdentity is the identity of a syncer in the workspace that was found right.
type provenIdentity struct {
	inputs   [sha256.Size]byte
	identity syncerIdentity
	until    time.Time
}

type installation struct {
	inputs  [sha256.Size]byte
	verdict verdict
	until   time.Time
	// reported is what the syncer reported of its installation when the inspection began that found it right, at found.
	reported string
	found    time.Time
	// namespaces are those that were found right then or since.
	namespaces *provenNamespaces
}

// inspection is one look at everything that is installed. It takes several passes where there is much, or where a Namespace is
// obstructed: then it rests in between, and what was found right is not looked at again.
type inspection struct {
	inputs [sha256.Size]byte
	began  time.Time
	// reported is what the syncer reported of its installation when the inspection began.
	reported string
	// namespaces are those that were looked at so far.
	namespaces *provenNamespaces
	// proven is what the last full inspection has found, and still holds: then this one looks at Namespaces alone. nil if everything is
	// looked at.
	proven *installation
	// stale is set when something may have changed since it was looked at.
	stale bool
	// paused is set while the inspection waits for what is obstructed.
	paused bool
}

func newInstallCache() *installCache {
	return &installCache{
		byUID: map[types.UID]installation{}, identities: map[types.UID]provenIdentity{}, inspections: map[types.UID]*inspection{},
		firstVerified: map[types.UID]time.Time{}, unobserved: map[types.UID]bool{},
	}
}

// begin returns the inspection that is under way, or a new one. reported is what the syncer reports of its installation, and fresh
// whether the verdict of the last inspection still holds: then the new one looks at Namespaces alone.
func (i *installCache) begin(uid types.UID, inputs [sha256.Size]byte, reported string, fresh bool, now time.Time) *inspection {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.inspections[uid]
	if found != nil && found.inputs == inputs && !found.isOld(reported, fresh, now) {
		return found
	}
	found = &inspection{inputs: inputs, began: now, reported: reported, namespaces: newProvenNamespaces()}
	if last, ok := i.byUID[uid]; ok && fresh {
		found.proven, found.namespaces = &last, last.namespaces
	}
	i.inspections[uid] = found
	return found
}

// isOld reports whether an inspection is to give way to a new one: one that waits for what is obstructed when something may have
// changed, and one that looks at Namespaces alone when all else is to be looked at, too. A full one that is under way goes on.
func (r *inspection) isOld(reported string, fresh bool, now time.Time) bool {
	if r.proven != nil && (r.stale || !fresh) {
		return true
	}
	return r.paused && (r.stale || r.reported != reported || now.Sub(r.began) >= driftInterval)
}

// pause has the inspection go on with what is obstructed, and nothing else, later, and returns when: after a quarter of the time that
// it has lasted.
func (i *installCache) pause(uid types.UID, now time.Time) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.inspections[uid]
	if found == nil {
		return namespaceRecheck // the target was forgotten meanwhile
	}
	found.paused = true
	found.namespaces.forgetObstructed()
	return min(max(now.Sub(found.began)/4, namespaceRecheck), refusedRecheck)
}

// end ends the inspection, and tells whether something may have changed since it was looked at.
func (i *installCache) end(uid types.UID) (stale bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	ended := i.inspections[uid]
	delete(i.inspections, uid)
	return ended != nil && ended.stale
}

// reportInterval is the least time between two looks for what the syncer reports of its installation: one that reports changes
// all the time must not keep the workers busy.
const reportInterval = 10 * time.Second

// get returns the verdict of the last full inspection, if it still holds. If the syncer reports its installation otherwise than
// when that inspection began, the verdict holds for the rest of reportInterval. So a change that the controller itself made costs
// one more inspection, which changes nothing.
func (i *installCache) get(uid types.UID, inputs [sha256.Size]byte, reported string, now time.Time) (verdict, bool) {
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

// covers reports whether all Namespaces that a plan needs were found right by the last full inspection or since.
func (i *installCache) covers(uid types.UID, plan namespacePlan, pullMode bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.byUID[uid]
	return ok && found.namespaces.covers(plan, pullMode)
}

// forgetNamespace tells that what was made for a Namespace is taken back.
func (i *installCache) forgetNamespace(uid types.UID, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found, ok := i.byUID[uid]; ok {
		found.namespaces.forget(name)
	}
	if found := i.inspections[uid]; found != nil {
		found.namespaces.forget(name)
	}
}

// put remembers what a full inspection has found, and tells whether it still holds.
func (i *installCache) put(uid types.UID, inputs [sha256.Size]byte, v verdict, now time.Time) (holds bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := installation{inputs: inputs, verdict: v, until: now.Add(v.requeueAfter), found: now, namespaces: newProvenNamespaces()}
	if ended := i.inspections[uid]; ended != nil {
		if ended.stale {
			return false
		}
		found.reported, found.namespaces = ended.reported, ended.namespaces
	}
	i.byUID[uid] = found
	if i.firstVerified[uid].IsZero() {
		i.firstVerified[uid] = now
	}
	return true
}

// wasVerifiedBefore tells whether this process has found an installation right at this time or before, whatever has happened since.
func (i *installCache) wasVerifiedBefore(uid types.UID, at time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	first, ok := i.firstVerified[uid]
	return ok && !first.After(at)
}

// identity returns the identity of a syncer that was found right, unless something may have happened to it since.
func (i *installCache) identity(uid types.UID, inputs [sha256.Size]byte, now time.Time) (identity syncerIdentity, known bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.identities[uid]
	if !ok || found.inputs != inputs || !now.Before(found.until) {
		return syncerIdentity{}, false
	}
	return found.identity, true
}

// putIdentity remembers that an identity was found right, unless something has changed during the inspection.
func (i *installCache) putIdentity(uid types.UID, inputs [sha256.Size]byte, identity syncerIdentity, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found := i.inspections[uid]; found != nil && found.stale {
		return
	}
	i.identities[uid] = provenIdentity{inputs: inputs, identity: identity, until: now.Add(driftInterval * 4 / 5)}
}

// forgetIdentity tells that something may have happened to an identity, and to what was installed with it.
func (i *installCache) forgetIdentity(uid types.UID) {
	i.mu.Lock()
	delete(i.identities, uid)
	i.mu.Unlock()
	i.forget(uid)
}

// forget tells that something may have changed.
func (i *installCache) forget(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byUID, uid)
	if found := i.inspections[uid]; found != nil {
		found.stale = true
	}
}

// isUnobserved tells whether the right to watch the installation could not be given when that was last tried.
func (i *installCache) isUnobserved(uid types.UID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unobserved[uid]
}

func (i *installCache) setUnobserved(uid types.UID, unobserved bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if unobserved {
		i.unobserved[uid] = true
		return
	}
	delete(i.unobserved, uid)
}

// drop forgets a target.
func (i *installCache) drop(uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.byUID, uid)
	delete(i.identities, uid)
	delete(i.inspections, uid)
	delete(i.firstVerified, uid)
	delete(i.unobserved, uid)
}
