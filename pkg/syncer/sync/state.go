package sync

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// objectState is what a pass over an object leaves to the next one. A restart forgets it.
type objectState struct {
	// lastOutcome is the outcome of the last apply, while it need not be tried again.
	lastOutcome outcome
	// restoredAt is when the copy was last brought back from what somebody had changed.
	restoredAt time.Time
	// merged is the UID of something of somebody else's that was merged into, until it is given back.
	merged types.UID
	// prunedStatus identifies the status that the workspace has taken without a change.
	prunedStatus string
	// metadataRejectedAt is when it was last told in an Event that the workspace refuses our marks, until it takes them.
	metadataRejectedAt time.Time
}

// objectState is what is remembered of an object.
func (p *namespaceSync) objectState(resource workloadv1alpha1.GroupResource, name string) objectState {
	found, _ := p.objectStates.Load(queueKey{namespace: p.upstreamNamespace, resource: resource, name: name})
	m, _ := found.(objectState)
	return m
}

// setObjectState keeps what is remembered of an object, if there is anything.
func (p *namespaceSync) setObjectState(i queueKey, m objectState) {
	if m == (objectState{}) {
		p.objectStates.Delete(i)
	} else {
		p.objectStates.Store(i, m)
	}
}
