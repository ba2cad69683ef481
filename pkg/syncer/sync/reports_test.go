package sync

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

var deployments = workloadv1alpha1.GroupResource{Group: "apps", Resource: "deployments"}

// reported is the sync of one Deployment in one Namespace, of which reports are taken.
type reported struct {
	*server
	kcp   *reporting
	clock *clocktesting.FakeClock
}

func newReported(t *testing.T) *reported {
	t.Helper()
	r := &reported{
		server: newServer(t, sourceOf(fresh, deployment), nil), kcp: newReporting(intentOfRun), clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0)),
	}
	e, p, l := r.pass.Controller, r.pass.namespace, r.pass.resource
	e.clock, sourceIn(e).Target, e.statusUrgent = r.clock, r.kcp, make(chan struct{}, 1)
	l.api.GroupResource, l.api.Kind, l.api.HasStatus, l.stop = deployments, "Deployment", true, func() {}
	p.resources = map[workloadv1alpha1.GroupResource]*resourceSync{deployments: l}
	p.stopEvents = func() {}
	e.namespaces = map[source.Namespace]*namespaceSync{shopNamespace: p}
	e.catalog.Store(&[]discovery.Resource{l.api})
	r.show()
	return r
}

func deployment(o *unstructured.Unstructured) {
	o.SetAPIVersion("apps/v1")
	o.SetKind("Deployment")
	o.Object["spec"] = map[string]any{"replicas": int64(1)}
	delete(o.Object, "data")
}

// show has the cache show the Assignment as it is.
func (r *reported) show() { sourceIn(r.pass.Controller).show(&r.kcp.SyncTarget, r.kcp.list()...) }

// copyStatus has the physical cluster say how many replicas of the copy are ready.
func (r *reported) copyStatus(t *testing.T, ready int64) {
	t.Helper()
	dst := r.applied[len(r.applied)-1].DeepCopy()
	dst.SetGeneration(1)
	dst.SetUID("copy-1")
	dst.Object["status"] = map[string]any{
		"observedGeneration": int64(1), "replicas": int64(1), "updatedReplicas": int64(1), "readyReplicas": ready, "availableReplicas": ready,
		"conditions": []any{
			map[string]any{"type": "Available", "status": map[bool]string{true: "True", false: "False"}[ready > 0]},
			map[string]any{"type": "Progressing", "status": "True", "reason": map[bool]string{true: "NewReplicaSetAvailable", false: "ReplicaSetUpdated"}[ready > 0]},
		},
	}
	r.cache(t, r.pass.resource.down, dst)
	r.clock.Step(time.Minute)
	if _, err := r.run(t); err != nil {
		t.Fatal(err)
	}
}

// expect makes a pass over the report, and expects it to be written, with these reasons of Applied and Available, or nothing to be
// written.
func (r *reported) expect(t *testing.T, when string, reasons ...string) source.Report {
	t.Helper()
	before := len(r.kcp.reports)
	if _, err := r.pass.Controller.report(t.Context(), r.pass.namespace); err != nil {
		t.Fatal(err)
	}
	written := r.kcp.reports[before:]
	if len(reasons) == 0 {
		if len(written) > 0 {
			t.Errorf("%s: reported is %+v", when, written)
		}
		return source.Report{}
	}
	if len(written) != 1 {
		t.Fatalf("%s: %d reports", when, len(written))
	}
	setReport(r.kcp.assignments[0], written[0])
	var got []string
	for _, c := range written[0].Conditions {
		got = append(got, c.Reason)
	}
	if diff := cmp.Diff(reasons, got); diff != "" {
		t.Errorf("%s: reasons: -want +got\n%s", when, diff)
	}
	return written[0]
}

// TestReportFollowsTheNamespace: a Namespace is applied when everything has arrived, and available when what serves is ready. It is
// reported when that changes, and at no other time: not at rest, not while the cache does not show the report yet, and not after a
// restart.
func TestReportFollowsTheNamespace(t *testing.T) {
	r := newReported(t)
	p, l := r.pass.namespace, r.pass.resource
	r.expect(t, "opened", "Applying", "NotAvailable")
	r.expect(t, "opened, which the cache does not show yet")
	r.show()
	r.expect(t, "opened, which the cache shows")

	r.cache(t, l.up, r.live(t))
	p.markUnsynced(l, r.clock.Now())
	if _, err := r.run(t); err != nil {
		t.Fatal(err)
	}
	first := r.expect(t, "applied", "Applied", "NotAvailable")
	if m := first.Conditions[1].Message; !strings.Contains(m, `deployments.apps "a" is not ready`) {
		t.Errorf("the message names no object: %q", m)
	}
	if first.DownstreamNamespace != p.downstreamNamespace || first.Objects.Applied != 1 || first.Epoch != 1 {
		t.Errorf("reported is %+v", first)
	}
	r.show()
	r.copyStatus(t, 0)
	r.expect(t, "in progress")
	r.copyStatus(t, 1)
	ready := r.expect(t, "ready", "Applied", "Available")
	if !ready.Conditions[0].LastTransitionTime.Equal(&first.Conditions[0].LastTransitionTime) || ready.Conditions[1].LastTransitionTime.Unix() != r.clock.Now().Unix() {
		t.Errorf("times of transitions: %+v, and at first %+v", ready.Conditions, first.Conditions)
	}
	r.show()
	r.copyStatus(t, 1)
	r.expect(t, "at rest")

	r.pass.namespace = newTestNamespace(shopNamespace)
	r.pass.namespaces[shopNamespace] = r.pass.namespace
	r.expect(t, "after a restart, before anything is listed")
	r.pass.resource = &resourceSync{api: l.api, up: l.up, down: l.down, stop: l.stop}
	setSource(r.pass.Controller, r.pass.resource)
	r.pass.namespace.resources[deployments] = r.pass.resource
	r.pass.namespace.markUnsynced(r.pass.resource, r.clock.Now())
	r.expect(t, "after a restart, before passes")
	r.copyStatus(t, 1)
	r.expect(t, "after a restart")
	r.copyStatus(t, 0)
	r.expect(t, "not ready any more", "Applied", "NotAvailable")
}

// TestReportIsOfTheEpoch: what the sync does not act on yet is not reported; and what was said of an earlier epoch does not stand.
func TestReportIsOfTheEpoch(t *testing.T) {
	r := newReported(t)
	p, l := r.pass.namespace, r.pass.resource
	r.cache(t, l.up, r.live(t))
	p.markUnsynced(l, r.clock.Now())
	if _, err := r.run(t); err != nil {
		t.Fatal(err)
	}
	r.copyStatus(t, 1)
	before := r.expect(t, "ready", "Applied", "Available")

	changeIntent(r.kcp.assignments[0], intentOfWithdraw)
	r.show()
	r.expect(t, "to be withdrawn, and not being drained yet")
	p.setDrain(&drain{epoch: 2})
	r.pass.updateRole(sourceIn(r.pass.Controller).Plan().Assignment(shopNamespace))
	r.expect(t, "being drained", workloadv1alpha1.ReasonWithdrawing)
	changeIntent(r.kcp.assignments[0], intentOfRun)
	r.show()
	r.expect(t, "to run again, and still being drained")
	p.setDrain(nil)
	r.pass.updateRole(sourceIn(r.pass.Controller).Plan().Assignment(shopNamespace))
	r.clock.Step(time.Hour)
	after := r.expect(t, "running again", "Applied", "Available")
	if after.Epoch != 3 || !before.Conditions[1].LastTransitionTime.Before(&after.Conditions[1].LastTransitionTime) {
		t.Errorf("reported is %+v", after)
	}
	changeIntent(r.kcp.assignments[0], intentOfWithdraw)
	changeIntent(r.kcp.assignments[0], intentOfRun) // before the cache has shown the other
	r.show()
	r.expect(t, "at an epoch that the sync has not seen")
	r.pass.updateRole(sourceIn(r.pass.Controller).Plan().Assignment(shopNamespace))
	r.clock.Step(time.Hour)
	if again := r.expect(t, "at a later epoch", "Applied", "Available"); !after.Conditions[1].LastTransitionTime.Before(&again.Conditions[1].LastTransitionTime) {
		t.Errorf("what held at an earlier epoch is said to have held since: %+v", again)
	}
	p.drainReported = true
	r.copyStatus(t, 0)
	r.expect(t, "while another report is being written")
	p.drainReported = false

	for name, change := range map[string]func(*workloadv1alpha1.Assignment){"without rights": notAdmitted, "withdrawn": func(a *workloadv1alpha1.Assignment) {
		changeIntent(a, intentOfWithdraw)
		reportedWithdrawn(a)
	}} {
		plan := planOf(workloadv1alpha1.SyncTargetStatus{}, assigned("shop", intentOfRun, change))
		sourceIn(r.pass.Controller).shown.Store(plan)
		r.expect(t, name)
	}
	sourceIn(r.pass.Controller).shown.Store(&source.Plan{})
	r.expect(t, "vanished")
}

// TestCountsAreReportedSeldom: what differs in nothing but counts waits.
func TestCountsAreReportedSeldom(t *testing.T) {
	r := newReported(t)
	p, l := r.pass.namespace, r.pass.resource
	r.cache(t, l.up, r.live(t))
	p.markUnsynced(l, r.clock.Now())
	if _, err := r.run(t); err != nil {
		t.Fatal(err)
	}
	r.expect(t, "applied", "Applied", "NotAvailable")
	r.show()
	l.counts.record("b", true, tally{})
	r.clock.Step(time.Second)
	if again, err := r.pass.Controller.report(t.Context(), p); again != countsInterval-time.Second || err != nil || len(r.kcp.reports) != 1 {
		t.Errorf("report() = %s, %v, with %d reports", again, err, len(r.kcp.reports))
	}
	r.clock.Step(countsInterval - time.Second)
	if got := r.expect(t, "later", "Applied", "NotAvailable"); got.Objects.Applied != 2 {
		t.Errorf("reported is %+v", got)
	}
	r.show()
	l.counts.record("b", true, tally{fails: true})
	if got := r.expect(t, "what fails does not wait", "ObjectsFailing", "NotAvailable"); got.Objects.Failing != 1 {
		t.Errorf("reported is %+v", got)
	}
}

// TestRequests: passes over a report come at most once in reportInterval, and what is urgent comes before what is not.
func TestRequests(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	r := &reportState{}
	expect := func(when string, delay, wait time.Duration, isEarlier bool) {
		t.Helper()
		if w, e := r.request(at, delay); w != wait || e != isEarlier {
			t.Errorf("%s: request() = %s, %t", when, w, e)
		}
	}
	expect("first", time.Second, time.Second, true)
	expect("again", time.Second, 0, false)
	expect("urgent", 0, 0, true)
	expect("urgent again", 0, 0, false)
	r.begin(at)
	expect("urgent after a pass", 0, reportInterval, true)
	expect("and again", reportInterval, 0, false)
	r.begin(at)
	at = at.Add(time.Minute)
	expect("urgent after a while", 0, 0, true)
}

// TestConditions: what is reported of what was found.
func TestConditions(t *testing.T) {
	const failing, notReady = `configmaps "a"`, `deployments.apps "b"`
	said := func(applied, available metav1.ConditionStatus) source.Report {
		return source.Report{Conditions: []metav1.Condition{
			{Type: workloadv1alpha1.ConditionApplied, Status: applied, Reason: "Before"}, {Type: workloadv1alpha1.ConditionAvailable, Status: available, Reason: "Before"},
		}}
	}
	for name, tc := range map[string]struct {
		reason string
		found  findings
		before source.Report
		want   string
	}{
		"empty Namespace": {"", findings{synced: true, counted: true}, source.Report{}, "Applied/Available"},
		"on its way":      {"", findings{counted: true}, source.Report{}, "Applying/NotAvailable"},
		"not ready":       {"", findings{synced: true, counted: true, notReady: notReady}, source.Report{}, "Applied/NotAvailable"},
		"what does not serve fails": {"What serves is there.", findings{synced: true, counted: true, failing: failing},
			source.Report{}, "ObjectsFailing/Available"},
		"what serves fails":  {"", findings{synced: true, counted: true, failing: notReady, notReady: notReady}, source.Report{}, "ObjectsFailing/NotAvailable"},
		"late":               {"", findings{counted: true}, said("True", "True"), "Applying/NotAvailable"},
		"restart":            {"It stands until everything has been counted.", findings{synced: true}, said("True", "True"), "Before/Before"},
		"restart, not ready": {"It is known before.", findings{synced: true, notReady: notReady}, said("True", "True"), "Before/NotAvailable"},
		"restart, failing":   {"", findings{synced: true, failing: failing}, said("True", "True"), "ObjectsFailing/Before"},
		"restart, it was failing": {"That it is not any more is not known yet.", findings{}, said("False", "True"),
			"Before/Before"},
		"restart, late":  {"", findings{}, said("True", "True"), "Applying/NotAvailable"},
		"a first report": {"", findings{}, source.Report{}, "Applying/NotAvailable"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.found.conditions(tc.before, testOwner.Key)
			if reasons := got[0].Reason + "/" + got[1].Reason; reasons != tc.want {
				t.Errorf("%s\n%s, want %s", tc.reason, reasons, tc.want)
			}
			for _, c := range got {
				if isTrue := c.Reason == c.Type; c.Reason != "Before" && (isTrue != (c.Status == metav1.ConditionTrue) || c.Message == "") {
					t.Errorf("%s is %s with message %q", c.Reason, c.Status, c.Message)
				}
			}
		})
	}
}

// TestWithdrawnMessage: of copies that stay it is said that they do.
func TestWithdrawnMessage(t *testing.T) {
	if gone, left := withdrawn(false), withdrawn(true); !meta.IsStatusConditionTrue(gone, workloadv1alpha1.ConditionWithdrawn) ||
		!meta.IsStatusConditionTrue(left, workloadv1alpha1.ConditionWithdrawn) || gone[0].Message == left[0].Message {
		t.Errorf("%+v, %+v", gone, left)
	}
}
