package sync

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var (
	testOwner     = transform.Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}
	shopNamespace = namespaceNamed("shop")
)

// The handlers of client-go's errors sleep by a clock of their own, which does not fit the clock of a synctest bubble.
func init() { utilruntime.ErrorHandlers = nil }

// namespaceNamed is a Namespace of the workspace.
func namespaceNamed(name string) source.Namespace {
	return source.Namespace{Cluster: testOwner.Workspace, Name: name}
}

// testSource is a workspace whose SyncTarget and Assignments, as the cache shows them, are set by show. Live they are those of
// its Target.
type testSource struct {
	*workspace.Source
	shown atomic.Pointer[source.Plan]
}

// assigner is a SyncTarget in kcp with its Assignments, which takes reports on them.
type assigner interface {
	workspace.SyncTarget
	list() []*workloadv1alpha1.Assignment
	report(a source.Assignment, r source.Report) error
}

func newTestSource(config workspace.Config) *testSource {
	config.Owner = testOwner
	return &testSource{Source: workspace.New(config)}
}

// newDiscoverable is a source of which a Controller may ask what it serves.
func newDiscoverable(t *testing.T) *testSource {
	t.Helper()
	served, err := discovery.NewClient(&rest.Config{}, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	return newTestSource(workspace.Config{Served: served})
}

// sourceIn is the source of a Controller that newTestSource has made.
func sourceIn(e *Controller) *testSource { return e.source.(*testSource) }

func (s *testSource) Plan() *source.Plan { return s.shown.Load() }

func (s *testSource) show(target *workloadv1alpha1.SyncTarget, assignments ...*workloadv1alpha1.Assignment) {
	s.shown.Store(s.PlanOf(target.DeepCopy(), copies(assignments)))
}

func (s *testSource) ReadPlan(ctx context.Context) (*source.Plan, error) {
	live, err := s.Target.Get(ctx)
	if err == nil && live.UID != "" && string(live.UID) != testOwner.UID {
		err = errors.New("it is another one by now")
	}
	if err != nil {
		return nil, err
	}
	return s.PlanOf(live, s.Target.(assigner).list()), nil
}

func (s *testSource) WriteReport(_ context.Context, a source.Assignment, r source.Report) error {
	return s.Target.(assigner).report(a, r)
}

func copies(assignments []*workloadv1alpha1.Assignment) []*workloadv1alpha1.Assignment {
	var out []*workloadv1alpha1.Assignment
	for _, a := range assignments {
		out = append(out, a.DeepCopy())
	}
	return out
}

// assigned is an Assignment of a Namespace, in which the syncer has its rights.
func assigned(namespace string, intent workloadv1alpha1.AssignmentIntent, change ...func(*workloadv1alpha1.Assignment)) *workloadv1alpha1.Assignment {
	a := &workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: workloadv1alpha1.SyncerNamespace(testOwner.Name, testOwner.Key), Name: "of-" + namespace, UID: "assignment-1", ResourceVersion: "1",
			Labels: map[string]string{workloadv1alpha1.LabelKey: testOwner.Key, workloadv1alpha1.LabelUID: testOwner.UID},
		},
		Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: namespace}, Epoch: 1, Intent: intent, WritesStatus: true,
		},
	}
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionTrue})
	for _, c := range change {
		c(a)
	}
	return a
}

const (
	intentOfRun      = workloadv1alpha1.IntentRun
	intentOfWithdraw = workloadv1alpha1.IntentWithdraw
)

// notAdmitted takes the rights away.
func notAdmitted(a *workloadv1alpha1.Assignment) {
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionFalse})
}

// changeIntent changes what is wanted of a Namespace.
func changeIntent(a *workloadv1alpha1.Assignment, intent workloadv1alpha1.AssignmentIntent) {
	a.Spec.Intent = intent
	a.Spec.Epoch++
	a.ResourceVersion += "1"
}

// setReport has an Assignment show a report.
func setReport(a *workloadv1alpha1.Assignment, r source.Report) {
	objects := r.Objects
	a.Status.ObservedEpoch, a.Status.DownstreamNamespace, a.Status.Objects = r.Epoch, r.DownstreamNamespace, &objects
	a.Status.Conditions = slices.DeleteFunc(a.Status.Conditions, func(c metav1.Condition) bool { return c.Type != workloadv1alpha1.ConditionAdmitted })
	a.Status.Conditions = append(a.Status.Conditions, r.Conditions...)
	a.ResourceVersion += "1"
}

// reportedWithdrawn has an Assignment show that its Namespace was withdrawn at its epoch.
func reportedWithdrawn(a *workloadv1alpha1.Assignment) {
	setReport(a, source.Report{Epoch: a.Spec.Epoch, Conditions: withdrawn(false)})
}

// newTestNamespace is the sync of a Namespace on the first of its clusters, whose status counts.
func newTestNamespace(namespace source.Namespace) *namespaceSync {
	p := newNamespaceSync(testOwner.Key, namespace)
	p.role = role{epoch: 1, first: true, writesStatus: true}
	return p
}

// testObjects are the objects of a resource as the clients of its cache and of the Controller's source read and write them.
type testObjects struct {
	*workspace.Objects
	controller *Controller
	resource   *resourceSync
}

func (o *testObjects) ListMetadata(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	return sourceIn(o.controller).Metadata.Resource(o.resource.api.Upstream()).Namespace("shop").List(ctx, options)
}

// setSource makes a Controller the one that a resource belongs to.
func setSource(e *Controller, l *resourceSync) {
	l.source = &testObjects{&workspace.Objects{ResourceCache: l.up, Key: testOwner.Key}, e, l}
}

// mustPack is an object as an informer keeps it.
func mustPack(t *testing.T, object *unstructured.Unstructured) any {
	t.Helper()
	packed, err := cache.Pack(object.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// planOf is what a SyncTarget with this status, and these Assignments, say is to be synced.
func planOf(status workloadv1alpha1.SyncTargetStatus, assignments ...*workloadv1alpha1.Assignment) *source.Plan {
	return newTestSource(workspace.Config{}).PlanOf(&workloadv1alpha1.SyncTarget{Status: status}, copies(assignments))
}
