package synctarget

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// namespace is one of the workspace.
func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"},
	}}
}

// assignment assigns a Namespace to the target of the tests, as the scheduler does.
func assignment(name string, change ...func(*workloadv1alpha1.Assignment)) *workloadv1alpha1.Assignment {
	uid := namespace(name).UID
	a := &workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace(), Name: workloadv1alpha1.AssignmentName(uid), UID: types.UID("assignment-" + name), Generation: 1,
			Labels: map[string]string{
				workloadv1alpha1.LabelVisible: "true", workloadv1alpha1.LabelKey: testKey(), workloadv1alpha1.LabelUID: testUID,
			},
			Annotations: map[string]string{workloadv1alpha1.AnnotationSyncTarget: testName},
		},
		Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: name, UID: uid}, Placement: workloadv1alpha1.ObjectReference{Name: "all", UID: "all"},
			Epoch: 1, Intent: workloadv1alpha1.IntentRun, Reason: workloadv1alpha1.AssignmentScheduled, WritesStatus: true,
		},
	}
	for _, c := range change {
		c(a)
	}
	return a
}

func (w *world) create(object client.Object) {
	w.t.Helper()
	if err := w.kcp.raw.Create(w.t.Context(), object); err != nil {
		w.t.Fatal(err)
	}
}

// assign creates a Namespace, unless there is one, and assigns it.
func (w *world) assign(name string) {
	w.t.Helper()
	if err := w.kcp.raw.Create(w.t.Context(), namespace(name)); err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	w.create(assignment(name))
}

// assigned is the Assignment of a Namespace.
func (w *world) assigned(name string) *workloadv1alpha1.Assignment {
	w.t.Helper()
	found := assignment(name)
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKeyFromObject(found), found); err != nil {
		w.t.Fatal(err)
	}
	return found
}

// decide changes the intent for a Namespace as the scheduler does.
func (w *world) decide(name string, intent workloadv1alpha1.AssignmentIntent) {
	w.t.Helper()
	w.change(w.assigned(name), intent)
}

func (w *world) change(a *workloadv1alpha1.Assignment, intent workloadv1alpha1.AssignmentIntent) {
	w.t.Helper()
	a.Spec.Intent = intent
	a.Spec.Epoch++
	a.Generation++
	if err := w.kcp.raw.Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// withdraw has a Namespace leave.
func (w *world) withdraw(name string) {
	w.t.Helper()
	w.decide(name, workloadv1alpha1.IntentWithdraw)
}

// reportOf changes the status of an Assignment as the syncer does, at the present epoch.
func (w *world) reportOf(name, condition string, status metav1.ConditionStatus) {
	w.t.Helper()
	a := w.assigned(name)
	a.Status.ObservedEpoch = a.Spec.Epoch
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: condition})
	if err := w.kcp.raw.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// withdrawn is what the syncer reports when nothing of it is left.
func (w *world) withdrawn(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.reportOf(name, workloadv1alpha1.ConditionWithdrawn, metav1.ConditionTrue)
	}
}

// applied is what the syncer reports when everything has arrived.
func (w *world) applied(name string) {
	w.t.Helper()
	w.reportOf(name, workloadv1alpha1.ConditionApplied, metav1.ConditionTrue)
}

// withdrawAll is what the scheduler does when the target is deleted and nothing else fits.
func (w *world) withdrawAll() {
	w.t.Helper()
	for _, a := range w.assignments() {
		if a.Spec.Intent == workloadv1alpha1.IntentRun {
			w.change(&a, workloadv1alpha1.IntentWithdraw)
		}
	}
}

func (w *world) assignments() []workloadv1alpha1.Assignment {
	w.t.Helper()
	all, err := agent.Assignments(w.t.Context(), w.kcp.raw, newTarget(), testKey())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// record is the condition Admitted of a Namespace's Assignment.
func (w *world) record(name string) string {
	w.t.Helper()
	found := meta.FindStatusCondition(w.assigned(name).Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	if found == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
}

// namespaces is the record in words, without what has come to its end.
func (w *world) namespaces() string {
	w.t.Helper()
	var all []string
	for _, a := range w.assignments() {
		admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
		if admitted == nil {
			admitted = &metav1.Condition{Status: metav1.ConditionFalse}
		}
		state := "Opening"
		switch {
		case isWithdrawal(&a) && isRevoked(&a):
			continue
		case isWithdrawal(&a):
			state = "Closing"
		case admitted.Status == metav1.ConditionTrue:
			state = "Open"
		case admitted.Reason == workloadv1alpha1.ReasonNamespaceRefused:
			state = "Refused"
		}
		message := admitted.Message
		if slices.Contains([]string{admittingMessage, admittedMessage, drainingMessage, revokingMessage, cleaningUpMessage}, message) {
			message = ""
		}
		all = append(all, strings.TrimSuffix(a.Spec.Namespace.Name+" "+state+": "+message, ": "))
	}
	return strings.Join(all, ", ")
}
