package scheduler

import (
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// unordered is the order of an Assignment that has yet to get one.
const unordered = -1

// setOrder gives each running Assignment of a Namespace its order, and has one of them write the status. What has an
// order keeps it. A replacement has an order of its own while it and what it replaces both run, so that Jobs run once.
// It shares the order where there are volumes to leave behind: without PersistentVolumeClaims of its own it would never
// become available.
func setOrder(n *namespace) {
	running := n.running()
	if len(running) == 0 {
		return
	}
	keepOrders(running)
	if heir := heirOfFirst(n, running); heir != nil {
		heir.spec.Order = 0
	}
	fillOrders(running)
	setWriter(running)
}

// keepOrders takes from the Assignments the orders that others of a Namespace have, too.
func keepOrders(running []*assignment) {
	used := sets.New[int32]()
	for _, a := range running {
		switch {
		case a.replaces != nil && a.replaces.boundClaims() > 0 && (a.read == nil || a.spec.Order == a.replaces.spec.Order),
			a.replaces != nil && a.replaces.isUnreported() && a.spec.Order == a.replaces.spec.Order && a.spec.Order != unordered:
			a.spec.Order = a.replaces.spec.Order
		case used.Has(a.spec.Order):
			a.spec.Order = unordered
		case a.spec.Order != unordered:
			used.Insert(a.spec.Order)
		}
	}
}

// heirOfFirst returns the Assignment that is to be the first, where none is: the one that has taken the place of the
// former first, else the one with the lowest order.
func heirOfFirst(n *namespace, running []*assignment) *assignment {
	former := sets.New[string]()
	for _, a := range n.assignments {
		if !a.runs() && a.spec.Order == 0 {
			former.Insert(a.cluster.name)
		}
	}
	var heir *assignment
	for _, a := range running {
		switch {
		case a.spec.Order == 0:
			return nil
		case heir == nil || former.Has(a.spec.Replaces) && !former.Has(heir.spec.Replaces):
			heir = a
		}
	}
	return heir
}

// fillOrders gives the lowest free orders to those that have none.
func fillOrders(running []*assignment) {
	used := sets.New[int32]()
	for _, a := range running {
		used.Insert(a.spec.Order)
	}
	next := int32(0)
	for _, a := range running {
		if a.spec.Order != unordered {
			continue
		}
		for used.Has(next) {
			next++
		}
		a.spec.Order = next
		used.Insert(next)
	}
}

// setWriter has the first by order write the status of the objects, of those whose cluster is not unreachable.
func setWriter(running []*assignment) {
	var writer *assignment
	for _, a := range running {
		if writer == nil || a.before(writer) {
			writer = a
		}
	}
	for _, a := range running {
		a.spec.WritesStatus = a == writer
	}
}

// before reports whether an Assignment rather writes the status than another that comes before it in the list.
func (a *assignment) before(other *assignment) bool {
	x, y := a.cluster.unreachable(workloadv1alpha1.TaintNoSchedule), other.cluster.unreachable(workloadv1alpha1.TaintNoSchedule)
	if x != y {
		return y
	}
	return a.spec.Order < other.spec.Order
}
