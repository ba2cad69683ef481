package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// modelServer is an API server that serves one resource in one Namespace. It has of a real one what the syncer
// depends on: versions, UIDs, generations, finalizers, preconditions, the status subresource, and the ownership of
// fields. Objects that it has stored or returned to its history are not changed any more.
type modelServer struct {
	resource  schema.GroupResource
	namespace string
	// uids begin with this.
	uids string
	// custom tells that the resource has generations and a status subresource.
	custom bool
	// admit refuses the content of objects; created tells that the object does not exist yet.
	admit func(object *unstructured.Unstructured, created bool) error

	version, created int64
	objects          map[string]*unstructured.Unstructured
	// history has every state of the object "a", nil where it does not exist.
	history []*unstructured.Unstructured
}

// objectName is the name of the object whose history a server keeps.
const objectName = "a"

func newModelServer(resource schema.GroupResource, namespace, uids string, custom bool) *modelServer {
	return &modelServer{
		resource: resource, namespace: namespace, uids: uids, custom: custom,
		admit:   func(*unstructured.Unstructured, bool) error { return nil },
		objects: map[string]*unstructured.Unstructured{}, history: []*unstructured.Unstructured{nil},
	}
}

func (s *modelServer) get(name string) (*unstructured.Unstructured, error) {
	if s.objects[name] == nil {
		return nil, apierrors.NewNotFound(s.resource, name)
	}
	return s.objects[name].DeepCopy(), nil
}

func (s *modelServer) create(object *unstructured.Unstructured, manager string, dryRun bool) (*unstructured.Unstructured, error) {
	created, name := object.DeepCopy(), object.GetName()
	if err := s.admit(created, true); err != nil {
		return nil, err // a server asks admission before it knows whether there is an object of the name
	}
	if s.objects[name] != nil {
		return nil, apierrors.NewAlreadyExists(s.resource, name)
	}
	created.SetNamespace(s.namespace)
	created.SetUID(types.UID(fmt.Sprintf("%s-%d", s.uids, s.created+1)))
	if s.custom {
		delete(created.Object, "status")
		created.SetGeneration(1)
	}
	owned := ownership{}
	owned.update(nil, fieldsIn(created), manager)
	owned.setOn(created, nil)
	if dryRun {
		return created, nil
	}
	s.created++
	s.store(name, created)
	return created.DeepCopy(), nil
}

// store stores a new state of an object; nil removes it.
func (s *modelServer) store(name string, object *unstructured.Unstructured) {
	s.version++
	if object == nil {
		delete(s.objects, name)
	} else {
		object.SetResourceVersion(strconv.FormatInt(s.version, 10))
		s.objects[name] = object.DeepCopy()
		object = s.objects[name]
	}
	if name == objectName {
		s.history = append(s.history, object)
	}
}

// change is an update of the whole object, as `kubectl edit` makes one. It tells whether that has changed anything.
func (s *modelServer) change(name, manager string, change func(*unstructured.Unstructured)) bool {
	before := s.version
	if after, err := s.get(name); err == nil {
		change(after)
		_, _ = s.update(after, manager, "")
	}
	return s.version != before
}

// changeStatus is an update of the status subresource.
func (s *modelServer) changeStatus(name, manager string, status map[string]any) bool {
	before := s.version
	if after, err := s.get(name); err == nil {
		after.Object["status"] = status
		_, _ = s.update(after, manager, "status")
	}
	return s.version != before
}

func (s *modelServer) patch(name string, kind types.PatchType, body []byte, manager, subresource string) (*unstructured.Unstructured, error) {
	after, err := s.get(name)
	if err != nil {
		return nil, err
	}
	if kind == types.JSONPatchType {
		err = applyJSONPatch(after.Object, body)
	} else {
		var patch map[string]any
		err = utiljson.Unmarshal(body, &patch)
		applyMergePatch(after.Object, patch)
	}
	if err != nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", s.resource, name, err.Error(), 0, false)
	}
	return s.update(after, manager, subresource)
}

// update stores a changed object. The UID and the version in it are preconditions.
func (s *modelServer) update(changed *unstructured.Unstructured, manager, subresource string) (*unstructured.Unstructured, error) {
	name := changed.GetName()
	before, after := s.objects[name], changed.DeepCopy()
	switch {
	case after.GetUID() != before.GetUID(), after.GetResourceVersion() != before.GetResourceVersion():
		return nil, apierrors.NewConflict(s.resource, name, errors.New("the object has been modified"))
	case subresource == "status":
		after = withStatusOf(before, after, manager)
	case s.custom:
		copyField(after.Object, before.Object, "status")
	}
	if err := s.admit(after, false); err != nil && subresource == "" {
		return nil, err
	}
	if err := keepServerFields(before, after); err != nil {
		return nil, apierrors.NewInvalid(before.GroupVersionKind().GroupKind(), name, nil)
	}
	if subresource == "" {
		owned, others := ownershipOf(after)
		owned.update(fieldsIn(before), fieldsIn(after), manager)
		owned.setOn(after, others)
	}
	return s.commit(before, after)
}

// commit stores what an update or an apply makes of an object, unless it changes nothing.
func (s *modelServer) commit(before, after *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	removeEmpty(after)
	if reflect.DeepEqual(before.Object, after.Object) {
		return after, nil
	}
	if s.custom && !reflect.DeepEqual(before.Object["data"], after.Object["data"]) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	if after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0 {
		s.store(after.GetName(), nil)
		return after, nil
	}
	s.store(after.GetName(), after)
	return after, nil
}

// removeEmpty removes the maps and lists of the metadata that an API server does not return when they are empty.
func removeEmpty(object *unstructured.Unstructured) {
	metadata := object.Object["metadata"].(map[string]any)
	for _, name := range []string{"labels", "annotations", "finalizers"} {
		if value := reflect.ValueOf(metadata[name]); value.IsValid() && value.Len() == 0 {
			delete(metadata, name)
		}
	}
}

// keepServerFields restores in after what only the server changes, and refuses new finalizers on a terminating object.
func keepServerFields(before, after *unstructured.Unstructured) error {
	after.SetDeletionTimestamp(before.GetDeletionTimestamp())
	after.SetGeneration(before.GetGeneration())
	for _, finalizer := range after.GetFinalizers() {
		if before.GetDeletionTimestamp() != nil && !slices.Contains(before.GetFinalizers(), finalizer) {
			return errors.New("no new finalizers can be added if the object is being deleted")
		}
	}
	return nil
}

// withStatusOf is an object with the status of another, written by a manager.
func withStatusOf(before, changed *unstructured.Unstructured, manager string) *unstructured.Unstructured {
	after := before.DeepCopy()
	if reflect.DeepEqual(before.Object["status"], changed.Object["status"]) {
		return after
	}
	copyField(after.Object, changed.Object, "status")
	entries := slices.DeleteFunc(after.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "status" })
	if after.Object["status"] != nil {
		entries = append(entries, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:status":{}}`),
		})
	}
	after.SetManagedFields(entries)
	return after
}

// apply is a server-side apply.
func (s *modelServer) apply(name string, configuration *unstructured.Unstructured, manager string, force bool) (*unstructured.Unstructured, error) {
	before := s.objects[name]
	if before == nil || configuration.GetUID() != "" && configuration.GetUID() != before.GetUID() {
		return nil, apierrors.NewConflict(s.resource, name, errors.New("uid mismatch"))
	}
	after := before.DeepCopy()
	owned, others := ownershipOf(after)
	wanted, live := fieldsIn(configuration), fieldsIn(before)
	if conflicts := owned.conflicts(live, wanted, manager); len(conflicts) > 0 && !force {
		return nil, apierrors.NewApplyConflict(conflicts, fmt.Sprintf("Apply failed with %d conflicts", len(conflicts)))
	}
	for _, f := range owned.apply(live, wanted, manager) {
		unstructured.RemoveNestedField(after.Object, append(f.path(), f.key)...)
	}
	for f, value := range wanted {
		if err := unstructured.SetNestedField(after.Object, value, append(f.path(), f.key)...); err != nil {
			return nil, err
		}
	}
	if err := s.admit(after, false); err != nil {
		return nil, err
	}
	owned.setOn(after, others)
	return s.commit(before, after)
}

// delete deletes an object, at once if no finalizer keeps it.
func (s *modelServer) delete(name string, options metav1.DeleteOptions) error {
	before := s.objects[name]
	if before == nil {
		return apierrors.NewNotFound(s.resource, name)
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != before.GetUID() {
		return apierrors.NewConflict(s.resource, name, errors.New("the UID in the precondition is another"))
	}
	if before.GetDeletionTimestamp() != nil {
		return nil
	}
	after := before.DeepCopy()
	if p := options.PropagationPolicy; p != nil && propagationFinalizers[*p] != "" {
		after.SetFinalizers(append(after.GetFinalizers(), propagationFinalizers[*p]))
	}
	if len(after.GetFinalizers()) == 0 {
		s.store(name, nil)
		return nil
	}
	after.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1_700_000_000, 0)})
	if s.custom {
		after.SetGeneration(after.GetGeneration() + 1)
	}
	s.store(name, after)
	return nil
}

// propagationFinalizers are the finalizers that the garbage collector removes when it has dealt with what an object
// owns.
var propagationFinalizers = map[metav1.DeletionPropagation]string{
	metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents, metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
}

// collectGarbage is what the garbage collector does about the object.
func (s *modelServer) collectGarbage(name string) bool {
	if o := s.objects[name]; o == nil || o.GetDeletionTimestamp() == nil {
		return false
	}
	return s.change(name, "garbage-collector", func(o *unstructured.Unstructured) {
		removeFinalizers(o, metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents)
	})
}

func removeFinalizers(o *unstructured.Unstructured, names ...string) {
	o.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return slices.Contains(names, f) }))
}

// copyField sets a field as it is in another object, or removes it.
func copyField(to, from map[string]any, field string) {
	if value, found := from[field]; found {
		to[field] = value
	} else {
		delete(to, field)
	}
}

func applyMergePatch(to, patch map[string]any) {
	for name, value := range patch {
		below, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(to, name)
		case isMap:
			if _, ok := to[name].(map[string]any); !ok {
				to[name] = map[string]any{}
			}
			applyMergePatch(to[name].(map[string]any), below)
		default:
			to[name] = value
		}
	}
}

// applyJSONPatch applies the operations that the syncer uses, on fields of maps.
func applyJSONPatch(object map[string]any, body []byte) error {
	var operations []any
	if err := utiljson.Unmarshal(body, &operations); err != nil {
		return err
	}
	for _, each := range operations {
		operation := each.(map[string]any)
		path := strings.Split(strings.TrimPrefix(operation["path"].(string), "/"), "/")
		parent, name := path[:len(path)-1], path[len(path)-1]
		at, _, _ := unstructured.NestedFieldNoCopy(object, parent...)
		fields, ok := at.(map[string]any)
		value, found := fields[name]
		switch op := operation["op"]; {
		case !ok, op != "add" && !found:
			return fmt.Errorf("there is no %s", operation["path"])
		case op == "test" && !reflect.DeepEqual(value, operation["value"]):
			return fmt.Errorf("testing %s failed", operation["path"])
		case op == "remove":
			delete(fields, name)
		case op != "test":
			fields[name] = operation["value"]
		}
	}
	return nil
}

// field is one key of the data, the labels or the annotations of an object: what a manager can own.
type field struct{ parent, key string }

func (f field) path() []string { return strings.Split(f.parent, ".") }

var fieldParents = []string{"data", "metadata.labels", "metadata.annotations"}

// fieldsIn are the fields of an object with their values.
func fieldsIn(object *unstructured.Unstructured) map[field]string {
	found := map[field]string{}
	for _, parent := range fieldParents {
		values, _, _ := unstructured.NestedStringMap(object.Object, field{parent: parent}.path()...)
		for key, value := range values {
			found[field{parent, key}] = value
		}
	}
	return found
}

// owner is a field manager.
type owner struct {
	manager   string
	operation metav1.ManagedFieldsOperationType
}

// ownership says which fields each manager owns.
type ownership map[owner]map[field]bool

// ownershipOf reads the managedFields of an object; others are the entries for subresources.
func ownershipOf(object *unstructured.Unstructured) (owned ownership, others []metav1.ManagedFieldsEntry) {
	owned = ownership{}
	for _, entry := range object.GetManagedFields() {
		var tree map[string]any
		switch {
		case entry.Manager == "":
		case entry.Subresource != "":
			others = append(others, entry)
		case json.Unmarshal(entry.FieldsV1.GetRawBytes(), &tree) == nil:
			owned[owner{entry.Manager, entry.Operation}] = fieldsOfTree(tree)
		}
	}
	return owned, others
}

func fieldsOfTree(tree map[string]any) map[field]bool {
	found := map[field]bool{}
	for _, parent := range fieldParents {
		below, _, _ := unstructured.NestedMap(tree, prefixed(parent)...)
		for key := range below {
			if key, ok := strings.CutPrefix(key, "f:"); ok {
				found[field{parent, key}] = true
			}
		}
	}
	return found
}

func prefixed(parent string) []string {
	path := strings.Split(parent, ".")
	for i := range path {
		path[i] = "f:" + path[i]
	}
	return path
}

// setOn writes the managedFields of an object.
func (w ownership) setOn(object *unstructured.Unstructured, others []metav1.ManagedFieldsEntry) {
	var entries []metav1.ManagedFieldsEntry
	byName := func(a, b owner) int {
		return strings.Compare(a.manager+string(a.operation), b.manager+string(b.operation))
	}
	for _, o := range slices.SortedFunc(maps.Keys(w), byName) {
		if len(w[o]) == 0 {
			continue
		}
		tree := map[string]any{}
		for f := range w[o] {
			_ = unstructured.SetNestedMap(tree, map[string]any{}, append(prefixed(f.parent), "f:"+f.key)...)
		}
		raw, _ := json.Marshal(tree)
		entries = append(entries, metav1.ManagedFieldsEntry{
			Manager: o.manager, Operation: o.operation, APIVersion: object.GetAPIVersion(), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
		})
	}
	object.SetManagedFields(append(entries, others...))
}

// update gives the fields that an update has changed to its manager.
func (w ownership) update(before, after map[field]string, manager string) {
	for f := range before {
		if _, kept := after[f]; !kept {
			w.disown(f)
		}
	}
	for f, value := range after {
		if was, found := before[f]; !found || was != value {
			w.disown(f)
			w.own(owner{manager, metav1.ManagedFieldsOperationUpdate}, f)
		}
	}
}

// conflicts are those of an apply: other managers own fields that it sets to another value.
func (w ownership) conflicts(live, wanted map[field]string, manager string) (causes []metav1.StatusCause) {
	applier := owner{manager, metav1.ManagedFieldsOperationApply}
	for o, fields := range w {
		for f := range fields {
			if value, set := wanted[f]; set && o != applier && value != live[f] {
				causes = append(causes, metav1.StatusCause{
					Type: metav1.CauseTypeFieldManagerConflict, Message: fmt.Sprintf("conflict with %q", o.manager), Field: "." + f.parent + "." + f.key,
				})
			}
		}
	}
	slices.SortFunc(causes, func(a, b metav1.StatusCause) int { return strings.Compare(a.Field, b.Field) })
	return causes
}

// apply gives the fields of an apply to its manager, and returns those that go: nobody owns them any more.
func (w ownership) apply(live, wanted map[field]string, manager string) (gone []field) {
	applier := owner{manager, metav1.ManagedFieldsOperationApply}
	before := maps.Clone(w[applier])
	delete(w, applier)
	for f := range before {
		if _, kept := wanted[f]; !kept && !w.isOwned(f) {
			gone = append(gone, f)
		}
	}
	for f, value := range wanted {
		if value != live[f] {
			w.disown(f)
		}
		w.own(applier, f)
	}
	return gone
}

func (w ownership) own(o owner, f field) {
	if w[o] == nil {
		w[o] = map[field]bool{}
	}
	w[o][f] = true
}

func (w ownership) disown(f field) {
	for _, fields := range w {
		delete(fields, f)
	}
}

func (w ownership) isOwned(f field) bool { return w.isOwnedByOthers(f, "") }

// isOwnedByOthers tells whether another manager than this owns a field.
func (w ownership) isOwnedByOthers(f field, manager string) bool {
	for o, fields := range w {
		if o.manager != manager && fields[f] {
			return true
		}
	}
	return false
}

// request is a request of the syncer.
type request struct {
	server                  *modelServer
	verb, name, subresource string
	dryRun                  bool
	deletion                metav1.DeleteOptions
}

// isWrite tells whether the request may change something.
func (r request) isWrite() bool { return r.verb != "get" && !r.dryRun }

// modelClient is the syncer's client of a model server. Every request of it goes through send.
type modelClient struct {
	dynamic.ResourceInterface // for what the syncer does not call in a pass
	server                    *modelServer
	send                      func(request, func() (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error)
}

func (c *modelClient) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return c
}

func (c *modelClient) Namespace(string) dynamic.ResourceInterface { return c }

func (c *modelClient) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	return c.send(request{server: c.server, verb: "get", name: name}, func() (*unstructured.Unstructured, error) { return c.server.get(name) })
}

func (c *modelClient) Create(_ context.Context, o *unstructured.Unstructured, options metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	dryRun := len(options.DryRun) > 0
	return c.send(request{server: c.server, verb: "create", name: o.GetName(), dryRun: dryRun}, func() (*unstructured.Unstructured, error) {
		return c.server.create(o, options.FieldManager, dryRun)
	})
}

func (c *modelClient) Patch(_ context.Context, name string, kind types.PatchType, body []byte, options metav1.PatchOptions, sub ...string) (*unstructured.Unstructured, error) {
	subresource := strings.Join(sub, "/")
	return c.send(request{server: c.server, verb: "patch", name: name, subresource: subresource}, func() (*unstructured.Unstructured, error) {
		return c.server.patch(name, kind, body, options.FieldManager, subresource)
	})
}

func (c *modelClient) Apply(_ context.Context, name string, o *unstructured.Unstructured, options metav1.ApplyOptions, _ ...string) (*unstructured.Unstructured, error) {
	return c.send(request{server: c.server, verb: "apply", name: name}, func() (*unstructured.Unstructured, error) {
		return c.server.apply(name, o, options.FieldManager, options.Force)
	})
}

func (c *modelClient) Delete(_ context.Context, name string, options metav1.DeleteOptions, _ ...string) error {
	_, err := c.send(request{server: c.server, verb: "delete", name: name, deletion: options}, func() (*unstructured.Unstructured, error) {
		return nil, c.server.delete(name, options)
	})
	return err
}

// modelInformer is an informer that shows the history of a server's object as far as it was delivered.
type modelInformer struct {
	t         *testing.T
	server    *modelServer
	store     toolscache.Store
	handler   toolscache.ResourceEventHandler
	delivered int // the index in the history
}

// list delivers the state at an index as the first list does.
func (i *modelInformer) list(at int) {
	if i.delivered = at; i.server.history[at] == nil {
		return
	}
	packed := mustPack(i.t, i.server.history[at])
	i.must(i.store.Add(packed))
	i.handler.OnAdd(packed, true)
}

// skipTo delivers the state at an index and none before it, as a list does that follows a lost watch.
func (i *modelInformer) skipTo(at int) {
	before, after := i.server.history[i.delivered], i.server.history[at]
	i.delivered = at
	switch {
	case before == nil && after == nil:
	case after == nil:
		gone := mustPack(i.t, before)
		i.must(i.store.Delete(gone))
		i.handler.OnDelete(gone)
	case before == nil:
		packed := mustPack(i.t, after)
		i.must(i.store.Add(packed))
		i.handler.OnAdd(packed, false)
	default:
		packed := mustPack(i.t, after)
		i.must(i.store.Update(packed))
		i.handler.OnUpdate(mustPack(i.t, before), packed)
	}
}

// deliver delivers every state up to an index, as a watch does.
func (i *modelInformer) deliver(to int) {
	for i.delivered < to {
		i.skipTo(i.delivered + 1)
	}
}

// latest is the index of the present state.
func (i *modelInformer) latest() int { return len(i.server.history) - 1 }

func (i *modelInformer) must(err error) {
	if err != nil {
		i.t.Fatal(err)
	}
}

// modelTarget is the SyncTarget in kcp, with the Assignment of the Namespace "shop".
type modelTarget struct {
	object     workloadv1alpha1.SyncTarget
	assignment *workloadv1alpha1.Assignment
	// read is called with each read, and may make it fail.
	read func(*workloadv1alpha1.SyncTarget) error
}

func (m *modelTarget) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	live := m.object.DeepCopy()
	return live, m.read(live)
}

func (m *modelTarget) list() []*workloadv1alpha1.Assignment {
	return []*workloadv1alpha1.Assignment{m.assignment.DeepCopy()}
}

func (m *modelTarget) report(source.Assignment, source.Report) error {
	return errors.New("not expected in a pass over an object")
}

func (m *modelTarget) PatchStatus(context.Context, []byte) error {
	return errors.New("not expected in a pass over an object")
}

// newModelCache is the syncer's cache of a server, which an informer fills.
func newModelCache(informer *modelInformer, client dynamic.ResourceInterface, objects *cache.Assumed, notify func(string, bool)) *cache.ResourceCache {
	side := &cache.ResourceCache{Client: client, HasSynced: func() bool { return true }, Objects: objects}
	side.OnChange(notify)
	informer.handler = side.EventHandler()
	return side
}
