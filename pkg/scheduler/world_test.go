package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// start is a whole second, as times in an API server are.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a workspace on a stepped clock: what its API server holds, and how syncers and the controller behave. It
// does what they are specified to do, and knows nothing of how Plan decides.
type world struct {
	now         time.Time
	namespaces  map[types.UID]*Namespace
	placements  map[string]*workloadv1alpha1.Placement
	targets     map[string]*modelTarget
	assignments map[string]*workloadv1alpha1.Assignment
	// copies are what physical clusters hold, by the UIDs of Namespace and SyncTarget.
	copies map[copyKey]*copies
	// granted are the rights of syncers in Namespaces.
	granted map[copyKey]bool
	// broken are Namespaces that never become available on a SyncTarget.
	broken map[copyKey]bool
	// claims are Namespaces that have bound PersistentVolumeClaims, wherever they run.
	claims map[types.UID]bool
	// slow is how long a syncer takes to apply, and again until all is available.
	slow time.Duration

	// order has the keys of assignments in order; nil where one has been added or removed since.
	order []string

	nextUID, nextVersion int
	events               []Event
}

type copyKey struct{ namespace, target types.UID }

// copies are the copies of a Namespace in a physical cluster.
type copies struct {
	// appliedAt is when they were made.
	appliedAt time.Time
	// ran: they have been available.
	ran bool
	// orphaned copies belong to the physical cluster.
	orphaned bool
}

// modelTarget is a SyncTarget and its physical cluster.
type modelTarget struct {
	*workloadv1alpha1.SyncTarget
	key string
	// down since when the cluster has been cut off; zero while it is not.
	down     time.Time
	paused   bool
	deadline time.Time
}

func newWorld() *world {
	return &world{
		now: start, slow: 5 * time.Second,
		namespaces: map[types.UID]*Namespace{}, placements: map[string]*workloadv1alpha1.Placement{},
		targets: map[string]*modelTarget{}, assignments: map[string]*workloadv1alpha1.Assignment{},
		copies: map[copyKey]*copies{}, granted: map[copyKey]bool{}, broken: map[copyKey]bool{}, claims: map[types.UID]bool{},
	}
}

func (w *world) uid() types.UID { w.nextUID++; return types.UID("uid-" + strconv.Itoa(w.nextUID)) }

func (w *world) version() string { w.nextVersion++; return strconv.Itoa(w.nextVersion) }

func (w *world) addNamespace(name, app string) *Namespace {
	n := &Namespace{Name: name, UID: w.uid(), Labels: map[string]string{"app": app}}
	w.namespaces[n.UID] = n
	return n
}

func (w *world) addTarget(name, region string) *modelTarget {
	t := &modelTarget{key: workloadv1alpha1.Key("ws", name), SyncTarget: &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: w.uid(), CreationTimestamp: metav1.NewTime(w.now), Labels: map[string]string{"region": region}},
		Spec:       workloadv1alpha1.SyncTargetSpec{Cells: map[string]workloadv1alpha1.CellValue{"region": workloadv1alpha1.CellValue(region)}},
	}}
	w.targets[name] = t
	w.setReady(t)
	return t
}

// addPlacement adds a Placement with the defaults of the API for the Namespaces with a label, as changed by change.
func (w *world) addPlacement(name, app string, change func(*workloadv1alpha1.PlacementSpec)) *workloadv1alpha1.Placement {
	p := &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: w.uid(), CreationTimestamp: metav1.NewTime(w.now), Generation: 1},
		Spec: workloadv1alpha1.PlacementSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			NumberOfClusters:  1,
			Move: workloadv1alpha1.MovePolicy{
				PurgeMode: workloadv1alpha1.PurgeGracefully, GracePeriodSeconds: 600, MaxUnavailable: 1, Volumes: workloadv1alpha1.VolumesHold,
			},
			Failback: workloadv1alpha1.FailbackManual,
		},
	}
	if change != nil {
		change(&p.Spec)
	}
	w.placements[name] = p
	return p
}

// sorted returns the values of a map by their keys.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	values := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[k])
	}
	return values
}

// sortedAssignments returns the Assignments by Namespace and name.
func (w *world) sortedAssignments() []*workloadv1alpha1.Assignment {
	if len(w.order) != len(w.assignments) || w.order == nil {
		w.order = slices.Sorted(maps.Keys(w.assignments))
	}
	result := make([]*workloadv1alpha1.Assignment, 0, len(w.order))
	for _, key := range w.order {
		result = append(result, w.assignments[key])
	}
	return result
}

// workspace is what the scheduler sees.
func (w *world) workspace() Workspace {
	s := Workspace{Now: w.now}
	for _, n := range sorted(w.namespaces) {
		s.Namespaces = append(s.Namespaces, *n)
	}
	for _, p := range sorted(w.placements) {
		s.Placements = append(s.Placements, *p)
	}
	for _, t := range sorted(w.targets) {
		s.Clusters = append(s.Clusters, Cluster{Target: t.SyncTarget, Key: t.key, EvictionPaused: t.paused, DeletionDeadline: t.deadline})
	}
	s.Assignments = make([]workloadv1alpha1.Assignment, 0, len(w.assignments))
	for _, a := range w.sortedAssignments() {
		s.Assignments = append(s.Assignments, *a)
	}
	for _, missing := range MissingAssignments(&s) {
		if n, target := &s.Namespaces[missing.Namespace], missing.Cluster.Target.UID; w.granted[copyKey{n.UID, target}] {
			n.Unrecorded = append(n.Unrecorded, target)
		}
	}
	return s
}

// apply writes changes, and crashes before the write with the number limit. It returns how many writes were made.
func (w *world) apply(c Changes, limit int) (writes int, err error) {
	var steps []func() error
	for i := range c.Create {
		steps = append(steps, func() error { return w.create(&c.Create[i]) })
	}
	for i := range c.Update {
		steps = append(steps, func() error { return w.update(&c.Update[i]) })
	}
	for i := range c.Delete {
		steps = append(steps, func() error { return w.delete(&c.Delete[i]) })
	}
	for i := range c.Placements {
		steps = append(steps, func() error { return w.updatePlacement(&c.Placements[i]) })
	}
	for _, t := range c.Targets {
		steps = append(steps, func() error { return w.updateTarget(t) })
	}
	for _, a := range c.Annotations {
		steps = append(steps, func() error {
			if n := w.namespaces[a.UID]; n != nil {
				n.Annotation = a.Value
			}
			return nil
		})
	}
	w.events = append(w.events, c.Events...)
	for i, step := range steps {
		if i == limit {
			return i, nil
		}
		if err := step(); err != nil {
			return i, err
		}
	}
	return len(steps), nil
}

func assignmentKey(a *workloadv1alpha1.Assignment) string { return a.Namespace + "/" + a.Name }

func (w *world) create(a *workloadv1alpha1.Assignment) error {
	if w.assignments[assignmentKey(a)] != nil {
		return fmt.Errorf("the Assignment %s exists", assignmentKey(a))
	}
	created := a.DeepCopy()
	created.UID, created.ResourceVersion, created.Generation, created.CreationTimestamp = w.uid(), w.version(), 1, metav1.NewTime(w.now)
	w.assignments[assignmentKey(a)], w.order = created, nil
	return nil
}

func (w *world) update(a *workloadv1alpha1.Assignment) error {
	present := w.assignments[assignmentKey(a)]
	if present == nil || present.ResourceVersion != a.ResourceVersion {
		return fmt.Errorf("conflict at the Assignment %s", assignmentKey(a))
	}
	updated := present.DeepCopy()
	updated.Spec, updated.ResourceVersion = a.Spec, w.version()
	updated.Generation++
	w.assignments[assignmentKey(a)] = updated
	return nil
}

func (w *world) delete(a *workloadv1alpha1.Assignment) error {
	present := w.assignments[assignmentKey(a)]
	if present == nil || present.ResourceVersion != a.ResourceVersion {
		return fmt.Errorf("conflict at the Assignment %s", assignmentKey(a))
	}
	delete(w.assignments, assignmentKey(a))
	w.order = nil
	return nil
}

func (w *world) updatePlacement(p *workloadv1alpha1.Placement) error {
	present := w.placements[p.Name]
	if present == nil || present.UID != p.UID {
		return fmt.Errorf("the Placement %s is gone", p.Name)
	}
	if present.DeletionTimestamp != nil && len(p.Finalizers) == 0 {
		delete(w.placements, p.Name)
		return nil
	}
	updated := present.DeepCopy()
	updated.Finalizers, updated.Status = p.Finalizers, *p.Status.DeepCopy()
	w.placements[p.Name] = updated
	return nil
}

func (w *world) updateTarget(t *workloadv1alpha1.SyncTarget) error {
	present := w.targets[t.Name]
	if present == nil || present.UID != t.UID {
		return fmt.Errorf("the SyncTarget %s is gone", t.Name)
	}
	updated := present.DeepCopy()
	updated.Status.Taints, updated.Status.Assignments, updated.Status.Drain = t.Status.Taints, t.Status.Assignments, t.Status.Drain
	present.SyncTarget = updated
	return nil
}

// deletePlacement is what a user does. Without a finalizer it is gone at once.
func (w *world) deletePlacement(p *workloadv1alpha1.Placement) {
	if len(p.Finalizers) == 0 {
		delete(w.placements, p.Name)
		return
	}
	now := metav1.NewTime(w.now)
	p.DeletionTimestamp = &now
}

// changeTarget changes a SyncTarget without changing what a pass has read.
func (t *modelTarget) change(change func(*workloadv1alpha1.SyncTarget)) {
	changed := t.DeepCopy()
	change(changed)
	t.SyncTarget = changed
}

// setReady is the controller's judgement of the heartbeats.
func (w *world) setReady(t *modelTarget) {
	ready := metav1.Condition{Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonReady}
	if !t.down.IsZero() && w.now.Sub(t.down) >= time.Minute {
		ready.Status, ready.Reason = metav1.ConditionFalse, workloadv1alpha1.ReasonUnhealthy
	}
	ready.LastTransitionTime = metav1.NewTime(w.now)
	if present := meta.FindStatusCondition(t.Status.Conditions, ready.Type); present == nil || present.Status != ready.Status {
		t.change(func(t *workloadv1alpha1.SyncTarget) { meta.SetStatusCondition(&t.Status.Conditions, ready) })
	}
}

// step lets time pass, and everybody else do what is to be done.
func (w *world) step(d time.Duration) {
	w.now = w.now.Add(d)
	for _, t := range w.targets {
		w.setReady(t)
	}
	byUID := make(map[string]*modelTarget, len(w.targets))
	for _, t := range w.targets {
		byUID[string(t.UID)] = t
	}
	for _, a := range w.sortedAssignments() {
		if t := byUID[a.Labels[workloadv1alpha1.LabelUID]]; t != nil && !w.served(a, t) {
			w.serve(a, t)
		}
	}
	w.finishDeletions()
}

// served reports whether there is nothing to do about an Assignment.
func (w *world) served(a *workloadv1alpha1.Assignment, t *modelTarget) bool {
	s, key := &a.Status, copyKey{a.Spec.Namespace.UID, t.UID}
	admitted := meta.FindStatusCondition(s.Conditions, workloadv1alpha1.ConditionAdmitted)
	if a.Spec.Intent != workloadv1alpha1.IntentRun {
		return admitted != nil && (admitted.Status == metav1.ConditionFalse && admitted.ObservedGeneration == a.Generation ||
			admitted.Status == metav1.ConditionTrue && !t.down.IsZero())
	}
	return !t.down.IsZero() || s.ObservedEpoch == a.Spec.Epoch && admitted.ObservedGeneration == a.Generation &&
		w.copies[key] != nil && !w.copies[key].orphaned &&
		meta.IsStatusConditionTrue(s.Conditions, workloadv1alpha1.ConditionAvailable) != w.broken[key] &&
		(s.Objects.BoundClaims > 0) == (w.claims[key.namespace] && a.Spec.Order == 0)
}

// serve is what the controller and the syncer do about an Assignment.
func (w *world) serve(a *workloadv1alpha1.Assignment, t *modelTarget) {
	updated := a.DeepCopy()
	s, key := &updated.Status, copyKey{a.Spec.Namespace.UID, t.UID}
	if a.Spec.Intent == workloadv1alpha1.IntentRun {
		if t.down.IsZero() {
			w.run(updated, key)
		}
	} else {
		admitted := meta.FindStatusCondition(s.Conditions, workloadv1alpha1.ConditionAdmitted)
		never := admitted == nil && a.Annotations[workloadv1alpha1.AnnotationRestored] == ""
		if t.down.IsZero() && !never && (admitted == nil || admitted.Status == metav1.ConditionTrue) {
			w.withdraw(updated, key)
		}
		withdrawn := meta.IsStatusConditionTrue(s.Conditions, workloadv1alpha1.ConditionWithdrawn) && s.ObservedEpoch == a.Spec.Epoch
		if withdrawn || never {
			w.set(updated, workloadv1alpha1.ConditionAdmitted, false, workloadv1alpha1.ReasonRevoked)
			delete(w.granted, key)
		}
	}
	if !equality.Semantic.DeepEqual(updated.Status, a.Status) {
		updated.ResourceVersion = w.version()
		w.assignments[assignmentKey(a)] = updated
	}
}

func (w *world) run(a *workloadv1alpha1.Assignment, key copyKey) {
	w.set(a, workloadv1alpha1.ConditionAdmitted, true, workloadv1alpha1.ReasonAdmitted)
	w.granted[key] = true
	c := w.copies[key]
	if c == nil || c.orphaned {
		c = &copies{appliedAt: w.now}
		w.copies[key] = c
	}
	a.Status.ObservedEpoch = a.Spec.Epoch
	a.Status.Objects = &workloadv1alpha1.AssignmentObjects{Applied: 1}
	if w.claims[key.namespace] && a.Spec.Order == 0 {
		a.Status.Objects.BoundClaims = 1
	}
	w.set(a, workloadv1alpha1.ConditionApplied, !w.now.Before(c.appliedAt.Add(w.slow)), workloadv1alpha1.ReasonApplied)
	available := !w.now.Before(c.appliedAt.Add(2*w.slow)) && !w.broken[key]
	c.ran = c.ran || available
	w.set(a, workloadv1alpha1.ConditionAvailable, available, workloadv1alpha1.ReasonAvailable)
}

func (w *world) withdraw(a *workloadv1alpha1.Assignment, key copyKey) {
	if c := w.copies[key]; c != nil && a.Spec.Intent == workloadv1alpha1.IntentOrphan {
		c.orphaned = true
	} else {
		delete(w.copies, key)
	}
	a.Status.ObservedEpoch, a.Status.Objects = a.Spec.Epoch, nil
	w.set(a, workloadv1alpha1.ConditionApplied, false, workloadv1alpha1.ReasonApplying)
	w.set(a, workloadv1alpha1.ConditionAvailable, false, workloadv1alpha1.ReasonNotAvailable)
	w.set(a, workloadv1alpha1.ConditionWithdrawn, true, workloadv1alpha1.ReasonWithdrawn)
}

func (w *world) set(a *workloadv1alpha1.Assignment, conditionType string, is bool, reason string) {
	c := metav1.Condition{Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.NewTime(w.now)}
	if is {
		c.Status = metav1.ConditionTrue
	}
	if conditionType == workloadv1alpha1.ConditionAdmitted {
		c.ObservedGeneration = a.Generation
	}
	meta.SetStatusCondition(&a.Status.Conditions, c)
}

// finishDeletions removes Namespaces and SyncTargets that are being deleted and have no Assignment any more, or are
// abandoned.
func (w *world) finishDeletions() {
	byNamespace, byTarget := map[types.UID]bool{}, map[string]bool{}
	for key := range w.granted {
		byNamespace[key.namespace] = true
	}
	for _, a := range w.assignments {
		byNamespace[a.Spec.Namespace.UID] = true
		if meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted) == nil ||
			a.Spec.Intent == workloadv1alpha1.IntentRun ||
			meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted).Reason != workloadv1alpha1.ReasonRevoked {
			byTarget[a.Labels[workloadv1alpha1.LabelUID]] = true
		}
	}
	for uid, n := range w.namespaces {
		switch {
		case n.Gone && !byNamespace[uid]:
			delete(w.namespaces, uid)
		case n.Terminating && !byNamespace[uid]:
			n.Gone = true
		}
	}
	for name, t := range w.targets {
		if t.DeletionTimestamp == nil || byTarget[string(t.UID)] && w.now.Before(t.deadline.Add(5*time.Minute)) {
			continue
		}
		delete(w.targets, name)
		w.order = nil
		maps.DeleteFunc(w.assignments, func(_ string, a *workloadv1alpha1.Assignment) bool {
			return a.Labels[workloadv1alpha1.LabelUID] == string(t.UID)
		})
		maps.DeleteFunc(w.granted, func(key copyKey, _ bool) bool { return key.target == t.UID })
	}
}

// settle lets time pass until a pass has nothing to write and nothing more will happen by itself, and returns the
// writes.
func (w *world) settle(fail func(format string, args ...any)) (writes int) {
	for quiet, i := 0, 0; quiet < 3; i++ {
		if i == 2000 {
			fail("the workspace does not come to rest: %+v", Plan(w.workspace()))
			return writes
		}
		c := Plan(w.workspace())
		n, err := w.apply(c, -1)
		if err != nil {
			fail("a pass over the present state conflicts: %v", err)
		}
		writes += n
		quiet++
		if n > 0 || !c.NextCheck.IsZero() {
			quiet = 0
		}
		w.step(10 * time.Second)
	}
	return writes
}

// running returns the names of the SyncTargets with Assignments of a Namespace that have the intent Run.
func (w *world) running(n *Namespace) []string {
	var names []string
	for _, a := range w.sortedAssignments() {
		if a.Spec.Namespace.UID == n.UID && a.Spec.Intent == workloadv1alpha1.IntentRun {
			names = append(names, a.Annotations[workloadv1alpha1.AnnotationSyncTarget])
		}
	}
	slices.Sort(names)
	return names
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }
