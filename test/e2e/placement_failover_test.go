package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// preferRegion prefers the SyncTargets of a region.
func preferRegion(region string) *workloadv1alpha1.ClusterAffinity {
	return &workloadv1alpha1.ClusterAffinity{Preferred: []workloadv1alpha1.PreferredClusterTerm{
		{Weight: 100, Term: workloadv1alpha1.ClusterSelectorTerm{MatchCells: map[string]workloadv1alpha1.CellValue{"region": workloadv1alpha1.CellValue(region)}}},
	}}
}

// tolerateSilence tolerates for so many seconds that a SyncTarget is unreachable.
func tolerateSilence(seconds int64) []workloadv1alpha1.PlacementToleration {
	return []workloadv1alpha1.PlacementToleration{{
		Key: workloadv1alpha1.TaintUnreachable, Operator: workloadv1alpha1.TolerationExists, Effect: workloadv1alpha1.TaintNoExecute,
		TolerationSeconds: ptr.To(seconds),
	}}
}

// placedPair is a Namespace that is placed on the SyncTarget "far", and could be on "near".
type placedPair struct {
	far, near *shop
	web       *appsv1.Deployment
	// pod is that of its Deployment on "far".
	pod corev1.Pod
}

// placeFar makes a Placement that prefers the SyncTarget far, of region b, with a Namespace of the same name and a Deployment in it.
func (n *tenant) placeFar(near, far *workloadv1alpha1.SyncTarget, name string, mutate func(*workloadv1alpha1.PlacementSpec), web *appsv1.Deployment) *placedPair {
	n.t.Helper()
	require.NoError(n.t, n.Create(n.t.Context(), placementOf(name, func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = preferRegion("b")
		if mutate != nil {
			mutate(p)
		}
	})))
	n.createNamespace(name, name)
	p := &placedPair{far: n.shopIn(far, name), near: n.shopIn(near, name), web: web}
	p.far.create(web)
	return p
}

// awaitPlaced waits until the Namespace is on "far" and its Deployment available there.
func (p *placedPair) awaitPlaced() {
	p.far.t.Helper()
	p.far.awaitOnly(p.far.namespace, p.far.target.Name)
	p.far.awaitAvailable(p.web, 1)
	p.far.awaitPlacement(p.far.namespace, "Available", "Available")
	p.pod = p.far.podOf(p.web.Name)
}

// requireUntouched expects that the Pod on "far" is the one from the beginning.
func (p *placedPair) requireUntouched() {
	p.far.t.Helper()
	assert.Equal(p.far.t, p.pod.UID, p.far.podOf("web").UID, "Namespace %s has noticed nothing", p.far.namespace)
}

// awaitRunning waits until a Namespace has Assignments with the intent Run to these SyncTargets alone.
func (n *tenant) awaitRunning(namespace string, targets ...string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("Namespace %s is to run on %q", namespace, targets), func() (bool, string) {
		on, err := n.running(namespace)
		return err == nil && slices.Equal(on, targets), fmt.Sprint(on, err)
	})
}

// awaitMessage waits until the status of a Placement says this of its one Namespace.
func (n *tenant) awaitMessage(placement string, words ...string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("Placement %s says %q of its Namespace", placement, words), func() (bool, string) {
		p := &workloadv1alpha1.Placement{}
		if err := n.Get(n.t.Context(), client.ObjectKey{Name: placement}, p); err != nil {
			return false, err.Error()
		}
		return len(p.Status.Namespaces) == 1 && containsAll(p.Status.Namespaces[0].Message, words), fmt.Sprint(p.Status)
	})
}

// onlyOn is a Deployment whose Pod runs on a node of this shop's cluster alone.
func (s *shop) onlyOn(name string) *appsv1.Deployment {
	s.t.Helper()
	nodes := &corev1.NodeList{}
	require.NoError(s.t, s.there.List(s.t.Context(), nodes))
	d := idleDeployment(s.namespace, name)
	d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes.Items[0].Labels[corev1.LabelHostname]}
	return d
}

// bindClaim creates a PersistentVolumeClaim and, in the physical cluster, the volume for it, and waits until the syncer reports it as
// bound.
func (s *shop) bindClaim(name string) {
	s.t.Helper()
	size := resource.MustParse("1Mi")
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: s.counterpart + "-" + name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:                      corev1.ResourceList{corev1.ResourceStorage: size},
		AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef:                      &corev1.ObjectReference{Namespace: s.counterpart, Name: name},
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp"}},
	}}
	require.NoError(s.t, s.there.Create(s.t.Context(), volume))
	s.t.Cleanup(func() { _ = s.there.Delete(context.Background(), volume) })
	s.create(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To(""), AccessModes: volume.Spec.AccessModes,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
	}})
	s.eventually("the syncer reports the claim as bound", func() (bool, string) {
		a, err := s.assignment()
		return err == nil && a != nil && a.Status.Objects != nil && a.Status.Objects.BoundClaims == 1, fmt.Sprint(a, err)
	})
}

// placementFailover cuts the second cluster off, and connects it again. What becomes of a Namespace there its Placement says.
func placementFailover(t *testing.T, outage *outagePart) {
	n := newTenant(t)
	n.bindCompute()
	near := n.registerIn("cluster-1", "near", "a")
	far := n.registerIn(secondCluster, "far", "b")
	place := func(name string, mutate func(*workloadv1alpha1.PlacementSpec)) *placedPair {
		t.Helper()
		return n.placeFar(near, far, name, mutate, idleDeployment(name, "web"))
	}
	hasty := func(change func(*workloadv1alpha1.PlacementSpec)) func(*workloadv1alpha1.PlacementSpec) {
		return func(p *workloadv1alpha1.PlacementSpec) {
			p.Tolerations = tolerateSilence(3)
			change(p)
		}
	}
	stays := place("stays", nil)
	moves := place("moves", hasty(func(*workloadv1alpha1.PlacementSpec) {}))
	returns := place("returns", hasty(func(p *workloadv1alpha1.PlacementSpec) { p.Failback = workloadv1alpha1.FailbackAutomatic }))
	waits := place("waits", hasty(func(p *workloadv1alpha1.PlacementSpec) { p.Move.PurgeMode = workloadv1alpha1.PurgeDirectly }))
	leaves := place("leaves", hasty(func(p *workloadv1alpha1.PlacementSpec) { p.Move.PurgeMode = workloadv1alpha1.PurgeNever }))
	rooted := place("rooted", hasty(func(*workloadv1alpha1.PlacementSpec) {}))
	unfit := n.placeFar(near, far, "unfit", hasty(func(*workloadv1alpha1.PlacementSpec) {}), n.shopIn(far, "unfit").onlyOn("web"))
	for _, p := range []*placedPair{stays, moves, returns, waits, leaves, rooted, unfit} {
		p.awaitPlaced()
	}
	rooted.far.bindClaim("disk")

	outage.begin(t)
	n.await("far", "Ready", "Unhealthy")
	for _, p := range []*placedPair{moves, returns, leaves} {
		n.awaitRunning(p.near.namespace, "near")
		p.near.podOf("web")
	}
	n.awaitRunning("waits")
	n.awaitMessage("waits", `waits until the copies on SyncTarget "far" are gone`)
	n.awaitMessage("rooted", `cannot leave SyncTarget "far"`, "PersistentVolumeClaims are bound")
	n.awaitRunning("rooted", "far")
	n.awaitRunning("unfit", "far", "near")
	n.awaitRunning("stays", "far")
	waits.near.awaitNoNamespace(waits.near.counterpart)

	outage.end(t)
	n.await("far", "Ready", "Ready")
	for _, p := range []*placedPair{moves, waits} {
		n.awaitOnly(p.near.namespace, "near")
		p.far.awaitNoNamespace(p.far.counterpart)
	}
	n.awaitOnly("leaves", "near")
	leaves.requireUntouched()
	n.awaitOnly("returns", "far")
	returns.near.awaitNoNamespace(returns.near.counterpart)
	for _, p := range []*placedPair{stays, rooted, unfit} {
		n.awaitOnly(p.far.namespace, "far")
		p.requireUntouched()
	}
	waits.far.awaitAvailable(idleDeployment("waits", "web"), 1)
	for _, name := range []string{"stays", "moves", "returns", "waits", "leaves", "rooted", "unfit"} {
		n.awaitPlacement(name, "Available", "Available")
	}
	require.NoError(t, leaves.far.there.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaves.far.counterpart}}))
}

// massDisconnect cuts several SyncTargets off at once: nothing leaves them, though the Placements tolerate no silence, and each of
// them says why.
func massDisconnect(t *testing.T) {
	n := newTenant(t)
	n.bindCompute()
	near := n.registerIn("cluster-1", "near", "a")
	// More than a fifth of the SyncTargets of all stories that run meanwhile.
	names := []string{"far-1", "far-2", "far-3", "far-4", "far-5", "far-6", "far-7", "far-8"}
	n.registerAll(secondCluster, names...)
	pairs := make([]*placedPair, 0, 2)
	for _, name := range names[:2] {
		far := n.await(name, "Ready", "Ready")
		pairs = append(pairs, n.placeFar(near, far, "on-"+name, func(p *workloadv1alpha1.PlacementSpec) {
			p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{name, "near"}, Preferred: []workloadv1alpha1.PreferredClusterTerm{
				{Weight: 100, Term: workloadv1alpha1.ClusterSelectorTerm{MatchCells: map[string]workloadv1alpha1.CellValue{"region": "local"}}},
			}}
			p.Tolerations = tolerateSilence(0)
		}, idleDeployment("on-"+name, "web")))
	}
	for _, p := range pairs {
		p.awaitPlaced()
	}

	require.NoError(t, env.Partition(t.Context(), secondCluster))
	t.Cleanup(func() { _ = env.Heal(context.Background(), secondCluster) })
	for _, name := range names {
		target := n.awaitStatus(name, "Ready", metav1.ConditionUnknown, "HealthEvaluationPaused")
		assert.False(t, slices.ContainsFunc(target.Status.Taints, func(taint workloadv1alpha1.ObservedTaint) bool {
			return taint.Effect == workloadv1alpha1.TaintNoExecute
		}), "%v", target.Status.Taints)
	}
	for i, p := range pairs {
		n.awaitRunning(p.far.namespace, names[i])
		n.awaitPlacement(p.far.namespace, "Available", "NotAvailable", "it is not known what runs there")
	}

	require.NoError(t, env.Heal(t.Context(), secondCluster))
	for _, name := range names {
		n.await(name, "Ready", "Ready")
	}
	for i, p := range pairs {
		n.awaitOnly(p.far.namespace, names[i])
		p.requireUntouched()
		err := p.near.there.Get(t.Context(), client.ObjectKey{Name: p.near.counterpart}, &corev1.Namespace{})
		assert.True(t, apierrors.IsNotFound(err), "nothing of Namespace %s has been on the other cluster: %v", p.near.namespace, err)
		n.awaitPlacement(p.far.namespace, "Available", "Available")
	}
}

// placementTakenBack drains a SyncTarget whose Namespace cannot become available elsewhere: the replacement is taken back, that is
// told, and what ran runs on.
func placementTakenBack(t *testing.T) {
	n := newTenant(t)
	n.bindCompute()
	near := n.registerIn("cluster-1", "near", "a")
	far := n.registerIn(secondCluster, "far", "b")
	shop := n.placeFar(near, far, "shop", func(p *workloadv1alpha1.PlacementSpec) { p.Move.GracePeriodSeconds = 15 }, n.shopIn(far, "shop").onlyOn("web"))
	shop.awaitPlaced()

	change(n, syncTarget("far"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Drain = &workloadv1alpha1.DrainSpec{} })
	n.awaitRunning("shop", "far", "near")
	n.awaitRunning("shop", "far")
	n.eventually("the SyncTarget says why the Namespace does not leave", func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := n.Get(t.Context(), client.ObjectKey{Name: "far"}, target); err != nil {
			return false, err.Error()
		}
		d := target.Status.Drain
		return d != nil && len(d.Held) == 1 && d.Held[0].Namespace == "shop", fmt.Sprint(d)
	})
	shop.requireUntouched()
}
