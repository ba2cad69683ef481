package apiserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
)

// Wildcard stands for all logical clusters in lists and watches.
const Wildcard = "*"

// Key names an object. Cluster is its logical cluster, empty in a physical cluster.
type Key struct {
	Resource                 schema.GroupResource
	Cluster, Namespace, Name string
}

// Scope says which objects of a resource a list or a watch shows.
type Scope struct {
	// Cluster is a logical cluster, or Wildcard.
	Cluster string
	// Namespace and Name may be empty for any.
	Namespace, Name string
	// Labels may be nil for any.
	Labels labels.Selector
}

// Mutate changes an object before it is stored, as admission and controllers of a real server do. It is called with the Store
// locked, and must not call it.
type Mutate func(Key, *unstructured.Unstructured)

// Store holds objects.
type Store struct {
	mutate Mutate

	mu       sync.Mutex
	revision int64
	objects  map[schema.GroupResource]map[string]map[types.NamespacedName]*object
	// deleted are the last states of what was deleted, so that a watch shows what happened since a list.
	deleted  map[schema.GroupResource][]change
	watchers map[schema.GroupResource]map[*Watcher]struct{}
}

// object is a stored object. It is replaced, never changed.
type object struct {
	key      Key
	revision int64
	labels   labels.Set
	// full and metadata are JSON: of the object, and of its PartialObjectMetadata.
	full, metadata []byte
}

// change is an event of a watch.
type change struct {
	kind   watch.EventType
	object *object
}

// NewStore returns an empty Store. mutate may be nil.
func NewStore(mutate Mutate) *Store {
	if mutate == nil {
		mutate = func(Key, *unstructured.Unstructured) {}
	}
	return &Store{
		mutate:  mutate,
		objects: map[schema.GroupResource]map[string]map[types.NamespacedName]*object{}, deleted: map[schema.GroupResource][]change{},
		watchers: map[schema.GroupResource]map[*Watcher]struct{}{},
	}
}

// Create stores a new object. Its error is of package apierrors, as are those of the other methods.
func (s *Store) Create(key Key, created *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(key, created)
}

func (s *Store) create(key Key, created *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if s.find(key) != nil {
		return nil, apierrors.NewAlreadyExists(key.Resource, key.Name)
	}
	created.SetNamespace(key.Namespace)
	created.SetName(key.Name)
	created.SetUID(uuid.NewUUID())
	created.SetGeneration(1)
	created.SetCreationTimestamp(metav1.Now())
	if key.Cluster != "" {
		annotations := created.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations["kcp.io/cluster"] = key.Cluster
		created.SetAnnotations(annotations)
	}
	return created, s.put(key, created, watch.Added)
}

// Update replaces an object by what alter makes of a copy of it. If the resourceVersion or UID are not those of the object
// afterwards, that is a conflict. An object that is being deleted is removed with its last finalizer.
func (s *Store) Update(key Key, alter func(*unstructured.Unstructured) error) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.update(key, alter)
}

func (s *Store) update(key Key, alter func(*unstructured.Unstructured) error) (*unstructured.Unstructured, error) {
	found := s.find(key)
	if found == nil {
		return nil, apierrors.NewNotFound(key.Resource, key.Name)
	}
	before, err := decode(found.full)
	if err != nil {
		return nil, err
	}
	after := before.DeepCopy()
	if err := alter(after); err != nil {
		return nil, err
	}
	if version := after.GetResourceVersion(); version != "" && version != before.GetResourceVersion() || after.GetUID() != before.GetUID() {
		return nil, apierrors.NewConflict(key.Resource, key.Name, fmt.Errorf("it is version %s, UID %s now", before.GetResourceVersion(), before.GetUID()))
	}
	after.SetResourceVersion(before.GetResourceVersion())
	if same(before.Object, after.Object) {
		return before, nil
	}
	if !same(before.Object["spec"], after.Object["spec"]) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	if after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0 {
		return after, s.remove(key, after)
	}
	return after, s.put(key, after, watch.Modified)
}

// Apply creates an object or merges the manifest into it.
func (s *Store) Apply(key Key, manifest *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(key) == nil {
		if manifest.GetUID() != "" {
			return nil, apierrors.NewConflict(key.Resource, key.Name, fmt.Errorf("there is none with UID %s", manifest.GetUID()))
		}
		return s.create(key, manifest)
	}
	return s.update(key, func(o *unstructured.Unstructured) error {
		merge(o.Object, manifest.Object)
		return nil
	})
}

// Delete marks an object as being deleted, or removes it if it has no finalizer. An empty uid stands for any.
func (s *Store) Delete(key Key, uid types.UID) error {
	_, err := s.Update(key, func(o *unstructured.Unstructured) error {
		if uid != "" && uid != o.GetUID() {
			return apierrors.NewConflict(key.Resource, key.Name, fmt.Errorf("it has UID %s", o.GetUID()))
		}
		if o.GetDeletionTimestamp() == nil {
			now := metav1.Now()
			o.SetDeletionTimestamp(&now)
		}
		return nil
	})
	return err
}

// Get returns an object.
func (s *Store) Get(key Key) (*unstructured.Unstructured, error) {
	found, err := s.read(key)
	if err != nil {
		return nil, err
	}
	return decode(found.full)
}

func (s *Store) read(key Key) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.find(key)
	if found == nil {
		return nil, apierrors.NewNotFound(key.Resource, key.Name)
	}
	return found, nil
}

// list returns the objects in a scope, and the revision of which they are.
func (s *Store) list(resource schema.GroupResource, scope Scope) ([]*object, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.within(resource, scope), s.revision
}

func (s *Store) within(resource schema.GroupResource, scope Scope) []*object {
	clusters := s.objects[resource]
	if scope.Cluster != Wildcard {
		clusters = map[string]map[types.NamespacedName]*object{scope.Cluster: clusters[scope.Cluster]}
	}
	var found []*object
	for _, objects := range clusters {
		for candidate := range maps.Values(objects) {
			if scope.contains(candidate) {
				found = append(found, candidate)
			}
		}
	}
	slices.SortFunc(found, func(a, b *object) int { return cmp.Compare(a.revision, b.revision) })
	return found
}

func (scope Scope) contains(o *object) bool {
	return (scope.Cluster == Wildcard || scope.Cluster == o.key.Cluster) && (scope.Namespace == "" || scope.Namespace == o.key.Namespace) &&
		(scope.Name == "" || scope.Name == o.key.Name) && (scope.Labels == nil || scope.Labels.Matches(o.labels))
}

// Watch returns a Watcher of what has happened in a scope since a revision, at first in the order of the revisions. Since 0,
// it begins with all objects as added.
func (s *Store) Watch(resource schema.GroupResource, scope Scope, since int64) *Watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &Watcher{store: s, resource: resource, scope: scope, signal: make(chan struct{}, 1)}
	kind := watch.Modified // of what is newer than the list; a client takes an unknown object for an added one
	if since == 0 {
		kind = watch.Added
	}
	for _, o := range s.within(resource, scope) {
		if o.revision > since {
			w.pending = append(w.pending, change{kind, o})
		}
	}
	for _, c := range s.deleted[resource] {
		if since > 0 && c.object.revision > since && scope.contains(c.object) {
			w.pending = append(w.pending, c)
		}
	}
	slices.SortStableFunc(w.pending, func(a, b change) int { return cmp.Compare(a.object.revision, b.object.revision) })
	if s.watchers[resource] == nil {
		s.watchers[resource] = map[*Watcher]struct{}{}
	}
	s.watchers[resource][w] = struct{}{}
	w.signal <- struct{}{}
	return w
}

func (s *Store) find(key Key) *object {
	return s.objects[key.Resource][key.Cluster][types.NamespacedName{Namespace: key.Namespace, Name: key.Name}]
}

func (s *Store) put(key Key, o *unstructured.Unstructured, kind watch.EventType) error {
	s.mutate(key, o)
	stored, err := s.encode(key, o)
	if err != nil {
		return err
	}
	if s.objects[key.Resource] == nil {
		s.objects[key.Resource] = map[string]map[types.NamespacedName]*object{}
	}
	if s.objects[key.Resource][key.Cluster] == nil {
		s.objects[key.Resource][key.Cluster] = map[types.NamespacedName]*object{}
	}
	s.objects[key.Resource][key.Cluster][types.NamespacedName{Namespace: key.Namespace, Name: key.Name}] = stored
	s.notify(change{kind, stored})
	return nil
}

func (s *Store) remove(key Key, o *unstructured.Unstructured) error {
	last, err := s.encode(key, o)
	if err != nil {
		return err
	}
	delete(s.objects[key.Resource][key.Cluster], types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
	s.deleted[key.Resource] = append(s.deleted[key.Resource], change{watch.Deleted, last})
	s.notify(change{watch.Deleted, last})
	return nil
}

func (s *Store) notify(c change) {
	for w := range s.watchers[c.object.key.Resource] {
		if w.scope.contains(c.object) {
			w.add(c)
		}
	}
}

// encode gives an object the next revision.
func (s *Store) encode(key Key, o *unstructured.Unstructured) (*object, error) {
	s.revision++
	o.SetResourceVersion(strconv.FormatInt(s.revision, 10))
	full, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %q: %w", key.Resource, key.Name, err)
	}
	metadata, err := json.Marshal(map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o.Object["metadata"]})
	if err != nil {
		return nil, fmt.Errorf("encoding the metadata of %s %q: %w", key.Resource, key.Name, err)
	}
	return &object{key: key, revision: s.revision, labels: o.GetLabels(), full: full, metadata: metadata}, nil
}

func decode(full []byte) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(full); err != nil {
		return nil, fmt.Errorf("decoding an object: %w", err)
	}
	return o, nil
}

// same compares what may be of different types in Go but is the same in JSON.
func same(a, b any) bool {
	first, errA := json.Marshal(a)
	second, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(first) == string(second)
}

// merge is a JSON merge patch (RFC 7386).
func merge(into, patch map[string]any) {
	for name, value := range patch {
		added, isMap := value.(map[string]any)
		present, wasMap := into[name].(map[string]any)
		switch {
		case value == nil:
			delete(into, name)
		case isMap && wasMap:
			merge(present, added)
		case isMap:
			fresh := map[string]any{}
			merge(fresh, added)
			into[name] = fresh
		default:
			into[name] = value
		}
	}
}

// Watcher queues the events of one watch. It never drops one.
type Watcher struct {
	store    *Store
	resource schema.GroupResource
	scope    Scope
	signal   chan struct{}

	mu      sync.Mutex
	pending []change
}

func (w *Watcher) add(c change) {
	w.mu.Lock()
	w.pending = append(w.pending, c)
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *Watcher) take() []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.pending
	w.pending = nil
	return taken
}

// Stop ends the watch.
func (w *Watcher) Stop() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.watchers[w.resource], w)
}
