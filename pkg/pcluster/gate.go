package pcluster

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// meetingsPerWorkspace and probesPerWorkspace are how many first contacts and how many probes of one logical
	// cluster are under way at the same time. Behind each may be a black hole, which keeps its place for contactTimeout.
	meetingsPerWorkspace = 16
	probesPerWorkspace   = 4
	// defaultMaxContacts is far more than one workspace can have, so that it takes many to fill all places.
	defaultMaxContacts = 256
)

// gate bounds the calls to clusters that may not answer: so many at a time in each logical cluster, and so many in all.
// A place of the logical cluster is taken before one of all, so that whoever has a thousand black holes waits for his own.
type gate struct {
	total  *semaphore.Weighted // shared between gates
	places int64               // in each logical cluster

	mu    sync.Mutex
	lanes map[string]*lane // by logical cluster; those that somebody uses
}

// lane are the places of one logical cluster.
type lane struct {
	*semaphore.Weighted
	users int // who have a place or wait for one
}

func newGate(total *semaphore.Weighted, places int64) *gate {
	return &gate{total: total, places: places, lanes: map[string]*lane{}}
}

// pass waits for a place, first come, first served, and makes the call there. The error is the context's, if that ends
// before there is a place.
func (g *gate) pass(ctx context.Context, clusterName string, call func()) error {
	own := g.join(clusterName)
	defer g.leave(clusterName, own)
	if err := own.Acquire(ctx, 1); err != nil {
		return err
	}
	defer own.Release(1)
	if err := g.total.Acquire(ctx, 1); err != nil {
		return err
	}
	defer g.total.Release(1)
	call()
	return nil
}

func (g *gate) join(clusterName string) *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	own, ok := g.lanes[clusterName]
	if !ok {
		own = &lane{Weighted: semaphore.NewWeighted(g.places)}
		g.lanes[clusterName] = own
	}
	own.users++
	return own
}

func (g *gate) leave(clusterName string, own *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(g.lanes, clusterName)
	}
}
