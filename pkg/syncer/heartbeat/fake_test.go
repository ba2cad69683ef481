package heartbeat

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const interval = 20 * time.Second

var errDown = errors.New("connection refused")

// recorder plays kcp: it answers in the order of its errors, then accepts or always fails, and keeps what was sent.
type recorder struct {
	errs    []error
	always  error
	target  *workloadv1alpha1.SyncTarget
	getErr  error
	patches []string
	gets    int
}

func (r *recorder) PatchStatus(ctx context.Context, patch []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.patches = append(r.patches, string(patch))
	if len(r.errs) == 0 {
		return r.always
	}
	err := r.errs[0]
	r.errs = r.errs[1:]
	return err
}

func (r *recorder) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	r.gets++
	if r.getErr != nil {
		return nil, r.getErr
	}
	return r.target, nil
}

// lease plays the Lease in kcp: it answers always the same, and keeps what was sent.
type lease struct {
	err     error
	patches []string
}

func (l *lease) Patch(ctx context.Context, patch []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.patches = append(l.patches, string(patch))
	return l.err
}

// cluster plays the physical cluster.
type cluster struct {
	idErr, versionErr, nodesErr error
	id, version                 string
	nodes                       []corev1.Node
	versionReads, idReads       int
}

func (c *cluster) ID(ctx context.Context) (string, error) {
	c.idReads++
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return c.id, c.idErr
}

func (c *cluster) KubernetesVersion(context.Context) (string, error) {
	c.versionReads++
	return c.version, c.versionErr
}

func (c *cluster) Nodes(context.Context) ([]corev1.Node, error) { return c.nodes, c.nodesErr }

type fixture struct {
	*Sender
	kcp     *recorder
	lease   *lease
	cluster *cluster
	clock   *clocktesting.FakeClock
	elected chan struct{}
	metrics *prometheus.Registry
}

// newFixture is a leader in a cluster of one ready node, whose SyncTarget has a status. There is no Lease.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := newStandby(t)
	close(f.elected)
	return f
}

func newStandby(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		kcp:     &recorder{target: target("u-1")},
		lease:   &lease{err: leaseStatus(http.StatusNotFound)},
		cluster: &cluster{id: "c-1", version: "v1.34.4", nodes: []corev1.Node{node(corev1.ConditionTrue, "4", "8Gi")}},
		clock:   clocktesting.NewFakeClock(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)),
		elected: make(chan struct{}),
		metrics: prometheus.NewRegistry(),
	}
	metrics, err := NewMetrics(f.metrics)
	if err != nil {
		t.Fatal(err)
	}
	f.Sender = New(Config{
		Upstream: f.kcp, Lease: f.lease, Downstream: f.cluster, Elected: f.elected, Name: "edge-1", UID: "u-1", Interval: interval,
		Version: "v0.1.0", Instance: "syncer-abc", TokenSecret: func() string { return "syncer-token" }, Metrics: metrics, Clock: f.clock,
		Random: func() float64 { return 0.5 },
	})
	return f
}

func target(uid types.UID) *workloadv1alpha1.SyncTarget {
	st := &workloadv1alpha1.SyncTarget{}
	st.Name, st.UID, st.Status.Key = "edge-1", uid, "k"
	return st
}

func node(ready corev1.ConditionStatus, cpu, memory string) corev1.Node {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}
	return corev1.Node{Status: corev1.NodeStatus{
		Capacity:    list,
		Allocatable: list.DeepCopy(),
		Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
	}}
}

// leaseStatus is an answer to a patch of the Lease.
func leaseStatus(code int) error {
	return apierrors.NewGenericServerResponse(code, "patch", coordinationv1.Resource("leases"), "syncer", "", 0, false)
}

func status(code int) error {
	err := apierrors.NewGenericServerResponse(code, "patch", workloadv1alpha1.Resource("synctargets"), "edge-1", "", 0, false)
	if code == http.StatusUnprocessableEntity && !apierrors.IsInvalid(err) {
		panic("an apiserver's 422 is no longer recognized")
	}
	return err
}
