package fairness

import "sync"

const (
	// slowShare is the part of the workers that slow items have: one in so many.
	slowShare = 4
	// lowShare is the part of the turns that items of low priority have while they wait: one in so many. However often
	// users change things, what is only read again has its turn: it may be the read that finds a syncer dead.
	lowShare = 4
)

// The levels of priority.
const (
	high = iota
	low
	levels
)

// schedule is the order of a Queue: workqueue.Queue, which client-go's queue calls under its lock. Each worker first claims an
// item here, so that client-go's queue has one for it and never waits.
type schedule[T, G comparable] struct {
	group  func(T) G
	isSlow func(T) bool

	mu    sync.Mutex
	pools [2]pool[T, G] // of all items but the slow ones, and of those
	// raised are the items of high priority that have not begun.
	raised  map[T]bool
	waiting map[T]position
	// claimed are the items that workers are about to take, and running those and the ones that they have.
	claimed []T
	running map[T]position
	closed  bool
	// wake is signalled when another item may begin.
	wake *sync.Cond
}

// position is where an item waits, or has waited.
type position struct {
	pool, level int
}

// pool is a number of workers.
type pool[T, G comparable] struct {
	free     int
	inFlight map[G]int
	ready    [levels]roundRobin[T, G]
	// highs counts the items of high priority that have begun since the last one of low priority.
	highs int
}

func newSchedule[T, G comparable](o Options[T, G]) *schedule[T, G] {
	s := &schedule[T, G]{
		group: o.Group, raised: map[T]bool{}, waiting: map[T]position{}, running: map[T]position{},
	}
	s.wake = sync.NewCond(&s.mu)
	for i := range s.pools {
		s.pools[i].inFlight = map[G]int{}
	}
	s.pools[0].free = o.Workers
	if o.IsSlow != nil && o.Workers > 1 { // a single worker cannot be shared out
		s.isSlow = o.IsSlow
		slow := max(o.Workers/slowShare, 1)
		s.pools[0].free, s.pools[1].free = o.Workers-slow, slow
	}
	return s
}

// Push implements workqueue.Queue.
func (s *schedule[T, G]) Push(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := position{level: low}
	if s.raised[item] {
		at.level = high
	}
	if s.isSlow != nil && s.isSlow(item) {
		at.pool = 1
	}
	s.push(item, at)
}

func (s *schedule[T, G]) push(item T, at position) {
	s.waiting[item] = at
	s.pools[at.pool].ready[at.level].push(s.group(item), item)
	s.wake.Signal()
}

// Touch implements workqueue.Queue: an item that is added again keeps its place, unless its priority has become higher.
func (s *schedule[T, G]) Touch(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.waiting[item]
	if found && at.level == low && s.raised[item] {
		s.pools[at.pool].ready[low].remove(s.group(item), item)
		s.push(item, position{pool: at.pool, level: high})
	}
}

// Len implements workqueue.Queue: it counts the items that workers have claimed.
func (s *schedule[T, G]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claimed)
}

// Pop implements workqueue.Queue.
func (s *schedule[T, G]) Pop() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.claimed[0]
	s.claimed = s.claimed[1:]
	return item
}

// claim waits until an item may begin, and gives it a worker, or until the queue is closed and none may.
func (s *schedule[T, G]) claim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if at, place, ok := s.next(); ok {
			s.begin(at, place)
			s.wake.Signal() // another worker may find another item
			return
		}
		if s.closed {
			return
		}
		s.wake.Wait()
	}
}

// begin gives a worker to the next item of a group, by its place in the order.
func (s *schedule[T, G]) begin(at position, place int) {
	p := &s.pools[at.pool]
	item := p.ready[at.level].pop(place)
	p.free--
	p.inFlight[s.group(item)]++
	p.highs++
	if at.level == low {
		p.highs = 0
	}
	s.claimed = append(s.claimed, item)
	s.running[item] = at
	delete(s.waiting, item)
	delete(s.raised, item)
}

// next finds the item that begins next: its pool and level, and the place of its group in the order there. The pools do
// not compete, since each has its own workers.
func (s *schedule[T, G]) next() (at position, place int, ok bool) {
	for i := range s.pools {
		if level, place := s.pools[i].next(); place >= 0 {
			return position{pool: i, level: level}, place, true
		}
	}
	return position{}, 0, false
}

// next finds the item of the pool that begins next. Its place is -1 if there is none.
func (p *pool[T, G]) next() (level, place int) {
	order := [levels]int{high, low}
	if p.highs >= lowShare-1 {
		order = [levels]int{low, high}
	}
	for _, level := range order {
		if place := p.ready[level].next(func(g G) bool { return p.inFlight[g] < p.free }); place >= 0 {
			return level, place
		}
	}
	return 0, -1
}

// release takes back the worker of an item.
func (s *schedule[T, G]) release(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, group := &s.pools[s.running[item].pool], s.group(item)
	p.free++
	if p.inFlight[group]--; p.inFlight[group] == 0 {
		delete(p.inFlight, group)
	}
	delete(s.running, item)
	s.wake.Signal()
}

// close ends all waits.
func (s *schedule[T, G]) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake.Broadcast()
}

// raise gives an item high priority until it begins.
func (s *schedule[T, G]) raise(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raised[item] = true
}

func (s *schedule[T, G]) isLow(item T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[item].level == low
}

func (s *schedule[T, G]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}
