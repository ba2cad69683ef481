package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/scale/apiserver"
)

// What a syncer writes into the Lease that is its heartbeat.
const (
	leaseName           = "syncer"
	annotationClusterID = "workload.kcp.io/cluster-id"
	syncerInstance      = "syncer-5d9c7b6f4d-x2x4q"
)

// awaitPause is between two looks at all SyncTargets. What is measured is taken from the moments that the fleet has noted.
const awaitPause = 50 * time.Millisecond

// TargetsPerWorkspace is how many SyncTargets are in each workspace.
const TargetsPerWorkspace = 2

// Fleet is the SyncTargets and what stands for their syncers.
type Fleet struct {
	Kcp      *Kcp
	Physical *PhysicalClusters

	mu      sync.Mutex
	targets []*Target
	byKey   map[apiserver.Key]*Target
	// changed is closed and replaced when a target becomes Ready or ceases to be.
	changed chan struct{}

	// Heartbeats counts those that were sent.
	Heartbeats atomic.Int64
	// Paused keeps all syncers from sending heartbeats.
	Paused atomic.Bool
}

// Target is a SyncTarget with its syncer.
type Target struct {
	Key     apiserver.Key
	cluster *physicalCluster

	// begin is closed when the syncer is deployed.
	begin chan struct{}
	once  sync.Once

	mu      sync.Mutex
	silent  bool
	history History
}

// History is what has happened to a SyncTarget.
type History struct {
	Created time.Time
	// Resumed is when the syncer sent its first heartbeat, or the first one after a silence; Last is when it sent its last one.
	Resumed, Last time.Time
	// Ready is whether the condition Ready is True, and ReadyChanged since when it is so. Deployed is the same of Deployed.
	Ready, Deployed bool
	ReadyChanged    time.Time
}

// History returns what has happened so far.
func (t *Target) History() History {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.history
}

// NewFleet starts a kcp with so many shards, without workspaces but the provider's. bindingYAML is the APIBinding of each workspace
// to come.
func NewFleet(bindingYAML []byte, shards int) (*Fleet, error) {
	f := &Fleet{byKey: map[apiserver.Key]*Target{}, changed: make(chan struct{})}
	var err error
	if f.Kcp, err = newKcp(bindingYAML, shards, f.observe); err != nil {
		return nil, err
	}
	f.Physical, err = newPhysicalClusters(func(number int) {
		if t := f.target(number); t != nil {
			t.once.Do(func() { close(t.begin) })
		}
	})
	return f, err
}

// letters begin the name of each workspace, and its number follows.
const letters = "abcdefghijklmnopqrstuvwxyz"

func workspace(number int) string { return fmt.Sprintf("ws%06d", number) }

func (f *Fleet) target(number int) *Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number >= len(f.targets) {
		return nil
	}
	return f.targets[number]
}

// Targets returns the SyncTargets in the order of their creation.
func (f *Fleet) Targets() []*Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Target(nil), f.targets...)
}

// observe takes in a version of a SyncTarget.
func (f *Fleet) observe(key apiserver.Key, o *unstructured.Unstructured) {
	f.mu.Lock()
	t := f.byKey[key]
	f.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.history
	t.history.Ready, t.history.Deployed = isTrue(o, workloadv1alpha1.ConditionReady), isTrue(o, workloadv1alpha1.ConditionDeployed)
	if t.history.Ready != before.Ready {
		t.history.ReadyChanged = time.Now()
	}
	if t.history.Ready != before.Ready || t.history.Deployed != before.Deployed {
		f.mu.Lock()
		close(f.changed)
		f.changed = make(chan struct{})
		f.mu.Unlock()
	}
}

func isTrue(o *unstructured.Unstructured, conditionType string) bool {
	conditions, _, _ := unstructured.NestedFieldNoCopy(o.Object, "status", "conditions")
	all, _ := conditions.([]any)
	for _, c := range all {
		if condition, ok := c.(map[string]any); ok && condition["type"] == conditionType {
			return condition["status"] == string(metav1.ConditionTrue)
		}
	}
	return false
}

// Grow adds SyncTargets until there are so many, workspaces and physical clusters with them.
func (f *Fleet) Grow(ctx context.Context, count int) error {
	var all errgroup.Group
	all.SetLimit(8)
	for number := len(f.Targets()); number < count; number++ {
		t, err := f.register(number)
		if err != nil {
			return err
		}
		go f.beat(ctx, t)
		all.Go(func() error { return f.create(t, number) })
	}
	return all.Wait()
}

// register makes the physical cluster of a target.
func (f *Fleet) register(number int) (*Target, error) {
	added, err := f.Physical.add()
	if err != nil {
		return nil, err
	}
	if added != number {
		return nil, fmt.Errorf("physical cluster %d is not that of SyncTarget %d", added, number)
	}
	key := apiserver.Key{Resource: syncTargets, Cluster: workspace(number / TargetsPerWorkspace), Name: fmt.Sprintf("edge-%d", number)}
	t := &Target{Key: key, cluster: f.Physical.cluster(number), begin: make(chan struct{}), history: History{Created: time.Now()}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = append(f.targets, t)
	f.byKey[key] = t
	return t, nil
}

// create writes the workspace, for its first target, the Secret and the SyncTarget, as a user does.
func (f *Fleet) create(t *Target, number int) error {
	if number%TargetsPerWorkspace == 0 {
		if err := f.Kcp.Bind(t.Key.Cluster); err != nil {
			return err
		}
	}
	kubeconfig, err := f.Physical.Kubeconfig(number)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"}},
		Data:       map[string][]byte{workloadv1alpha1.DefaultKubeconfigKey: kubeconfig},
	}
	key := apiserver.Key{Resource: secrets, Cluster: t.Key.Cluster, Namespace: metav1.NamespaceDefault, Name: t.Key.Name}
	if err := create(f.Kcp.Store(t.Key.Cluster), key, secret); err != nil {
		return err
	}
	return create(f.Kcp.Store(t.Key.Cluster), t.Key, &workloadv1alpha1.SyncTarget{
		TypeMeta: metav1.TypeMeta{APIVersion: workloadv1alpha1.SchemeGroupVersion.String(), Kind: "SyncTarget"},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: t.Key.Name, Cells: map[string]workloadv1alpha1.CellValue{"region": "local"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: metav1.NamespaceDefault, Name: t.Key.Name},
		},
	})
}

// beat sends the heartbeats of a syncer from when it is deployed, and at first reports what a syncer does.
func (f *Fleet) beat(ctx context.Context, t *Target) {
	select {
	case <-ctx.Done():
		return
	case <-t.begin:
	}
	next := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		next = time.Duration((0.9 + 0.2*rand.Float64()) * float64(options.DefaultHeartbeatInterval))
		if !f.Paused.Load() && f.heartbeat(t) != nil {
			return // the SyncTarget is gone
		}
	}
}

// heartbeat sends one heartbeat, unless the syncer is silent.
func (f *Fleet) heartbeat(t *Target) error {
	t.mu.Lock()
	if t.silent {
		t.mu.Unlock()
		return nil
	}
	first := t.history.Last.IsZero()
	t.history.Last = time.Now()
	if t.history.Resumed.IsZero() {
		t.history.Resumed = t.history.Last
	}
	t.mu.Unlock()
	f.Heartbeats.Add(1)
	if first {
		if err := f.report(t, func(status map[string]any) error { return addReport(status, t.cluster.uid) }); err != nil {
			return err
		}
	}
	if err := f.renewLease(t); !apierrors.IsNotFound(err) {
		return err
	}
	return f.report(t, func(status map[string]any) error {
		status["lastHeartbeatTime"] = time.Now().UTC().Format(time.RFC3339)
		return nil
	})
}

// report changes the status of a SyncTarget as its syncer does.
func (f *Fleet) report(t *Target, change func(map[string]any) error) error {
	_, err := f.Kcp.Store(t.Key.Cluster).Update(t.Key, func(o *unstructured.Unstructured) error {
		status, _ := o.Object["status"].(map[string]any)
		if status == nil {
			status = map[string]any{}
			o.Object["status"] = status
		}
		return change(status)
	})
	return err
}

// renewLease renews the Lease that the controller has made for the heartbeats. If it has made none, there is none to be found.
func (f *Fleet) renewLease(t *Target) error {
	_, err := f.Kcp.Store(t.Key.Cluster).Update(leaseKey(t), func(o *unstructured.Unstructured) error {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[annotationClusterID] = t.cluster.uid
		o.SetAnnotations(annotations)
		o.Object["spec"] = map[string]any{
			"holderIdentity": syncerInstance, "leaseDurationSeconds": int64(3 * options.DefaultHeartbeatInterval / time.Second),
			"renewTime": time.Now().UTC().Format(metav1.RFC3339Micro),
		}
		return nil
	})
	return err
}

func leaseKey(t *Target) apiserver.Key {
	namespace := workloadv1alpha1.SyncerNamespace(t.Key.Name, workloadv1alpha1.Key(t.Key.Cluster, t.Key.Name))
	return apiserver.Key{Resource: leases, Cluster: t.Key.Cluster, Namespace: namespace, Name: leaseName}
}

// addReport adds to a status what a syncer reports of itself and of its cluster.
func addReport(status map[string]any, clusterID string) error {
	quantities := map[string]resource.Quantity{"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("330")}
	reported := &workloadv1alpha1.SyncTargetStatus{InstallationHash: "4b1c7f0e9a2d5368", Syncer: &workloadv1alpha1.SyncerStatus{
		Version: "scale", Instance: syncerInstance, ClusterID: clusterID, KubernetesVersion: "v1.34.4", Nodes: 3,
		Capacity: quantities, Allocatable: quantities,
	}}
	for _, gr := range workloadv1alpha1.DefaultSyncedResources() {
		reported.SyncedResources = append(reported.SyncedResources, workloadv1alpha1.SyncedResourceStatus{
			Group: gr.Group, Resource: gr.Resource, Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted,
		})
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(reported)
	if err != nil {
		return err
	}
	for _, field := range []string{"syncer", "syncedResources", "installationHash"} {
		status[field] = content[field]
	}
	return nil
}

// Silence stops the heartbeats of these targets, or resumes them, each with one heartbeat at once.
func (f *Fleet) Silence(targets []*Target, silent bool) error {
	for _, t := range targets {
		t.mu.Lock()
		t.silent, t.history.Resumed = silent, time.Time{}
		t.mu.Unlock()
		if !silent {
			if err := f.heartbeat(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// Burst sends heartbeats at a rate, one target after the other.
func (f *Fleet) Burst(ctx context.Context, perSecond int, length time.Duration) error {
	targets := f.Targets()
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	end := time.After(length)
	for next := 0; ; next++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-ticker.C:
		}
		if err := f.heartbeat(targets[next%len(targets)]); err != nil {
			return err
		}
	}
}

// IsInstalled tells of a target that is Ready and Deployed.
func IsInstalled(h History) bool { return h.Ready && h.Deployed }

// IsReady tells of a target that is Ready.
func IsReady(h History) bool { return h.Ready }

// IsNotReady tells of a target that is not Ready.
func IsNotReady(h History) bool { return !h.Ready }

// Await waits until a condition holds for all of these targets.
func (f *Fleet) Await(ctx context.Context, targets []*Target, condition func(History) bool) error {
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		var left []*Target
		for _, t := range targets {
			if !condition(t.History()) {
				left = append(left, t)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d SyncTargets, of which %d are left, among them %s: %w", len(targets), len(left), f.describe(left[0]), ctx.Err())
		case <-changed:
		}
		time.Sleep(awaitPause)
	}
}

// describe says what is the matter with a target.
func (f *Fleet) describe(t *Target) string {
	found, err := f.Kcp.Store(t.Key.Cluster).Get(t.Key)
	if err != nil {
		return err.Error()
	}
	conditions, _, _ := unstructured.NestedFieldNoCopy(found.Object, "status", "conditions")
	return fmt.Sprintf("%q in workspace %q with conditions %v", t.Key.Name, t.Key.Cluster, conditions)
}
