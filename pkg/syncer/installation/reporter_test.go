package installation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

const (
	testUID       = "u-1"
	testKey       = "k-1"
	testNamespace = "kcp-syncer-edge-1-k-1"
)

// TestMain: client-go's handlers of errors remember when they last ran, which the clocks of two tests disagree about.
func TestMain(m *testing.M) {
	utilruntime.ErrorHandlers = nil
	m.Run()
}

// kcp holds one SyncTarget.
type kcp struct {
	mu      sync.Mutex
	target  workloadv1alpha1.SyncTarget
	err     error
	gets    int
	patches []string
}

func (k *kcp) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gets++
	return k.target.DeepCopy(), k.err
}

func (k *kcp) PatchStatus(_ context.Context, patch []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.patches = append(k.patches, string(patch))
	return nil
}

func (k *kcp) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// reads is how often the SyncTarget was read.
func (k *kcp) reads() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gets
}

// sent returns what was patched since it was last called.
func (k *kcp) sent() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	sent := k.patches
	k.patches = nil
	return sent
}

// cluster is a physical cluster in which the syncer is installed, with one downstream Namespace.
type cluster struct {
	*metadatafake.FakeMetadataClient
	mu sync.Mutex
	// refusal answers each list and watch of a resource; nil for none.
	refusal func(resource string) error
}

func newCluster() *cluster {
	c := &cluster{FakeMetadataClient: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())}
	for _, o := range installed() {
		_ = c.Tracker().Create(resourceOf(o), objectOf(o, "1"), o.Namespace)
	}
	answer := func(action clienttesting.Action) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refusal == nil {
			return nil
		}
		return c.refusal(action.GetResource().Resource)
	}
	c.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		err := answer(action)
		return err != nil, nil, err
	})
	return c
}

func (c *cluster) refuse(refusal func(resource string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = refusal
}

// installed is all that is watched.
func installed() []options.InstalledObject {
	return append(options.Installation(testNamespace), options.InstalledIn(naming.Namespace(testKey, "shop")))
}

func resourceOf(o options.InstalledObject) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: o.Group, Version: "v1", Resource: o.Resource}
}

func objectOf(o options.InstalledObject, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: schema.GroupVersion{Group: o.Group, Version: "v1"}.String(), Kind: o.Resource},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: o.Name, UID: types.UID("uid of " + o.Resource + o.Name + o.Namespace), ResourceVersion: version,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
		},
	}
}

// statesOf are the states of all objects as they were made, with a change of one, if it is not "".
func statesOf(resource string, change func(*state)) []state {
	var states []state
	for _, o := range installed() {
		object := objectOf(o, "1")
		s := state{object: o, uid: object.UID, version: object.ResourceVersion}
		if o.Resource == resource {
			change(&s)
		}
		states = append(states, s)
	}
	return states
}

// report is the patch that reports these states.
func report(states []state) []string {
	patch, _ := statusPatch(testUID, hashOf(states))
	return []string{string(patch)}
}

// plan has Namespaces with these intents.
func plan(intents map[string]source.Intent) *source.Plan {
	p := &source.Plan{}
	for name, intent := range intents {
		p.Assignments = append(p.Assignments, source.Assignment{Namespace: source.Namespace{Name: name}, Intent: intent})
	}
	return p
}

// start runs a Reporter in the bubble of a test, which ends it.
func start(t *testing.T, c *cluster, k *kcp) *Reporter {
	t.Helper()
	k.target.UID = testUID
	r := New(Config{Cluster: c, Upstream: k, UID: testUID, Key: testKey, Namespace: testNamespace})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start() = %v", err)
		}
	})
	return r
}

// TestReport: what happens to the installation is reported once, within seconds.
func TestReport(t *testing.T) {
	find := func(resource string) options.InstalledObject {
		all := installed()
		return all[slices.IndexFunc(all, func(o options.InstalledObject) bool { return o.Resource == resource })]
	}
	tests := map[string]struct {
		reason string
		happen func(c *cluster)
		want   []string
	}{
		"nothing": {"At rest nothing is written.", func(*cluster) {}, nil},
		"a ServiceAccount is deleted": {
			"", func(c *cluster) {
				o := find("serviceaccounts")
				_ = c.Tracker().Delete(resourceOf(o), o.Namespace, o.Name)
			},
			report(statesOf("serviceaccounts", func(s *state) { s.uid, s.version = "", "" })),
		},
		"a ClusterRoleBinding is changed": {
			"", func(c *cluster) {
				o := find("clusterrolebindings")
				_ = c.Tracker().Update(resourceOf(o), objectOf(o, "2"), o.Namespace)
			},
			report(statesOf("clusterrolebindings", func(s *state) { s.version = "2" })),
		},
		"another Secret": {
			"It is none of its installation.", func(c *cluster) {
				o := options.InstalledObject{Resource: "secrets", Namespace: testNamespace, Name: "other"}
				_ = c.Tracker().Create(resourceOf(o), objectOf(o, "1"), o.Namespace)
			}, nil,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, k := newCluster(), &kcp{}
				r := start(t, c, k)
				time.Sleep(time.Minute)
				if got := k.sent(); got != nil {
					t.Errorf("sent before the Namespaces are known: %q", got)
				}
				r.follow(nil)
				r.follow(plan(map[string]source.Intent{"shop": source.Run, "later": source.Prepare}))
				time.Sleep(2 * settleTime)
				if diff := cmp.Diff(report(statesOf("", nil)), k.sent()); diff != "" {
					t.Fatalf("the first report: -want +got\n%s", diff)
				}
				tc.happen(c)
				time.Sleep(2 * settleTime)
				if diff := cmp.Diff(tc.want, k.sent()); diff != "" {
					t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
				}
				time.Sleep(time.Hour)
				if got, reads := k.sent(), k.reads(); got != nil || reads != 1 {
					t.Errorf("sent at rest: %q, and %d reads", got, reads)
				}
			})
		})
	}
}

// TestRefused: a syncer without rights reports that it has none, and again when it has them; no answer is no news.
func TestRefused(t *testing.T) {
	status := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: reason}}
	}
	tests := map[string]struct {
		reason string
		err    error
		want   []string
	}{
		"403":       {"", status(403, metav1.StatusReasonForbidden), report(statesOf("roles", func(s *state) { s.uid, s.version, s.refusal = "", "", 403 }))},
		"401":       {"", status(401, metav1.StatusReasonUnauthorized), report(statesOf("roles", func(s *state) { s.uid, s.version, s.refusal = "", "", 401 }))},
		"500":       {"What is not known is not reported.", status(500, metav1.StatusReasonInternalError), nil},
		"no answer": {"", errors.New("connection refused"), nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, k := newCluster(), &kcp{}
				c.refuse(func(resource string) error { return map[string]error{"roles": tc.err}[resource] })
				r := start(t, c, k)
				r.follow(plan(map[string]source.Intent{"shop": source.Run}))
				time.Sleep(2 * settleTime)
				if diff := cmp.Diff(tc.want, k.sent()); diff != "" {
					t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
				}
				c.refuse(nil)
				time.Sleep(time.Minute)
				if diff := cmp.Diff(report(statesOf("", nil)), k.sent()); diff != "" {
					t.Errorf("when it is allowed: -want +got\n%s", diff)
				}
			})
		})
	}
}

// TestNamespaces: a RoleBinding counts while the syncer needs its rights in a Namespace.
func TestNamespaces(t *testing.T) {
	withdrawn := plan(map[string]source.Intent{"shop": source.Withdraw})
	withdrawn.Assignments[0].Reported.Conditions = []metav1.Condition{{Type: workloadv1alpha1.ConditionWithdrawn, Status: metav1.ConditionTrue}}
	tests := map[string]struct {
		plan *source.Plan
		want bool
	}{
		"open":           {plan(map[string]source.Intent{"shop": source.Run}), true},
		"closing":        {plan(map[string]source.Intent{"shop": source.Withdraw}), true},
		"to be orphaned": {plan(map[string]source.Intent{"shop": source.Orphan}), true},
		"left":           {withdrawn, false},
		"opening":        {plan(map[string]source.Intent{"shop": source.Prepare}), false},
		"none":           {plan(nil), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, k := newCluster(), &kcp{}
				r := start(t, c, k)
				r.follow(plan(map[string]source.Intent{"shop": source.Run}))
				time.Sleep(2 * settleTime)
				_ = k.sent()
				r.follow(tc.plan)
				time.Sleep(2 * settleTime)
				if got := len(k.sent()) == 0; got != tc.want {
					t.Errorf("it still counts: %t, want %t", got, tc.want)
				}
				o := options.InstalledIn(naming.Namespace(testKey, "shop"))
				_ = c.Tracker().Update(resourceOf(o), objectOf(o, "2"), o.Namespace)
				time.Sleep(2 * settleTime)
				if got := len(k.sent()) == 1; got != tc.want {
					t.Errorf("its change is reported: %t, want %t", got, tc.want)
				}
			})
		})
	}
}

// TestRestartWritesNothing: the SyncTarget holds what an earlier leader reported.
func TestRestartWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kcp{}
		k.target.Status.InstallationHash = hashOf(statesOf("", nil))
		r := start(t, newCluster(), k)
		r.follow(plan(map[string]source.Intent{"shop": source.Run}))
		time.Sleep(time.Minute)
		if got, reads := k.sent(), k.reads(); got != nil || reads != 1 {
			t.Errorf("sent %q after %d reads", got, reads)
		}
	})
}

// TestReportIsRepeated: while kcp does not accept a report, it is sent again; and of another SyncTarget nothing is reported.
func TestReportIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCluster(), &kcp{}
		r := start(t, c, k)
		k.fail(errors.New("connection refused"))
		r.follow(plan(map[string]source.Intent{"shop": source.Run}))
		time.Sleep(time.Hour)
		if reads := k.reads(); reads < 60 || reads > 240 {
			t.Errorf("%d attempts in an hour", reads)
		}
		k.fail(nil)
		time.Sleep(time.Minute)
		if got := len(k.sent()); got != 1 {
			t.Errorf("%d reports, want 1", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, k := newCluster(), &kcp{}
		r := start(t, c, k)
		k.mu.Lock()
		k.target.UID = "another"
		k.mu.Unlock()
		r.follow(plan(map[string]source.Intent{"shop": source.Run}))
		time.Sleep(time.Hour)
		if got := k.sent(); got != nil {
			t.Errorf("sent to another SyncTarget: %q", got)
		}
	})
}

// planned is a source with a Plan.
type planned struct {
	source.Source
	plan *source.Plan
}

func (p planned) Plan() *source.Plan { return p.plan }

func (p planned) Run(_ context.Context, changed func()) error {
	changed()
	return errors.New("ended")
}

// TestFollow: the sync is told of each change, and the Reporter then sees the Plan.
func TestFollow(t *testing.T) {
	r := New(Config{Key: testKey, Namespace: testNamespace})
	told := 0
	err := r.Follow(planned{plan: plan(map[string]source.Intent{"shop": source.Run})}).Run(t.Context(), func() { told++ })
	if err == nil || told != 1 {
		t.Errorf("Run() = %v, and the sync was told %d times", err, told)
	}
	if diff := cmp.Diff(installed(), r.objects()); diff != "" {
		t.Errorf("objects: -want +got\n%s", diff)
	}
}
