package sync

import (
	"sync"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// tally is how an object fares, as the last pass over it has left it.
type tally struct {
	// fails: it is not as it should be, and says why.
	fails bool
	// notReady: it serves, and its copy is not ready.
	notReady bool
	// bound: a claim of this name is bound to a volume in the physical cluster.
	bound bool
	// requests is what the Pods of its copy request together.
	requests corev1.ResourceList
}

// objectCounts are the objects of one resource in one Namespace that have, or are to have, a copy, and how each fares. A report
// adds them up and reads no object.
type objectCounts struct {
	mu sync.Mutex
	// tallies are by name. Of them failing and notReady are the names of those that are. bound are the names of bound claims, also of
	// those that do not count, since nothing of ours is on them.
	tallies                  map[string]tally
	failing, notReady, bound sets.Set[string]
	// listed is set when the objects of the first list are known, and firstPasses are those that no pass has been over since.
	listed      bool
	firstPasses map[string]struct{}
}

// expect notes the names of the objects of the first list.
func (c *objectCounts) expect(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed, c.firstPasses = true, make(map[string]struct{}, len(names))
	for _, name := range names {
		c.firstPasses[name] = struct{}{}
	}
}

// passed notes that a pass over an object is over.
func (c *objectCounts) passed(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass(name)
}

// pass does it. The caller holds mu.
func (c *objectCounts) pass(name string) {
	if delete(c.firstPasses, name); len(c.firstPasses) == 0 {
		c.firstPasses = nil // a map does not shrink
	}
}

// isComplete tells whether a pass has been over every object of the first list. Before that, as after a restart, there are
// objects that are not counted yet.
func (c *objectCounts) isComplete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listed && len(c.firstPasses) == 0
}

// record notes what a pass has left of an object: whether it counts, and how it fares. It tells whether from now on there are
// objects that fail, or are not ready, or none any more.
func (c *objectCounts) record(name string, counts bool, now tally) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass(name)
	anyFailing, anyNotReady := c.failing.Len() > 0, c.notReady.Len() > 0
	if c.tallies == nil {
		c.tallies, c.failing, c.notReady, c.bound = map[string]tally{}, sets.New[string](), sets.New[string](), sets.New[string]()
	}
	setMember(c.bound, name, now.bound)
	c.tallies[name] = now
	if !counts {
		delete(c.tallies, name)
		now = tally{}
	}
	setMember(c.failing, name, now.fails)
	setMember(c.notReady, name, now.notReady)
	return anyFailing != (c.failing.Len() > 0) || anyNotReady != (c.notReady.Len() > 0)
}

func setMember(set sets.Set[string], name string, isMember bool) {
	if isMember {
		set.Insert(name)
	} else {
		set.Delete(name)
	}
}

// sum returns how many objects count, how many of them fail, and how many are bound claims.
func (c *objectCounts) sum() workloadv1alpha1.AssignmentObjects {
	c.mu.Lock()
	defer c.mu.Unlock()
	return workloadv1alpha1.AssignmentObjects{Applied: int32(len(c.tallies)), Failing: int32(c.failing.Len()), BoundClaims: int32(c.bound.Len())}
}

// first returns the first, by their names, of those that fail and of those that are not ready; empty for none.
func (c *objectCounts) first() (failing, notReady string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return firstOf(c.failing), firstOf(c.notReady)
}

func firstOf(names sets.Set[string]) (first string) {
	for name := range names {
		if first == "" || name < first {
			first = name
		}
	}
	return first
}

// countObjects returns how many objects of a resource count in these Namespaces, and how many of them fail.
func countObjects(namespaces map[source.Namespace]*namespaceSync, resource workloadv1alpha1.GroupResource) (objects, failing int32) {
	for _, p := range namespaces {
		if l := p.resource(resource); l != nil {
			sum := l.counts.sum()
			objects, failing = objects+sum.Applied, failing+sum.Failing
		}
	}
	return objects, failing
}

// recordCount records what this pass leaves of the object, and tells whether it fails, and whether that changes how the Namespace
// fares. It counts if something of ours is on it, or if the workspace refuses that; but not if it runs elsewhere.
func (o *objectReconciler) recordCount() (fails, changed bool) {
	if o.src == nil {
		return false, o.resource.counts.record(o.name, false, tally{bound: o.isBoundClaim()})
	}
	fails = o.isFailing(o.namespace, o.resource, o.src)
	counts := (o.hasOurMetadata(o.src) || isMetadataRejected(o.namespace, o.resource, o.src)) && (!o.runsElsewhere() || o.hasFinalizer())
	changed = o.resource.counts.record(o.name, counts, tally{fails: fails, notReady: o.isNotReady(), bound: o.isBoundClaim(), requests: o.podRequests()})
	return fails, changed
}

// isNotReady tells whether the object serves, and has no copy that is up and running. One that is to go makes nothing unavailable.
func (o *objectReconciler) isNotReady() bool {
	if !serves(o.resource.api.GroupResource) || sourceStateOf(o.src) != sourceWanted {
		return false
	}
	ready := o.lastReport().Ready
	return ready != string(kstatus.CurrentStatus) && ready != rejection.ReadyDiffers
}

// isBoundClaim tells whether there is a claim of this name downstream that is bound to a volume. It need not be a copy: those of a
// StatefulSet are made downstream, from its volumeClaimTemplates.
func (o *objectReconciler) isBoundClaim() bool {
	if o.resource.api.GroupResource != persistentVolumeClaims || o.dst == nil {
		return false
	}
	phase, _, _ := unstructured.NestedString(o.dst.Object, "status", "phase")
	return phase == string(corev1.ClaimBound)
}
