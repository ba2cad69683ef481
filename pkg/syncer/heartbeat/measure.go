package heartbeat

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// versionInterval is how often the Kubernetes version is read. It changes a few times a year.
const versionInterval = 10 * time.Minute

// measurement is what the ready nodes have to offer together.
type measurement struct {
	nodes                 int32
	capacity, allocatable map[string]resource.Quantity
}

// measure is what the syncer has to say. A version or Nodes that cannot be read do not keep the
// heartbeat from being sent: what was known stands.
func (s *Sender) measure(ctx context.Context, clusterID string) (workloadv1alpha1.SyncerStatus, error) {
	s.readVersion(ctx)
	s.readNodes(ctx)
	if s.measured == nil {
		inherited, err := s.inherit(ctx, clusterID)
		if err != nil {
			return workloadv1alpha1.SyncerStatus{}, err
		}
		s.measured = &inherited
	}
	return workloadv1alpha1.SyncerStatus{
		Version:           s.Version,
		Instance:          s.Instance,
		TokenSecret:       s.TokenSecret(),
		ClusterID:         clusterID,
		KubernetesVersion: s.version,
		Nodes:             s.measured.nodes,
		Capacity:          s.measured.capacity,
		Allocatable:       s.measured.allocatable,
	}, nil
}

func (s *Sender) readVersion(ctx context.Context) {
	if s.version != "" && s.Clock.Since(s.versionRead) < versionInterval {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	version, err := s.Downstream.KubernetesVersion(ctx)
	if err != nil {
		log.FromContext(ctx).V(4).Info("the Kubernetes version cannot be read", "error", err.Error())
		return
	}
	s.version, s.versionRead = version, s.Clock.Now()
}

func (s *Sender) readNodes(ctx context.Context) {
	nodes, err := s.Downstream.Nodes(ctx)
	if failing := err != nil; failing != s.nodesFailing {
		s.nodesFailing = failing
		if failing {
			log.FromContext(ctx).Error(err, "the capacity that was reported last stands; "+
				"if this lasts, see that the syncer's ServiceAccount may list and watch Nodes")
		} else {
			log.FromContext(ctx).Info("nodes are listed; their capacity is reported")
		}
	}
	if err != nil {
		return
	}
	measured := sum(nodes)
	s.measured = &measured
}

// inherit is what an earlier leader measured in this cluster, to be kept until this one has listed the Nodes.
func (s *Sender) inherit(ctx context.Context, clusterID string) (measurement, error) {
	target, err := s.getOurs(ctx)
	if err != nil {
		return measurement{}, err
	}
	earlier := target.Status.Syncer
	if earlier == nil || earlier.ClusterID != clusterID {
		return measurement{}, nil
	}
	return measurement{nodes: earlier.Nodes, capacity: earlier.Capacity, allocatable: earlier.Allocatable}, nil
}

// sum adds up the nodes that are ready. A cordoned node counts: what runs there still uses its capacity.
func sum(nodes []corev1.Node) measurement {
	var m measurement
	for _, node := range nodes {
		if !ready(node) {
			continue
		}
		m.nodes++
		m.capacity = add(m.capacity, node.Status.Capacity)
		m.allocatable = add(m.allocatable, node.Status.Allocatable)
	}
	return m
}

func ready(node corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func add(total map[string]resource.Quantity, list corev1.ResourceList) map[string]resource.Quantity {
	if total == nil && len(list) > 0 {
		total = make(map[string]resource.Quantity, len(list))
	}
	for name, quantity := range list {
		q := total[string(name)]
		q.Add(quantity)
		total[string(name)] = q
	}
	return total
}
