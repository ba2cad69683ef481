package sync

import (
	"sync"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// objectCounts are the objects of one resource in one Namespace that have, or are to have, a copy, and which of them fail, as
// the last pass over each has left it. A report adds them up and reads no object.
type objectCounts struct {
	mu sync.Mutex
	// failing says of each of them, by name, whether it fails; failures is how many do.
	failing  map[string]bool
	failures int32
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

// record notes what a pass has left of an object: whether it counts, and whether it fails.
func (c *objectCounts) record(name string, counts, fails bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass(name)
	if c.failing[name] {
		c.failures--
	}
	if !counts {
		delete(c.failing, name)
		return
	}
	if fails {
		c.failures++
	}
	if c.failing == nil {
		c.failing = map[string]bool{}
	}
	c.failing[name] = fails
}

// sum returns how many objects count, and how many of them fail.
func (c *objectCounts) sum() (objects, failing int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int32(len(c.failing)), c.failures
}

// countObjects returns how many objects of a resource count in these Namespaces, and how many of them fail.
func countObjects(namespaces map[source.Namespace]*namespaceSync, resource workloadv1alpha1.GroupResource) (objects, failing int32) {
	for _, p := range namespaces {
		if l := p.resource(resource); l != nil {
			o, f := l.counts.sum()
			objects, failing = objects+o, failing+f
		}
	}
	return objects, failing
}

// recordCount records what this pass leaves of the object. It counts if something of ours is on it, or if the workspace refuses
// that.
func (o *objectReconciler) recordCount() (fails bool) {
	fails = o.src != nil && o.isFailing(o.namespace, o.resource, o.src)
	counts := o.src != nil && (o.hasOurMetadata(o.src) || isMetadataRejected(o.namespace, o.resource, o.src))
	o.resource.counts.record(o.name, counts, counts && fails)
	return fails
}
