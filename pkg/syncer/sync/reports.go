package sync

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

const (
	// reportInterval is the least time between two passes over the report on one Namespace that are not retries.
	reportInterval = time.Second
	// countsInterval is the least time between two reports on one Namespace that differ in nothing but counts and messages.
	countsInterval = 30 * time.Second
)

// reportName is the name in the key of the pass that reports on a Namespace. The queue runs one pass of a key at a time.
const reportName = "report"

// reportState is what is known of the reports on a Namespace.
type reportState struct {
	mu sync.Mutex
	// due is when the next pass is; zero if none is.
	due time.Time
	// passedAt is when the last pass was, and writtenAt when the last report was written.
	passedAt, writtenAt time.Time
	// written is the last report, and replaced the record that it was written to.
	written  source.Report
	replaced source.Record
}

// urgency says how soon a report is due.
type urgency time.Duration

const (
	// atOnce is for what others wait for.
	atOnce urgency = 0
	// soon lets others of the same cause come together.
	soon = urgency(reportInterval)
)

// requestReport has it found out soon how a Namespace fares, and reported if that is anything new.
func (e *Controller) requestReport(p *namespaceSync, when urgency) {
	if wait, isEarlier := p.reports.request(e.clock.Now(), time.Duration(when)); isEarlier {
		e.queue.AddAfter(queueKey{namespace: p.upstream, name: reportName}, wait)
	}
}

// requestReports does it for all Namespaces.
func (e *Controller) requestReports() {
	e.mu.Lock()
	namespaces := maps.Clone(e.namespaces)
	e.mu.Unlock()
	for _, p := range namespaces {
		e.requestReport(p, soon)
	}
}

// request returns when the next pass may be, and whether that is earlier than was known.
func (r *reportState) request(at time.Time, delay time.Duration) (wait time.Duration, isEarlier bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = max(delay, reportInterval-at.Sub(r.passedAt))
	if due := at.Add(wait); r.due.IsZero() || due.Before(r.due) {
		r.due = due
		return wait, true
	}
	return 0, false
}

// begin notes that a pass begins.
func (r *reportState) begin(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due, r.passedAt = time.Time{}, at
}

// last is the last report on a Namespace, also if the cache does not show it yet, and when this process has written it.
func (r *reportState) last(a *source.Assignment) (source.Report, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.replaced == a.Record {
		return r.written, r.writtenAt
	}
	return a.Reported, r.writtenAt
}

// wrote notes that a report was written.
func (r *reportState) wrote(a *source.Assignment, report source.Report, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.replaced, r.writtenAt = report, a.Record, at
}

// report reports how a Namespace fares if that has changed, and returns when to look again.
func (e *Controller) report(ctx context.Context, p *namespaceSync) (again time.Duration, err error) {
	p.reports.begin(e.clock.Now())
	plan, catalog := e.source.Plan(), e.catalog.Load()
	if plan == nil || catalog == nil {
		return 0, nil
	}
	a := plan.Assignment(p.upstream)
	if a == nil || !p.actsOn(a) {
		return 0, nil // when it does, the report is due again
	}
	before, writtenAt := p.reports.last(a)
	report := e.reportOf(p, a, *catalog, before)
	if equality.Semantic.DeepEqual(report, before) {
		return 0, nil
	}
	if wait := countsInterval - e.clock.Since(writtenAt); wait > 0 && hasSameConditions(report, before) {
		return wait, nil
	}
	if err := e.source.WriteReport(ctx, *a, report); err != nil {
		return 0, err
	}
	p.reports.wrote(a, report, e.clock.Now())
	return 0, nil
}

// actsOn tells whether the sync does what an Assignment wants, and has yet to.
func (p *namespaceSync) actsOn(a *source.Assignment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped, p.drainReported, p.role.epoch != a.Epoch, a.IsWithdrawn():
		return false
	case p.drain == nil:
		return a.Intent == source.Run
	}
	return a.Intent.IsWithdrawal() && p.drain.epoch == a.Epoch
}

// reportOf is how a Namespace fares.
func (e *Controller) reportOf(p *namespaceSync, a *source.Assignment, catalog []discovery.Resource, before source.Report) source.Report {
	if before.Epoch != a.Epoch {
		before = source.Report{} // what was said of an earlier epoch says nothing
	}
	found := e.findings(p, catalog, before)
	report := source.Report{Epoch: a.Epoch, DownstreamNamespace: p.downstreamNamespace, Objects: found.objects}
	wanted := found.conditions(before, e.owner.Key)
	if a.Intent.IsWithdrawal() {
		wanted = withdrawing
	}
	report.Conditions = withTransitionTimes(before.Conditions, wanted, e.clock.Now())
	return report
}
