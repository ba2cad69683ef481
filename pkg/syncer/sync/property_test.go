package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
)

const (
	// propertySeeds is how many sequences TestProperty makes of each kind.
	propertySeeds = 200
	// maxSettlePasses is in how many passes everything must be as it should be after the last change.
	maxSettlePasses = 12
)

// foundSeeds are sequences beyond the first that have shown faults.
var foundSeeds = []uint64{
	922,  // an orphaned copy is patched again while the cache still shows it as a copy
	1193, // a former copy that is handed over is in conflict with the syncer's own create
	1931, // a field that its owner gives up between two rounds of an apply counts as owned for an hour
	3845, // a create is refused while the cache does not show yet that there is a copy, and the finalizer is removed
	5975, // a copy that is gone is believed to exist, and the failing applies are reported
}

// TestProperty makes random sequences of changes, passes, faults and crashes about one object on two model servers.
// In each:
//
//  1. Whenever a copy is created or applied to, its object has our finalizer, unless a user has removed it by hand.
//  2. A copy is deleted by its UID, and only after a live read has shown that it is unwanted.
//  3. An object of the physical cluster that is no copy, and was not handed over, is not written to. Of the user's
//     object only our finalizer, our report and the status are changed.
//  4. After the last change, passes that events and timers start bring about the state that is right, and then
//     write nothing.
//  5. Our finalizer is removed only where there is no copy.
//  6. Only the cluster whose status counts writes a status, and only the first one makes copies of Jobs, by what the process
//     has seen of the Assignment.
//
// One sequence is repeated with `go test -run 'TestProperty/ConfigMap/^17$'`.
func TestProperty(t *testing.T) {
	kinds := map[string]schema.GroupVersionKind{
		"ConfigMap": {Version: "v1", Kind: "ConfigMap"},
		"Widget":    {Group: "example.com", Version: "v1", Kind: "Widget"}, // with generations and a status
		"Job":       {Group: "batch", Version: "v1", Kind: "Job"},          // which runs once
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			q := newQueue(maxWorkers)
			defer q.ShutDown()
			run := func(seed uint64) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) { newSimulation(t, kinds[name], seed, q).run() })
			}
			for seed := range uint64(propertySeeds) {
				run(seed)
			}
			for _, seed := range foundSeeds {
				run(seed)
			}
		})
	}
}

// simulation is one random sequence.
type simulation struct {
	t      *testing.T
	random *rand.Rand
	// roles decides when the Assignment changes the role of this cluster, and bursts when many other copies are being created. They
	// leave the sequences of random as they are.
	roles, bursts *rand.Rand
	kind          schema.GroupVersionKind
	clock         *clocktesting.FakeClock
	queue         queue
	// log has every step, and every request of the syncer.
	log []string

	up, down, events *modelServer
	target           *modelTarget
	source           *testSource

	// The process of the syncer; a crash replaces it. due tells that the object is in its queue, and timer when it
	// is added again.
	controller               *Controller
	namespace                *namespaceSync
	resource                 *resourceSync
	upInformer, downInformer *modelInformer
	due                      bool
	timer                    time.Time

	pass pass
	// settling tells that the changes have ended.
	settling bool
	// finalizerRemoved tells that a user has removed our finalizer by hand, and that it was not added since.
	finalizerRemoved bool
	// statusLeft tells that the object has a status, but lost our finalizer by hand or before a process with a
	// cache that lags wrote the status: then it may stay.
	statusLeft bool
	// notOursSince is from which index in the history an object of the physical cluster is a copy no more, or not
	// handed over.
	notOursSince map[types.UID]int
	// quotaExhausted lets the physical cluster refuse every new object, and refused tells that it has refused
	// anything at all.
	quotaExhausted, refused bool
}

// pass is what is noted of one pass.
type pass struct {
	running bool
	// shown is the index in the history of the copy that the cache showed when the pass began.
	shown int
	// fault happens at the request or write of this number, counted from 1.
	fault            fault
	faultAt          int
	requests, writes int
	// crashed tells that the process has ended.
	crashed bool
	// unwanted tells that the last live read of the object in this pass showed that it is to have no copy; orphan,
	// that it is deleted with the policy Orphan.
	unwanted, orphan bool
	// readUID is the UID of the object at the last live read.
	readUID types.UID
	// closing tells that the last read of the SyncTarget in this pass showed that the Namespace is closing.
	closing bool
	// restored tells that somebody restored a backup of the copy during the pass.
	restored bool
}

// fault is what goes wrong in a pass.
type fault int

const (
	noFault fault = iota
	// faultCrash ends the process after a write.
	faultCrash
	// faultAnswerLost loses the answer to a write that was carried out.
	faultAnswerLost
	// faultUnanswered is a request that does not reach the server.
	faultUnanswered
)

func newSimulation(t *testing.T, kind schema.GroupVersionKind, seed uint64, q queue) *simulation {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), roles: rand.New(rand.NewPCG(seed, 1)), bursts: rand.New(rand.NewPCG(seed, 2)), kind: kind, queue: q,
		clock:        clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0)),
		notOursSince: map[types.UID]int{},
	}
	resource := schema.GroupResource{Group: kind.Group, Resource: strings.ToLower(kind.Kind) + "s"}
	s.up = newModelServer(resource, "shop", "source", kind.Group != "")
	s.down = newModelServer(resource, newTestNamespace(shopNamespace).downstreamNamespace, "copy", kind.Group != "")
	s.events = newModelServer(schema.GroupResource{Resource: "events"}, "shop", "event", false)
	s.down.admit = s.admit
	s.target = &modelTarget{read: s.targetRead, assignment: assigned("shop", intentOfRun)}
	s.target.object.UID = types.UID(testOwner.UID)
	s.start(0, 0)
	return s
}

func (s *simulation) run() {
	for range 15 + s.random.IntN(25) {
		if s.roles.IntN(8) == 0 {
			s.changeRole()
		}
		if s.bursts.IntN(4) == 0 {
			s.setBurst(s.bursts.IntN(2) == 0)
		}
		if s.random.IntN(5) < 2 {
			s.runPassWithFault()
		} else {
			s.runOperation()
		}
	}
	s.settle()
}

// start starts a process whose first lists answer with these indexes of the histories.
func (s *simulation) start(upAt, downAt int) {
	s.due, s.timer = true, time.Time{}
	s.namespace = newTestNamespace(shopNamespace)
	s.resource = &resourceSync{api: discovery.Resource{
		GroupResource: workloadv1alpha1.GroupResource{Group: s.kind.Group, Resource: s.up.resource.Resource}, Kind: s.kind.Kind,
		Versions: []string{s.kind.Version}, State: workloadv1alpha1.ResourceAccepted, HasStatus: s.up.custom,
	}}
	s.upInformer, s.resource.up = s.newCache(s.up)
	s.downInformer, s.resource.down = s.newCache(s.down)
	s.source = newTestSource(workspace.Config{Target: s.target, Client: &modelClient{server: s.events, send: s.send}, Clock: s.clock})
	s.controller = &Controller{owner: testOwner, clock: s.clock, queue: s.queue, source: s.source}
	setSource(s.controller, s.resource)
	s.queue.Forget(s.key())
	s.namespace.setRole(s.roleNow())
	s.namespace.setDrain(drainOf(s.planNow(), shopNamespace))
	s.upInformer.list(upAt)
	s.downInformer.list(downAt)
}

func (s *simulation) newCache(server *modelServer) (*modelInformer, *cache.ResourceCache) {
	informer := &modelInformer{t: s.t, server: server, store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)}
	client := &modelClient{server: server, send: s.send}
	return informer, newModelCache(informer, client, cache.NewAssumed(informer.store, s.clock), func(string, bool) { s.due = true })
}

func (s *simulation) key() queueKey {
	return queueKey{namespace: shopNamespace, resource: s.resource.api.GroupResource, name: objectName}
}

// runPassWithFault makes a pass, in which something may go wrong; after a crash a new process starts.
func (s *simulation) runPassWithFault() {
	if !s.due && s.random.IntN(3) > 0 {
		return
	}
	f := noFault
	if s.random.IntN(3) == 0 {
		f = []fault{faultCrash, faultCrash, faultAnswerLost, faultUnanswered}[s.random.IntN(4)]
	}
	_ = s.runPass(f, 1+s.random.IntN(4))
	if s.pass.crashed {
		upAt, downAt := s.listed(s.upInformer), s.listed(s.downInformer)
		s.logf("a new process starts, with lists of states %d and %d", upAt, downAt)
		s.start(upAt, downAt)
	}
}

// listed is what the first list of a new process answers with: the present state or, from a server that lags, one
// before it.
func (s *simulation) listed(informer *modelInformer) int {
	return max(informer.latest()-max(s.random.IntN(8)-3, 0), 0)
}

func (s *simulation) runPass(f fault, at int) error {
	s.logf("pass, fault %d at %d; the caches show states %d and %d", f, at, s.upInformer.delivered, s.downInformer.delivered)
	s.pass = pass{running: true, shown: s.downInformer.delivered, fault: f, faultAt: at}
	s.due = false
	again, err := s.controller.syncObject(s.t.Context(), s.namespace, s.resource, objectName)
	s.pass.running = false
	s.logf("pass ends: %s, %v", again, err)
	switch {
	case err != nil:
		failures := s.queue.NumRequeues(s.key())
		s.queue.backoff.When(s.key())
		s.addAfter(pause(failures, err))
	case again > 0:
		s.addAfter(again)
	default:
		s.queue.Forget(s.key())
	}
	return err
}

func (s *simulation) addAfter(wait time.Duration) {
	if at := s.clock.Now().Add(wait); s.timer.IsZero() || at.Before(s.timer) {
		s.timer = at
	}
}

func (s *simulation) step(d time.Duration) {
	s.clock.Step(d)
	if !s.timer.IsZero() && !s.clock.Now().Before(s.timer) {
		s.due, s.timer = true, time.Time{}
	}
}

var errNoAnswer = errors.New("the connection was reset")

// send carries out a request of the syncer, unless a fault prevents it. Others may change something before and
// after it.
func (s *simulation) send(r request, carryOut func() (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	if s.pass.crashed {
		return nil, context.Canceled
	}
	s.interfere()
	if s.pass.requests++; s.pass.fault == faultUnanswered && s.pass.requests == s.pass.faultAt {
		s.logf("    %s %s %s is not answered", r.server.uids, r.verb, r.subresource)
		return nil, errNoAnswer
	}
	before := r.server.objects[r.name]
	answer, err := carryOut()
	s.logf("    %s %s %s: %v", r.server.uids, r.verb, r.subresource, err)
	s.check(r, before, answer, err)
	if r.isWrite() && err == nil {
		s.pass.writes++
	}
	if r.isWrite() && s.pass.writes == s.pass.faultAt {
		switch s.pass.fault {
		case faultCrash:
			s.pass.crashed = true
			return nil, context.Canceled
		case faultAnswerLost:
			s.pass.fault = noFault
			return nil, errNoAnswer
		}
	}
	s.interfere()
	return answer, err
}

// targetRead notes what the process reads of the SyncTarget.
func (s *simulation) targetRead(*workloadv1alpha1.SyncTarget) error {
	if s.pass.crashed {
		return context.Canceled
	}
	s.pass.closing = s.target.assignment.Spec.Intent == intentOfWithdraw
	return nil
}

// admit is the admission of the physical cluster.
func (s *simulation) admit(o *unstructured.Unstructured, created bool) error {
	value, _, _ := unstructured.NestedString(o.Object, "data", "a")
	switch {
	case value == invalid:
		s.refused = true
		return apierrors.NewInvalid(s.kind.GroupKind(), objectName, nil)
	case created && s.quotaExhausted:
		s.refused = true
		return apierrors.NewForbidden(s.down.resource, objectName, errors.New("exceeded quota"))
	}
	return nil
}

// invalid is a value that the physical cluster does not accept.
const invalid = "invalid"

// check holds the invariants of single requests.
func (s *simulation) check(r request, before, answer *unstructured.Unstructured, err error) {
	after := r.server.objects[r.name]
	switch {
	case r.server == s.up && r.verb == "get":
		s.pass.unwanted = apierrors.IsNotFound(err) || err == nil && !isWanted(answer)
		if s.pass.readUID = ""; err == nil {
			s.pass.readUID = answer.GetUID()
		}
		s.pass.orphan = err == nil && slices.Contains(answer.GetFinalizers(), metav1.FinalizerOrphanDependents)
	case r.server == s.up && r.isWrite() && err == nil:
		s.checkUp(r, before, after)
	case r.server == s.down && r.verb == "delete":
		s.checkDelete(r, before)
	case r.server == s.down && r.isWrite() && err == nil:
		s.checkDown(r, before, after)
	}
}

// isOfAnotherJob tells whether an object of the physical cluster is, or was, the copy of another Job than that of a
// UID.
func (s *simulation) isOfAnotherJob(dst, src types.UID) bool {
	return naming.IsJob(s.kind.GroupKind()) && src != "" && slices.ContainsFunc(s.down.history, func(o *unstructured.Unstructured) bool {
		return isCopy(o) && o.GetUID() == dst && o.GetAnnotations()[workloadv1alpha1.AnnotationSourceUID] != string(src)
	})
}

func (s *simulation) checkUp(r request, before, after *unstructured.Unstructured) {
	if after != nil && !reflect.DeepEqual(withoutOurs(before), withoutOurs(after)) {
		s.fail("the syncer has changed %v of the user's object to %v", withoutOurs(before), withoutOurs(after))
	}
	if hasOurFinalizer(before) && !hasOurFinalizer(after) && isCopy(s.down.objects[objectName]) && !s.pass.restored && !s.isOrphaning() {
		s.fail("our finalizer is removed while there is a copy")
	}
	if hasOurFinalizer(after) {
		s.finalizerRemoved = false
	}
	if r.subresource == "status" {
		s.statusLeft = !hasOurFinalizer(after)
		if after.Object["status"] != nil && !s.namespace.currentRole().writesStatus {
			s.fail("a status is written by a cluster whose status does not count")
		}
	}
}

// isOrphaning tells whether the copies of a SyncTarget that is being deleted stay.
func (s *simulation) isOrphaning() bool {
	return s.pass.closing && s.target.object.DeletionTimestamp != nil
}

// withoutOurs is an object of the workspace without what the syncer may change of it.
func withoutOurs(object *unstructured.Unstructured) map[string]any {
	o := object.DeepCopy()
	removeFinalizers(o, workloadv1alpha1.SyncerFinalizer(testOwner.Key))
	annotations := o.GetAnnotations()
	delete(annotations, workloadv1alpha1.SyncAnnotation(testOwner.Key))
	o.SetAnnotations(annotations)
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	delete(o.Object, "status")
	removeEmpty(o)
	return o.Object
}

func (s *simulation) checkDelete(r request, before *unstructured.Unstructured) {
	p := r.deletion.Preconditions
	if p == nil || p.UID == nil {
		s.fail("a delete has no UID as its precondition")
		return
	}
	if !s.pass.unwanted && !s.pass.closing && !s.isOfAnotherJob(*p.UID, s.pass.readUID) {
		s.fail("a delete follows no live read that shows that the copy is unwanted")
	}
	if before != nil && before.GetUID() == *p.UID && !s.mayWrite(before) {
		s.fail("an object is deleted that is not a copy")
	}
	if policy := r.deletion.PropagationPolicy; s.pass.orphan && (policy == nil || *policy != metav1.DeletePropagationOrphan) {
		s.fail("the object is deleted with the policy Orphan, and its copy with %v", policy)
	}
}

func (s *simulation) checkDown(r request, before, after *unstructured.Unstructured) {
	if s.runsElsewhere() && !isCopy(before) && isCopy(after) && s.pass.shown >= s.notOursSince[after.GetUID()] {
		s.fail("the copy of a Job is made by %s on a cluster that is not the first", r.verb)
	}
	if r.verb != "patch" && !hasOurFinalizer(s.up.objects[objectName]) && !s.finalizerRemoved {
		s.fail("the copy is written by %s, and its object has no finalizer", r.verb)
	}
	if before != nil && !s.mayWrite(before) && !isHandedOver(before) {
		s.fail("an object is written by %s that is not a copy", r.verb)
	}
	if isCopy(before) && !isCopy(after) && !s.pass.closing {
		s.fail("the copy is orphaned in a Namespace that is not closing")
	}
}

// mayWrite tells whether an object is a copy, or was one, or handed over, in the state that the cache showed: the
// process cannot know yet that it is no more.
func (s *simulation) mayWrite(live *unstructured.Unstructured) bool {
	return isCopy(live) || s.pass.shown < s.notOursSince[live.GetUID()]
}

func isWanted(src *unstructured.Unstructured) bool {
	return src != nil && src.GetDeletionTimestamp() == nil && src.GetLabels()[workloadv1alpha1.LabelSync] != "false"
}

func hasOurFinalizer(src *unstructured.Unstructured) bool {
	return src != nil && slices.Contains(src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(testOwner.Key))
}

func isCopy(dst *unstructured.Unstructured) bool {
	return dst != nil && dst.GetLabels()[workloadv1alpha1.LabelKey] == testOwner.Key && dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceUID] != ""
}

func isHandedOver(dst *unstructured.Unstructured) bool {
	return dst != nil && dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] == testOwner.Key
}

// settle holds the invariants of the end: passes that events and timers start bring about what is right, and then
// are silent.
func (s *simulation) settle() {
	s.settling = true
	s.logf("the changes end")
	s.setBurst(false)
	if s.random.IntN(2) == 0 {
		s.quotaExhausted = false
	}
	s.seeTarget()
	s.down.change(objectName, "somebody", func(o *unstructured.Unstructured) { removeFinalizers(o, userFinalizer) })
	for passes := 0; passes < maxSettlePasses && s.waitForPass(); passes++ {
		if err := s.runPass(noFault, 0); err != nil && passes > 3 && !s.quotaExhausted {
			s.fail("pass %d after the last change fails: %v", passes+1, err)
		}
	}
	s.deliverAll()
	for _, problem := range s.problems() {
		s.fail("after the last change: %s", problem)
	}
	s.checkCounts()
	for _, wait := range []time.Duration{0, cache.AssumedLifetime + time.Second} {
		s.step(wait)
		before := s.up.version + s.down.version + s.events.version
		err := s.runPass(noFault, 0)
		if after := s.up.version + s.down.version + s.events.version; after != before || s.pass.writes > 0 || err != nil && !s.quotaExhausted {
			s.fail("a pass with nothing to do makes %d writes, which change something %d times, and ends with %v", s.pass.writes, after-before, err)
		}
	}
}

// checkCounts holds that the object counts, and fails, as it says itself.
func (s *simulation) checkCounts() {
	src := s.up.objects[objectName]
	var want [2]int32
	if src != nil && s.controller.hasOurMetadata(src) && (!s.runsElsewhere() || hasOurFinalizer(src)) {
		want[0] = 1
		if s.controller.isFailing(s.namespace, s.resource, src) {
			want[1] = 1
		}
	}
	if got := s.resource.counts.sum(); want != [2]int32{got.Applied, got.Failing} {
		s.fail("after the last change: %+v are counted, and not %v", got, want)
	}
}

// waitForPass delivers everything and tells whether an event or, before long, a timer starts a pass.
func (s *simulation) waitForPass() bool {
	s.down.collectGarbage(objectName)
	s.deliverAll()
	limit := 2 * retryMax
	if s.refused {
		limit = rejection.RetryAfter // an object is tried again that was refused, without an event
	}
	if wait := s.timer.Sub(s.clock.Now()); !s.due && !s.timer.IsZero() && wait <= limit {
		s.step(wait)
	}
	return s.due
}

func (s *simulation) deliverAll() {
	s.upInformer.deliver(s.upInformer.latest())
	s.downInformer.deliver(s.downInformer.latest())
}

// problems are the differences from the state that is right after the last change.
func (s *simulation) problems() []string {
	src, dst := s.up.objects[objectName], s.down.objects[objectName]
	switch {
	case !isWanted(src) || s.namespace.draining() != nil:
		return s.problemsOfUnwanted(src, dst)
	case s.runsElsewhere() && !isCopy(dst):
		return present(map[string]bool{
			"an object that runs elsewhere has a finalizer":          hasOurFinalizer(src),
			"that an object runs on another cluster is not reported": !strings.Contains(reportOf(src).Message, "runs on the first"),
		})
	case dst != nil && !isCopy(dst) && !isHandedOver(dst):
		return s.problemsOfUnmanaged(src)
	case dst == nil && naming.HasFinished(src):
		return present(map[string]bool{
			"a Job that has ended has a finalizer and no copy": hasOurFinalizer(src),
			"that a Job has ended is not reported":             reportOf(src).Ready != string(kstatus.CurrentStatus),
		})
	case s.isRefused(src, dst):
		return s.problemsOfRefused(src, dst)
	}
	return s.problemsOfWanted(src, dst)
}

// present are the texts whose problem is there.
func present(problems map[string]bool) []string {
	maps.DeleteFunc(problems, func(_ string, found bool) bool { return !found })
	return slices.Sorted(maps.Keys(problems))
}

func (s *simulation) problemsOfUnwanted(src, dst *unstructured.Unstructured) []string {
	return present(map[string]bool{
		"an object that is not wanted has a copy":       isCopy(dst),
		"an object that is not wanted has a finalizer":  hasOurFinalizer(src),
		"an object that is not wanted has a report":     src != nil && reportOn(src) != "",
		"an object that is not wanted has a status":     src != nil && src.GetDeletionTimestamp() == nil && src.Object["status"] != nil && !s.statusLeft && !naming.HasFinished(src),
		"a terminating object without finalizers stays": src != nil && src.GetDeletionTimestamp() != nil && len(src.GetFinalizers()) == 0,
	})
}

func (s *simulation) problemsOfUnmanaged(src *unstructured.Unstructured) []string {
	return present(map[string]bool{
		"an object without a copy has a finalizer":               hasOurFinalizer(src),
		"an object without a copy has a status":                  src.Object["status"] != nil && !s.statusLeft && !naming.HasFinished(src),
		"that an unmanaged object is in the way is not reported": !strings.Contains(reportOf(src).Refused, "is not a copy"),
	})
}

// isRefused tells whether the physical cluster refuses what is to be written.
func (s *simulation) isRefused(src, dst *unstructured.Unstructured) bool {
	value, _, _ := unstructured.NestedString(src.Object, "data", "a")
	return value == invalid || dst == nil && s.quotaExhausted
}

func (s *simulation) problemsOfRefused(src, dst *unstructured.Unstructured) []string {
	return present(map[string]bool{
		"an object that was refused has a finalizer and no copy": dst == nil && hasOurFinalizer(src),
		"an object with a copy has no finalizer":                 isCopy(dst) && !hasOurFinalizer(src),
		"a refusal is not reported":                              !reportOf(src).Rejected(),
		"a copy of an earlier state is reported as Current":      reportOf(src).Ready == string(kstatus.CurrentStatus),
	})
}

func (s *simulation) problemsOfWanted(src, dst *unstructured.Unstructured) []string {
	if dst == nil {
		return []string{"a wanted object has no copy"}
	}
	report := reportOf(src)
	left, unexplained := s.differingFields(src, dst)
	if slices.ContainsFunc(left, func(f field) bool { return strings.HasPrefix(f.key, workloadv1alpha1.GroupName) }) {
		// Nothing can be applied.
		return present(map[string]bool{"that our metadata is owned by another is not reported": report.Conflict == ""})
	}
	problems := map[string]bool{
		"an object that was handed over is not a copy": !isCopy(dst),
		"an object with a copy has no finalizer":       !hasOurFinalizer(src),
		"the copy is that of an earlier Job":           s.isOfAnotherJob(dst.GetUID(), src.GetUID()),
	}
	for _, f := range unexplained {
		problems["the copy differs in "+f.parent+"."+f.key] = true
	}
	result, err := kstatus.Compute(dst)
	if err != nil {
		s.t.Fatal(err)
	}
	ready := string(result.Status)
	if len(left) > 0 && ready == string(kstatus.CurrentStatus) {
		ready = rejection.ReadyDiffers
	}
	problems["the report has another Ready than "+ready] = report.Ready != ready
	problems["the report speaks of another generation"] = report.Generation != src.GetGeneration()
	problems["a conflict is not reported"] = len(left) > 0 && report.Conflict == ""
	problems["a conflict is reported that is over"] = len(left) == 0 && report.Conflict != ""
	problems["a refusal is reported that is over"] = report.Refused != ""
	problems["the report names other fields than those that differ"] = len(report.Differs) != len(left) && report.Conflict == ""
	if s.up.custom && s.namespace.currentRole().writesStatus {
		status := rejection.StatusUp(dst)
		stays := status == nil && (s.statusLeft || naming.HasFinished(src))
		problems["the status is another than that of the copy"] = !reflect.DeepEqual(src.Object["status"], status) && !stays
	}
	return present(problems)
}

// differingFields are the fields that the copy has otherwise than the object: those that are left to other managers
// who own them, and those for which there is no reason.
func (s *simulation) differingFields(src, dst *unstructured.Unstructured) (left, unexplained []field) {
	desired, err := testOwner.Copy(src)
	if err != nil {
		s.t.Fatal(err)
	}
	wanted, live := fieldsIn(desired), fieldsIn(dst)
	owned, _ := ownershipOf(dst)
	forced := src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
	for f, value := range wanted {
		if live[f] == value {
			continue
		}
		if !forced && owned.isOwnedByOthers(f, workloadv1alpha1.FieldOwnerSyncer) {
			left = append(left, f)
		} else {
			unexplained = append(unexplained, f)
		}
	}
	for f := range live {
		if _, set := wanted[f]; !set && owned[owner{workloadv1alpha1.FieldOwnerSyncer, metav1.ManagedFieldsOperationApply}][f] {
			unexplained = append(unexplained, f)
		}
	}
	return left, unexplained
}

func reportOn(src *unstructured.Unstructured) string {
	return src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(testOwner.Key)]
}

func reportOf(src *unstructured.Unstructured) rejection.Report {
	return rejection.ParseReport(reportOn(src))
}

func (s *simulation) logf(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *simulation) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\nworkspace: %v\nphysical cluster: %v\nsteps:\n%s", fmt.Sprintf(format, args...),
		s.up.objects[objectName], s.down.objects[objectName], strings.Join(s.log, "\n"))
}

// operation is a change that others than the syncer make, or the delivery of changes. It tells whether there was
// anything to do.
type operation struct {
	name string
	// weight is how often it is chosen, relative to the others.
	weight int
	do     func(*simulation) bool
}

// runOperation runs a random operation.
func (s *simulation) runOperation() {
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	for range 10 {
		n := s.random.IntN(total)
		at := slices.IndexFunc(operations, func(o operation) bool { n -= o.weight; return n < 0 })
		if o := operations[at]; o.do(s) {
			s.logf("%s (states %d and %d)", o.name, s.upInformer.latest(), s.downInformer.latest())
			return
		}
	}
}

// interfere runs, now and then, an operation in the middle of a pass.
func (s *simulation) interfere() {
	if !s.settling && s.random.IntN(20) == 0 {
		s.runOperation()
	}
}

// userFinalizer is a finalizer of somebody else.
const userFinalizer = "example.com/protection"

var operations = slices.Concat(userOperations, clusterOperations, serviceOperations)

var userOperations = []operation{
	{"the user creates the object", 8, func(s *simulation) bool {
		if s.up.objects[objectName] != nil {
			return false
		}
		o := s.newObject()
		if s.random.IntN(8) == 0 {
			o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "false"})
		}
		_, err := s.up.create(o, "user", false)
		return err == nil
	}},
	{"the user changes the object", 6, func(s *simulation) bool { return s.changeData(s.up, "user") }},
	{"the user makes the object invalid for the physical cluster", 1, func(s *simulation) bool {
		return s.changeUp(setString(invalid, "data", "a"))
	}},
	{"the user removes a field of the object", 2, func(s *simulation) bool { return s.removeData(s.up, "user") }},
	{"the user changes a label", 1, func(s *simulation) bool {
		return s.changeUp(setString(s.value(), "metadata", "labels", "team"))
	}},
	{"the user opts the object out", 3, func(s *simulation) bool {
		return s.changeUp(setString("false", "metadata", "labels", workloadv1alpha1.LabelSync))
	}},
	{"the user opts the object in", 4, func(s *simulation) bool {
		return s.changeUp(remove("metadata", "labels", workloadv1alpha1.LabelSync))
	}},
	{"the user deletes the object", 3, func(s *simulation) bool { return s.deleteObject(s.up) }},
	{"the garbage collector of the workspace runs", 4, func(s *simulation) bool { return s.up.collectGarbage(objectName) }},
	{"the user removes our finalizer by hand", 2, func(s *simulation) bool {
		if !hasOurFinalizer(s.up.objects[objectName]) {
			return false
		}
		s.finalizerRemoved, s.statusLeft = true, true
		return s.changeUp(func(o *unstructured.Unstructured) {
			removeFinalizers(o, workloadv1alpha1.SyncerFinalizer(testOwner.Key))
		})
	}},
	{"the user adds a finalizer", 1, func(s *simulation) bool { return s.changeUp(addUserFinalizer) }},
	{"the user removes a finalizer", 2, func(s *simulation) bool {
		return s.changeUp(func(o *unstructured.Unstructured) { removeFinalizers(o, userFinalizer) })
	}},
	{"the user takes fields over", 1, func(s *simulation) bool {
		return s.changeUp(setString("true", "metadata", "annotations", workloadv1alpha1.AnnotationTakeOver))
	}},
	{"the user takes no fields over", 1, func(s *simulation) bool {
		return s.changeUp(remove("metadata", "annotations", workloadv1alpha1.AnnotationTakeOver))
	}},
	{"the user removes our report", 1, func(s *simulation) bool {
		return s.changeUp(remove("metadata", "annotations", workloadv1alpha1.SyncAnnotation(testOwner.Key)))
	}},
}

var clusterOperations = []operation{
	{"somebody changes the copy", 3, func(s *simulation) bool { return s.changeData(s.down, "somebody") }},
	{"somebody removes a field of the copy", 3, func(s *simulation) bool { return s.removeData(s.down, "somebody") }},
	{"somebody deletes the copy", 3, func(s *simulation) bool { return s.deleteObject(s.down) }},
	{"somebody creates an object of the name of the copy", 2, func(s *simulation) bool {
		_, err := s.down.create(s.newObject(), "somebody", false)
		return err == nil
	}},
	{"somebody hands the object over", 3, func(s *simulation) bool {
		return s.changeDown(setString(testOwner.Key, "metadata", "annotations", workloadv1alpha1.AnnotationAdopt))
	}},
	{"somebody hands the object over no more", 1, func(s *simulation) bool {
		return s.changeDown(remove("metadata", "annotations", workloadv1alpha1.AnnotationAdopt))
	}},
	{"somebody removes our labels from the copy", 1, func(s *simulation) bool {
		return s.changeDown(remove("metadata", "labels", workloadv1alpha1.LabelKey))
	}},
	{"somebody restores a backup of the copy", 1, func(s *simulation) bool {
		copies := slices.DeleteFunc(slices.Clone(s.down.history), func(o *unstructured.Unstructured) bool { return !isCopy(o) })
		if len(copies) == 0 || s.down.objects[objectName] != nil {
			return false
		}
		backup := copies[s.random.IntN(len(copies))].DeepCopy()
		metadata := map[string]any{"name": objectName, "labels": backup.Object["metadata"].(map[string]any)["labels"], "annotations": backup.Object["metadata"].(map[string]any)["annotations"]}
		backup.Object["metadata"] = metadata
		s.pass.restored = true
		_, err := s.down.create(backup, "backup", false)
		return err == nil
	}},
	{"a controller writes the status of the copy", 5, func(s *simulation) bool {
		dst := s.down.objects[objectName]
		if dst == nil || !s.down.custom {
			return false
		}
		status := map[string]any{"phase": s.value()}
		truth := []string{"True", "False"}[s.random.IntN(2)]
		if naming.IsJob(s.kind.GroupKind()) {
			status["conditions"] = []any{map[string]any{"type": "Complete", "status": truth}}
		} else {
			status["observedGeneration"] = dst.GetGeneration()
			status["conditions"] = []any{map[string]any{"type": "Ready", "status": truth, "observedGeneration": dst.GetGeneration()}}
		}
		return s.down.changeStatus(objectName, "controller", status)
	}},
	{"somebody adds a finalizer to the copy", 1, func(s *simulation) bool { return s.changeDown(addUserFinalizer) }},
	{"somebody removes a finalizer of the copy", 2, func(s *simulation) bool {
		return s.changeDown(func(o *unstructured.Unstructured) { removeFinalizers(o, userFinalizer) })
	}},
	{"the garbage collector of the physical cluster runs", 4, func(s *simulation) bool { return s.down.collectGarbage(objectName) }},
	{"the quota is exhausted, or is not", 1, func(s *simulation) bool { s.quotaExhausted = !s.quotaExhausted; return true }},
}

var serviceOperations = []operation{
	{"the Namespace is withdrawn", 2, func(s *simulation) bool { return s.setIntent(intentOfWithdraw) }},
	{"the Namespace is assigned again", 4, func(s *simulation) bool { return s.setIntent(intentOfRun) }},
	{"the SyncTarget is deleted, with the policy Orphan", 1, func(s *simulation) bool {
		if s.random.IntN(4) > 0 {
			return false
		}
		s.setIntent(intentOfWithdraw)
		s.target.object.DeletionTimestamp, s.target.object.Spec.DeletionPolicy = ptr.To(metav1.Unix(1_700_000_000, 0)), workloadv1alpha1.DeletionPolicyOrphan
		return true
	}},
	{"the process sees the SyncTarget", 5, (*simulation).seeTarget},
	{"the cache of the workspace catches up", 14, func(s *simulation) bool { return s.catchUp(s.upInformer) }},
	{"the cache of the physical cluster catches up", 14, func(s *simulation) bool { return s.catchUp(s.downInformer) }},
	{"time passes", 8, func(s *simulation) bool {
		waits := []time.Duration{lagRetry, lagRetry, 2 * time.Second, 4 * time.Second, cache.AssumedLifetime + time.Second, rejection.RetryAfter}
		s.step(waits[s.random.IntN(len(waits))])
		return true
	}},
}

func (s *simulation) newObject() *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{"a": s.value(), "b": s.value()}}}
	o.SetGroupVersionKind(s.kind)
	o.SetName(objectName)
	return o
}

func (s *simulation) value() string { return fmt.Sprint(s.random.IntN(3)) }

func (s *simulation) dataKey() string { return []string{"a", "b", "c"}[s.random.IntN(3)] }

func (s *simulation) changeData(server *modelServer, manager string) bool {
	return server.change(objectName, manager, setString(s.value(), "data", s.dataKey()))
}

func (s *simulation) removeData(server *modelServer, manager string) bool {
	return server.change(objectName, manager, remove("data", s.dataKey()))
}

func (s *simulation) deleteObject(server *modelServer) bool {
	policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan, metav1.DeletePropagationForeground}
	before := server.version
	_ = server.delete(objectName, metav1.DeleteOptions{PropagationPolicy: &policies[s.random.IntN(3)]})
	return server.version != before
}

func (s *simulation) changeUp(change func(*unstructured.Unstructured)) bool {
	return s.up.change(objectName, "user", change)
}

// changeDown changes the object of the physical cluster, and notes if that makes an object of others of it.
func (s *simulation) changeDown(change func(*unstructured.Unstructured)) bool {
	before := s.down.objects[objectName]
	done := s.down.change(objectName, "somebody", change)
	after := s.down.objects[objectName]
	if isCopy(before) && !isCopy(after) || isHandedOver(before) && !isHandedOver(after) {
		s.notOursSince[before.GetUID()] = len(s.down.history) - 1
	}
	return done
}

func addUserFinalizer(o *unstructured.Unstructured) {
	if o.GetDeletionTimestamp() == nil && !slices.Contains(o.GetFinalizers(), userFinalizer) {
		o.SetFinalizers(append(o.GetFinalizers(), userFinalizer))
	}
}

func setString(value string, path ...string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { _ = unstructured.SetNestedField(o.Object, value, path...) }
}

func remove(path ...string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, path...) }
}

// setIntent changes what is wanted of the Namespace; that of a SyncTarget that is deleted stays as it is.
func (s *simulation) setIntent(intent workloadv1alpha1.AssignmentIntent) bool {
	if s.target.object.DeletionTimestamp != nil || s.target.assignment.Spec.Intent == intent {
		return false
	}
	changeIntent(s.target.assignment, intent)
	return true
}

// changeRole makes this cluster the first of those of the Namespace or another, and lets its status count or not.
func (s *simulation) changeRole() {
	s.target.assignment.Spec.Order, s.target.assignment.Spec.WritesStatus = s.roles.Int32N(2), s.roles.IntN(3) > 0
	s.logf("order %d, writesStatus: %t", s.target.assignment.Spec.Order, s.target.assignment.Spec.WritesStatus)
}

// setBurst begins or ends a burst of creations of other copies.
func (s *simulation) setBurst(on bool) {
	s.namespace.creations.underWay, s.namespace.creations.manyAt = 0, time.Time{}
	if on {
		s.namespace.creations.underWay = manyCreations
	}
	s.logf("burst: %t", on)
}

// planNow is what the source has now.
func (s *simulation) planNow() *source.Plan {
	return s.source.PlanOf(&s.target.object, s.target.list())
}

// roleNow is the role of this cluster by that.
func (s *simulation) roleNow() role { return roleOf(s.planNow().Assignment(shopNamespace)) }

// runsElsewhere tells whether the object has no copy here, by what the process has seen.
func (s *simulation) runsElsewhere() bool {
	return naming.IsJob(s.kind.GroupKind()) && !s.namespace.currentRole().first
}

// seeTarget is what the process does about the SyncTarget. It tells whether that is anything new.
func (s *simulation) seeTarget() bool {
	role := s.roleNow()
	before := s.namespace.setRole(role)
	changed := s.namespace.setDrain(drainOf(s.planNow(), shopNamespace)) || before.first != role.first || before.writesStatus != role.writesStatus
	known := len(s.resource.up.Names())+len(s.resource.down.Names()) > 0
	s.due = s.due || changed && known
	return changed
}

// catchUp delivers some of what the server has beyond the cache: each state, or after a lost watch the last one.
func (s *simulation) catchUp(informer *modelInformer) bool {
	behind := informer.latest() - informer.delivered
	if behind == 0 {
		return false
	}
	to := informer.delivered + 1 + s.random.IntN(behind)
	if s.random.IntN(2) == 0 {
		to = informer.latest()
	}
	if s.random.IntN(6) == 0 {
		informer.skipTo(to)
	} else {
		informer.deliver(to)
	}
	return true
}
