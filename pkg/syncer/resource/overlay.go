package resource

import (
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// overlayLifetime is how long a watch may lag behind what a write has answered. After that the watch is believed.
const overlayLifetime = 10 * time.Second

// overlay is an informer's store with the answers of our own writes on top, until the watch delivers them: so that no
// write is decided on, again, from what was before the last one.
type overlay struct {
	clock clock.PassiveClock
	store cache.Store

	mu    sync.Mutex
	fresh map[string]written
}

type written struct {
	object *unstructured.Unstructured
	at     time.Time
	// dealtWith tells that there is nothing in the answer that the pass which wrote it does not act upon.
	dealtWith bool
}

func newOverlay(store cache.Store, clock clock.PassiveClock) *overlay {
	return &overlay{clock: clock, store: store, fresh: map[string]written{}}
}

// get returns an object, nil for none, that must not be changed; ahead tells that the watch has yet to deliver it.
func (o *overlay) get(key string) (object *unstructured.Unstructured, ahead bool) {
	o.mu.Lock() // before the store is read: what it holds, delivered has not taken away yet
	defer o.mu.Unlock()
	if found, ok, err := o.store.GetByKey(key); err == nil && ok {
		object = unpack(found)
	}
	w, ok := o.fresh[key]
	if !ok {
		return object, false
	}
	if o.clock.Since(w.at) > overlayLifetime || object != nil && !newer(w.object, object) {
		delete(o.fresh, key)
		return object, false
	}
	return w.object, true
}

// shows tells whether there is an object of which this is true.
func (o *overlay) shows(is func(*unstructured.Unstructured) bool) bool {
	for _, key := range o.keys() {
		if object, _ := o.get(key); object != nil && is(object) {
			return true
		}
	}
	return false
}

// keys are those of all objects, some of which may be gone when they are asked for.
func (o *overlay) keys() []string {
	keys := o.store.ListKeys()
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.fresh {
		if _, ok, err := o.store.GetByKey(key); err == nil && !ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// put notes what a write answered, and whether its event is then news to nobody.
func (o *overlay) put(key string, object *unstructured.Unstructured, dealtWith bool) {
	object.SetManagedFields(nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh[key] = written{object: object, at: o.clock.Now(), dealtWith: dealtWith}
}

// delivered notes what the watch has brought, and tells whether it is news: everything but the very state that a write
// of our own has answered with.
func (o *overlay) delivered(key, version string) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w, ok := o.fresh[key]
	if !ok || w.object.GetResourceVersion() != version {
		return true
	}
	delete(o.fresh, key)
	return !w.dealtWith
}

// drop forgets a write to an object that is seen to be gone.
func (o *overlay) drop(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.fresh, key)
}

// newer compares resource versions, which are numbers in every API server there is; where they are not, the watch is
// believed.
func newer(a, b *unstructured.Unstructured) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return errX == nil && errY == nil && x > y
}
