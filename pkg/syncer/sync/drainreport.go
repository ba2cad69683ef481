package sync

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// drainReportInterval is the least time between two writes of drained Namespaces that are not retries.
const drainReportInterval = time.Second

// drainedKey is the key of the pass that writes which Namespaces are drained. The queue runs one pass of a key at a
// time.
var drainedKey = queueKey{name: "drained"}

// drainReports are the reports of drained Namespaces that wait to be written, by Namespace. All that wait are
// written in one patch, so that Namespaces that end together cost few writes, and none that conflict with one another.
type drainReports struct {
	mu        sync.Mutex
	pending   map[source.Namespace]drainReport
	lastWrite time.Time
}

// drainReport says that a drain has ended. The zero value says that the Namespace is not drained, which takes a report
// back.
type drainReport struct {
	namespace *namespaceSync
	drain     *drain
}

// requestDrainReport has the source told whether a Namespace is drained.
func (e *Controller) requestDrainReport(namespace source.Namespace, report drainReport) {
	if wait, isNew := e.drainReports.add(namespace, report, e.clock.Now()); isNew {
		e.queue.AddAfter(drainedKey, wait)
	}
}

// add replaces the report of a Namespace, and returns when it may be written. A report that waits already is in the
// queue, or backs off there.
func (d *drainReports) add(namespace source.Namespace, report drainReport, now time.Time) (wait time.Duration, isNew bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if waiting, found := d.pending[namespace]; found && waiting == report {
		return 0, false
	}
	if d.pending == nil {
		d.pending = map[source.Namespace]drainReport{}
	}
	d.pending[namespace] = report
	return max(drainReportInterval-now.Sub(d.lastWrite), 0), true
}

// begin returns the reports that are to be written now.
func (d *drainReports) begin(now time.Time) map[source.Namespace]drainReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) > 0 {
		d.lastWrite = now
	}
	return maps.Clone(d.pending)
}

// remove removes a report, unless another has replaced it.
func (d *drainReports) remove(namespace source.Namespace, report drainReport) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending[namespace] == report {
		delete(d.pending, namespace)
	}
}

// writeDrainReports writes all reports that wait. After a failure they wait for the next attempt, and until then their
// drains can be taken back.
func (e *Controller) writeDrainReports(ctx context.Context) error {
	reports := e.drainReports.begin(e.clock.Now())
	changes := map[source.Namespace]bool{}
	for namespace, report := range reports {
		switch {
		case report.isTakenBack():
			changes[namespace] = false
		case e.beginDrainReport(report):
			changes[namespace] = true
		default:
			e.drainReports.remove(namespace, report)
			e.queue.Add(queueKey{namespace: namespace}) // what is left is verified again
		}
	}
	if len(changes) == 0 {
		return nil
	}
	notWanted, err := e.source.WriteWithdrawn(ctx, changes)
	for namespace := range changes {
		e.endDrainReport(namespace, reports[namespace], err == nil, slices.Contains(notWanted, namespace))
	}
	return err
}

// beginDrainReport tells whether a Namespace is still being drained in the same way and the caches still show nothing
// of ours in it, and keeps the drain from being taken back while it is reported.
func (e *Controller) beginDrainReport(report drainReport) bool {
	p := report.namespace
	e.mu.Lock()
	current := e.namespaces[p.upstream] == p
	e.mu.Unlock()
	return current && !slices.ContainsFunc(p.allResources(), func(l *resourceSync) bool { return !e.cacheShowsDrained(l) }) &&
		p.beginDrainReport(report.drain)
}

// endDrainReport acts on the result of a write: a Namespace that has been reported is no longer synced, and any other
// drain can be taken back again.
func (e *Controller) endDrainReport(namespace source.Namespace, report drainReport, written, notWanted bool) {
	if written {
		e.drainReports.remove(namespace, report)
	}
	if report.isTakenBack() {
		return
	}
	if !written || notWanted {
		report.namespace.cancelDrainReport()
	} else {
		e.stopNamespace(report.namespace)
	}
	e.queue.Add(queueKey{}) // the Namespace may have been opened again in this moment
}

func (r drainReport) isTakenBack() bool { return r.namespace == nil }
