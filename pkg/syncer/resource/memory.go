package resource

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// memory is what a pass over an object leaves to the next one. A restart forgets it.
type memory struct {
	// settled is the outcome of the last apply, while it need not be tried again.
	settled settlement
	// restored is when the copy was last brought back from what somebody had changed.
	restored time.Time
	// merged is the UID of something of somebody else's that was merged into, until it is given back.
	merged types.UID
	// pruned identifies the status that the workspace has taken without a change.
	pruned string
	// unmarked is when it was last told in an Event that the workspace refuses our marks, until it takes them.
	unmarked time.Time
}

// remembered is what is remembered of an object.
func (p *place) remembered(resource workloadv1alpha1.GroupResource, name string) memory {
	found, _ := p.memories.Load(item{namespace: p.namespace, resource: resource, name: name})
	m, _ := found.(memory)
	return m
}

// remember keeps what is remembered of an object, if there is anything.
func (p *place) remember(i item, m memory) {
	if m == (memory{}) {
		p.memories.Delete(i)
	} else {
		p.memories.Store(i, m)
	}
}
