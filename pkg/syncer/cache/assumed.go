package cache

import (
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// AssumedLifetime is how long a watch may lag behind the answer to a write. After that the watch is right.
const AssumedLifetime = 10 * time.Second

// Assumed is an informer's store with the answers to our own writes on top until the watch delivers them, so that no write is decided on
// what was there before the last one.
type Assumed struct {
	clock clock.PassiveClock
	Store toolscache.Store

	mu      sync.Mutex
	assumed map[string]assumption
}

type assumption struct {
	object *unstructured.Unstructured
	at     time.Time
	// handled tells that the answer contains nothing that the pass which wrote it does not act upon.
	handled bool
}

// NewAssumed puts assumptions on top of the store of an informer.
func NewAssumed(store toolscache.Store, clock clock.PassiveClock) *Assumed {
	return &Assumed{clock: clock, Store: store, assumed: map[string]assumption{}}
}

// Get returns an object, nil for none, that must not be changed; ahead tells that the watch has yet to deliver it.
func (o *Assumed) Get(key string) (object *unstructured.Unstructured, ahead bool) {
	o.mu.Lock() // before the store is read, since delivered removes an assumption when the store has its object
	defer o.mu.Unlock()
	if found, ok, err := o.Store.GetByKey(key); err == nil && ok {
		object = unpack(found)
	}
	w, ok := o.assumed[key]
	if !ok {
		return object, false
	}
	if o.clock.Since(w.at) > AssumedLifetime || object != nil && !isNewer(w.object, object) {
		delete(o.assumed, key)
		return object, false
	}
	return w.object, true
}

// Any tells whether there is an object of which this is true.
func (o *Assumed) Any(is func(*unstructured.Unstructured) bool) bool {
	for _, key := range o.Keys() {
		if object, _ := o.Get(key); object != nil && is(object) {
			return true
		}
	}
	return false
}

// Keys are those of all objects, some of which may be gone when they are asked for.
func (o *Assumed) Keys() []string {
	keys := o.Store.ListKeys()
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.assumed {
		if _, ok, err := o.Store.GetByKey(key); err == nil && !ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// Assume notes what a write answered, and whether its event is then news to nobody.
func (o *Assumed) Assume(key string, object *unstructured.Unstructured, handled bool) {
	trimManagedFields(object)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.assumed[key] = assumption{object: object, at: o.clock.Now(), handled: handled}
}

// delivered notes what the watch has brought, and tells whether it is news: everything but the very state that a write
// of our own has answered with.
func (o *Assumed) delivered(key, version string) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w, ok := o.assumed[key]
	if !ok || w.object.GetResourceVersion() != version {
		return true
	}
	delete(o.assumed, key)
	return !w.handled
}

// Forget forgets a write to an object that is seen to be gone.
func (o *Assumed) Forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.assumed, key)
}

// isNewer compares resource versions, which are numbers in every API server there is; where they are not, the watch is
// believed.
func isNewer(a, b *unstructured.Unstructured) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return errX == nil && errY == nil && x > y
}
