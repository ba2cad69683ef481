package fairness

import "slices"

// roundRobin holds items that wait. Their groups take turns; within a group, the first item that came is the next.
type roundRobin[T, G comparable] struct {
	waiting map[G][]T
	// order holds each group of which an item waits once.
	order []G
}

func (r *roundRobin[T, G]) push(group G, item T) {
	if r.waiting == nil {
		r.waiting = map[G][]T{}
	}
	if len(r.waiting[group]) == 0 {
		r.order = append(r.order, group)
	}
	r.waiting[group] = append(r.waiting[group], item)
}

// next returns the place in the order of the next group that may have an item, or -1 if there is none.
func (r *roundRobin[T, G]) next(may func(G) bool) int { return slices.IndexFunc(r.order, may) }

// pop takes the next item of the group at a place in the order.
func (r *roundRobin[T, G]) pop(place int) T {
	group := r.order[place]
	r.order = slices.Delete(r.order, place, place+1)
	items := r.waiting[group]
	r.waiting[group] = items[1:]
	if len(items) == 1 {
		delete(r.waiting, group)
	} else {
		r.order = append(r.order, group)
	}
	return items[0]
}

// remove takes out one item, wherever it waits.
func (r *roundRobin[T, G]) remove(group G, item T) {
	r.waiting[group] = slices.DeleteFunc(slices.Clone(r.waiting[group]), func(other T) bool { return other == item })
	if len(r.waiting[group]) == 0 {
		delete(r.waiting, group)
		r.order = slices.DeleteFunc(r.order, func(other G) bool { return other == group })
	}
}
