package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/fairqueue"
)

const (
	workers = 32
	// reportDelay and reportPatience are how long the first report on an object waits, again and again and in all, while
	// others wait for their copies.
	reportDelay    = 500 * time.Millisecond
	reportPatience = 5 * time.Second
	// retryBase and retryMax bound the backoff of one object; the others do not wait for it.
	retryBase = 100 * time.Millisecond
	retryMax  = time.Minute
	// discoveryInterval is the time between two looks at what both sides serve, for which there is no watch. After a start
	// and a change of the spec the looks begin at discoveryBase and double from there.
	discoveryBase     = time.Second
	discoveryInterval = time.Minute
	// passTimeout bounds one pass, which makes a handful of requests.
	passTimeout = 30 * time.Second
	// statusInterval is the least time between two reports on the resources.
	statusInterval = 30 * time.Second
)

// Upstream is the SyncTarget in kcp; its errors wrap the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// Config is what an Engine needs.
type Config struct {
	// Workspace and Cluster lead to the two sides.
	Workspace, Cluster *rest.Config
	// Target is the SyncTarget, and Owner what the copies are marked with.
	Target  Upstream
	Owner   Owner
	Metrics *Metrics
	Clock   clock.WithTicker
}

// Engine syncs. It runs on the leader alone.
type Engine struct {
	owner    Owner
	target   Upstream
	up, down dynamic.Interface
	discover [2]discovery.DiscoveryInterface
	schemas  schemas
	queue    workqueue.TypedRateLimitingInterface[item]
	metrics  *Metrics
	clock    clock.WithTicker

	targets cache.SharedIndexInformer
	// catalog is what both sides serve of what the SyncTarget asks for; set by discovering.
	catalog atomic.Pointer[[]Resource]

	mu     sync.Mutex
	places map[string]*place
	// refused says of a resource how a side refuses to list it; set by watch errors.
	refused map[workloadv1alpha1.GroupResource]string
	// asked wakes look, and changed report.
	asked, changed chan struct{}
	// settlements are the applies that changed nothing, by item.
	settlements sync.Map
}

// item is what waits in the queue: an object, a Namespace if there is no resource, or everything if there is neither.
type item struct {
	namespace string
	resource  workloadv1alpha1.GroupResource
	name      string
}

// New returns an Engine that is ready to Start.
func New(c Config) (*Engine, error) {
	e := &Engine{
		owner: c.Owner, target: c.Target, metrics: c.Metrics, clock: c.Clock, queue: newQueue(),
		asked: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		places: map[string]*place{}, refused: map[workloadv1alpha1.GroupResource]string{},
	}
	if e.clock == nil {
		e.clock = clock.RealClock{}
	}
	var err error
	if e.up, err = dynamic.NewForConfig(c.Workspace); err != nil {
		return nil, fmt.Errorf("preparing the connection to the workspace: %w", err)
	}
	if e.down, err = dynamic.NewForConfig(c.Cluster); err != nil {
		return nil, fmt.Errorf("preparing the connection to the physical cluster: %w", err)
	}
	for i, config := range []*rest.Config{c.Workspace, c.Cluster} {
		if e.discover[i], err = discovery.NewDiscoveryClientForConfig(config); err != nil {
			return nil, fmt.Errorf("preparing discovery: %w", err)
		}
	}
	e.schemas = schemas{workspace: e.discover[0].OpenAPIV3(), cluster: e.discover[1].OpenAPIV3(), verdicts: map[schema.GroupVersionKind]verdict{}}
	e.targets = e.newTargetInformer()
	return e, nil
}

// newQueue gives each Namespace its turn.
func newQueue() workqueue.TypedRateLimitingInterface[item] {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[item](retryBase, retryMax)
	return fairqueue.New("sync", limiter, func(i item) string { return i.namespace })
}

// newTargetInformer watches the one SyncTarget that we act for.
func (e *Engine) newTargetInformer() cache.SharedIndexInformer {
	client := e.up.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets"))
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, e.owner.Name).String()
	return cache.NewSharedIndexInformerWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return client.Watch(ctx, options)
		},
	}, &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{ObjectDescription: "SyncTarget"})
}

// NeedLeaderElection keeps the standbys from syncing.
func (e *Engine) NeedLeaderElection() bool { return true }

// Start syncs until ctx ends, and returns nil then.
func (e *Engine) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("sync"))
	everything := func(any) { e.queue.Add(item{}) }
	if _, err := e.targets.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: everything, UpdateFunc: func(_, object any) { everything(object) },
	}); err != nil {
		return fmt.Errorf("watching the SyncTarget: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { e.targets.RunWithContext(ctx) })
	running.Go(func() { e.look(ctx) })
	running.Go(func() { e.report(ctx) })
	for range workers {
		running.Go(func() {
			for e.work(ctx) {
			}
		})
	}
	<-ctx.Done()
	e.queue.ShutDown()
	running.Wait()
	return nil
}

// work does what is next in the queue.
func (e *Engine) work(ctx context.Context) bool {
	i, shutdown := e.queue.Get()
	if shutdown {
		return false
	}
	defer e.queue.Done(i)
	e.metrics.waiting(e.queue.Len())
	passCtx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	again, err := e.pass(passCtx, i)
	switch {
	case err == nil:
		e.queue.Forget(i)
		if again > 0 {
			e.queue.AddAfter(i, again)
		}
	case ctx.Err() != nil:
	default:
		log.FromContext(ctx).V(1).Info("trying again", "namespace", i.namespace, "resource", i.resource.String(), "name", i.name, "cause", err.Error())
		if wait, ok := apierrors.SuggestsClientDelay(err); ok && wait > 0 {
			e.queue.AddAfter(i, time.Duration(wait)*time.Second)
			return true
		}
		e.queue.AddRateLimited(i)
	}
	return true
}

func (e *Engine) pass(ctx context.Context, i item) (time.Duration, error) {
	if i == (item{}) {
		return 0, e.plan(ctx)
	}
	e.mu.Lock()
	p := e.places[i.namespace]
	e.mu.Unlock()
	if p == nil {
		return 0, nil
	}
	if i.resource.Resource == "" {
		return 0, e.closePlace(ctx, p)
	}
	if i.resource == eventItem {
		return e.relay(ctx, p, i.name)
	}
	l := p.lane(i.resource)
	if l == nil {
		return 0, nil
	}
	again, err := e.syncObject(ctx, p, l, i.name)
	signal(e.changed)
	if err == nil && p.ending() != nil {
		e.queue.Add(item{namespace: i.namespace}) // was it the last?
	}
	return again, err
}

// current is the SyncTarget as the cache shows it; nil if it does not, or shows another of the same name: then nothing
// is begun and nothing is ended.
func (e *Engine) current() *workloadv1alpha1.SyncTarget {
	for _, object := range e.targets.GetStore().List() {
		var target workloadv1alpha1.SyncTarget
		o, ok := object.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &target) != nil {
			continue
		}
		if string(target.UID) == e.owner.UID {
			return &target
		}
	}
	return nil
}

// plan opens and closes places as the SyncTarget's status says.
func (e *Engine) plan(ctx context.Context) error {
	target, catalog := e.current(), e.catalog.Load()
	if target == nil {
		return nil
	}
	if catalog == nil || !names(*catalog, target.Spec.Synced()) {
		signal(e.asked)
		return nil // comes back when it is known
	}
	named := map[string]bool{}
	var failures []error
	for _, n := range target.Status.Namespaces {
		named[n.Name] = true
		drained := slices.Contains(target.Status.DrainedNamespaces, n.Name)
		var err error
		switch n.State {
		case workloadv1alpha1.NamespaceOpen:
			if drained {
				// Taken back before anything is begun: our rights are about to be withdrawn on it.
				if err = e.reportDrained(ctx, n.Name, false); err != nil {
					break
				}
			}
			e.openPlace(ctx, n.Name, nil, *catalog)
		case workloadv1alpha1.NamespaceClosing:
			if drained {
				continue
			}
			var ending *closing
			if ending, err = e.confirm(ctx, n.Name); err == nil && ending != nil {
				e.openPlace(ctx, n.Name, ending, *catalog)
				e.queue.Add(item{namespace: n.Name})
			}
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	for _, name := range target.Status.DrainedNamespaces {
		if !named[name] {
			failures = append(failures, e.reportDrained(ctx, name, false))
		}
	}
	return errors.Join(failures...)
}

// confirm asks kcp itself whether a Namespace is closing; nil if not.
func (e *Engine) confirm(ctx context.Context, namespace string) (*closing, error) {
	e.mu.Lock()
	p := e.places[namespace]
	e.mu.Unlock()
	if p != nil && p.ending() != nil {
		return p.ending(), nil
	}
	live, err := e.target.Get(ctx)
	if err != nil {
		return nil, err
	}
	if string(live.UID) != e.owner.UID {
		return nil, nil
	}
	for _, n := range live.Status.Namespaces {
		if n.Name == namespace && n.State == workloadv1alpha1.NamespaceClosing {
			return &closing{orphan: live.DeletionTimestamp != nil && live.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan}, nil
		}
	}
	return nil, nil
}

// openPlace makes a place what it should be, and has everything in it looked at when that is something new.
func (e *Engine) openPlace(ctx context.Context, namespace string, ending *closing, catalog []Resource) {
	e.mu.Lock()
	p := e.places[namespace]
	if p == nil {
		p = newPlace(e.owner.Key, namespace)
		e.places[namespace] = p
		listening, cancel := context.WithCancel(context.Background()) // ends with the place, or with the process
		p.deafen = cancel
		e.listen(listening, p)
		log.FromContext(ctx).Info("Opening", "namespace", namespace, "counterpart", p.counterpart, "closing", ending != nil)
	}
	e.mu.Unlock()
	if p.setEnding(ending) {
		for _, l := range p.all() {
			e.lookAtAll(p, l)
		}
	}
	e.ensureLanes(p, catalog)
}

// ensureLanes follows the catalog. A resource that is no longer served is only no longer followed.
func (e *Engine) ensureLanes(p *place, catalog []Resource) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := map[workloadv1alpha1.GroupResource]bool{}
	for _, r := range catalog {
		if !r.followed() {
			continue
		}
		keep[r.GroupResource] = true
		if l := p.lanes[r.GroupResource]; l != nil {
			if l.resource.sameWay(r) {
				continue
			}
			l.stop()
		}
		p.lanes[r.GroupResource] = e.newLane(p, r)
	}
	for gr, l := range p.lanes {
		if !keep[gr] {
			l.stop()
			delete(p.lanes, gr)
		}
	}
}

// newLane starts the informers of a resource in a place.
func (e *Engine) newLane(p *place, r Resource) *lane {
	ctx, cancel := context.WithCancel(context.Background()) // ends with the place, or with the process
	l := &lane{
		resource: r, stop: cancel,
		up: newSide(e.up, r.GVR(), p.namespace, e.clock, ""),
	}
	sides := map[string]*side{"workspace": l.up}
	if !r.stranded() {
		l.down = newSide(e.down, r.GVR(), p.counterpart, e.clock, "")
		sides["physical cluster"] = l.down
	}
	for where, s := range sides {
		_ = s.follow(func(name string) {
			s.seen.LoadOrStore(name, e.clock.Now())
			e.queue.Add(item{namespace: p.namespace, resource: r.GroupResource, name: name})
		})
		_ = s.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) {
				e.note(r.GroupResource, fmt.Sprintf("the %s refuses to list it in an opened Namespace: %s", where, clip(err.Error())))
			}
			if apierrors.IsNotFound(err) {
				signal(e.asked) // it is served no more
			}
		})
		go s.informer.RunWithContext(ctx)
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), l.synced) {
			e.note(r.GroupResource, "")
			e.lookAtAll(p, l)
			e.queue.Add(item{namespace: p.namespace})
		}
	}()
	return l
}

// lookAtAll queues everything that is known of a resource in a place.
func (e *Engine) lookAtAll(p *place, l *lane) {
	names := l.up.names()
	if l.down != nil {
		names = append(names, l.down.names()...)
	}
	for _, name := range names {
		e.queue.Add(item{namespace: p.namespace, resource: l.resource.GroupResource, name: name})
	}
}

// stopPlace ends a place that has been left.
func (e *Engine) stopPlace(p *place) {
	p.deafen()
	for _, l := range p.all() {
		l.stop()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.places[p.namespace] == p {
		delete(e.places, p.namespace)
	}
}

func (e *Engine) note(resource workloadv1alpha1.GroupResource, refusal string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refused[resource] == refusal {
		return
	}
	if e.refused[resource] = refusal; refusal == "" {
		delete(e.refused, resource)
	}
	signal(e.changed)
}

// look asks both sides what they serve, again and again.
func (e *Engine) look(ctx context.Context) {
	delay := discoveryBase
	for {
		timer := e.clock.NewTimer(wait.Jitter(delay, 0.2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.asked:
			timer.Stop()
			delay = discoveryBase
		case <-timer.C():
			delay = min(2*delay, discoveryInterval)
		}
		target := e.current()
		if target == nil {
			continue // its event comes first
		}
		if err := e.relook(ctx, target); err != nil {
			log.FromContext(ctx).V(1).Info("discovery failed; what was known stands", "cause", err.Error())
		}
	}
}

// relook asks both sides what they serve, once.
func (e *Engine) relook(ctx context.Context, target *workloadv1alpha1.SyncTarget) error {
	wanted := target.Spec.Synced()
	leaving, err := e.leaving(ctx, target)
	if err != nil {
		return err
	}
	var sides [2]served
	for i, client := range e.discover {
		if sides[i], err = discover(client, slices.Concat(wanted, leaving)); err != nil {
			return err
		}
	}
	catalog := compile(wanted, sides[0], sides[1])
	e.schemas.judge(ctx, catalog)
	catalog = append(catalog, leaves(compile(leaving, sides[0], sides[1]))...)
	if before := e.catalog.Swap(&catalog); before == nil || !reflect.DeepEqual(*before, catalog) {
		e.queue.Add(item{})
		signal(e.changed)
	}
	return nil
}

// names tells whether the catalog is about these resources, beside those that are being left.
func names(catalog []Resource, wanted []workloadv1alpha1.GroupResource) bool {
	named := slices.DeleteFunc(slices.Clone(catalog), func(r Resource) bool { return r.Leaving })
	return slices.EqualFunc(named, wanted, func(r Resource, gr workloadv1alpha1.GroupResource) bool { return r.GroupResource == gr })
}

// leaving returns what the spec, read live, no longer names, and of what a copy may be left.
func (e *Engine) leaving(ctx context.Context, target *workloadv1alpha1.SyncTarget) ([]workloadv1alpha1.GroupResource, error) {
	if len(target.Leaving()) == 0 {
		return nil, nil
	}
	live, err := e.target.Get(ctx)
	if err != nil || string(live.UID) != e.owner.UID {
		return nil, err
	}
	return slices.DeleteFunc(live.Leaving(), func(gr workloadv1alpha1.GroupResource) bool {
		left, err := e.hasLeft(ctx, live, gr)
		if err != nil {
			log.FromContext(ctx).V(1).Info("cannot tell yet whether a resource is left", "resource", gr.String(), "cause", err.Error())
		}
		return left
	}), nil
}

// hasLeft asks both servers, for every opened Namespace, whether anything of ours is left of a resource.
func (e *Engine) hasLeft(ctx context.Context, target *workloadv1alpha1.SyncTarget, gr workloadv1alpha1.GroupResource) (bool, error) {
	for _, n := range target.Status.Namespaces {
		if n.State != workloadv1alpha1.NamespaceOpen && n.State != workloadv1alpha1.NamespaceClosing {
			continue
		}
		e.mu.Lock()
		p := e.places[n.Name]
		e.mu.Unlock()
		if p == nil {
			return false, nil
		}
		l := p.lane(gr)
		if l == nil || !l.resource.Leaving || !l.synced() {
			return false, nil
		}
		if mine, _, err := e.left(ctx, p, l); mine || err != nil {
			return false, err
		}
	}
	return true, nil
}

// reportDrained says, or takes back, that nothing of ours is left in a Namespace.
func (e *Engine) reportDrained(ctx context.Context, namespace string, drained bool) error {
	live, err := e.target.Get(ctx)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(slices.Clone(live.Status.DrainedNamespaces), func(n string) bool { return n == namespace })
	if drained {
		names = append(names, namespace)
	}
	slices.Sort(names)
	if string(live.UID) != e.owner.UID || slices.Equal(names, live.Status.DrainedNamespaces) {
		return nil
	}
	return e.patchTarget(ctx, live, "drainedNamespaces", names)
}

// signal wakes whoever waits on a channel of one element, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// report tells how the resources fare whenever that has changed, at most once in statusInterval.
func (e *Engine) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
		}
		if err := e.reportResources(ctx); err != nil {
			log.FromContext(ctx).V(1).Info("reporting on the resources failed; it is tried again", "cause", err.Error())
			signal(e.changed)
		}
		timer := e.clock.NewTimer(statusInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

func (e *Engine) reportResources(ctx context.Context) error {
	target, catalog := e.current(), e.catalog.Load()
	if target == nil || catalog == nil {
		return nil
	}
	report := e.resourceStatus(*catalog)
	if slices.EqualFunc(report, target.Status.SyncedResources, sameStatus) {
		return nil
	}
	live, err := e.target.Get(ctx) // the cache may be a heartbeat behind
	if err != nil {
		return err
	}
	return e.patchTarget(ctx, live, "syncedResources", report)
}

func (e *Engine) resourceStatus(catalog []Resource) []workloadv1alpha1.SyncedResourceStatus {
	e.mu.Lock()
	places, refused := slices.Collect(maps.Values(e.places)), maps.Clone(e.refused)
	e.mu.Unlock()
	out := make([]workloadv1alpha1.SyncedResourceStatus, 0, len(catalog))
	for _, r := range catalog {
		status := workloadv1alpha1.SyncedResourceStatus{
			Group: r.Group, Resource: r.Resource, Versions: r.Versions, State: r.State, Message: r.Message,
		}
		if refusal := refused[r.GroupResource]; refusal != "" && r.State == workloadv1alpha1.ResourceAccepted {
			status.State, status.Message = workloadv1alpha1.ResourceForbidden, refusal
		}
		status.Objects, status.Failing = e.count(places, r.GroupResource)
		out = append(out, status)
	}
	e.metrics.counted(out)
	return out
}

// count tells how many objects of a resource are held in these places, and how many of them fare badly.
func (e *Engine) count(places []*place, resource workloadv1alpha1.GroupResource) (objects, failing int32) {
	for _, p := range places {
		l := p.lane(resource)
		if l == nil {
			continue
		}
		for _, object := range l.up.informer.GetStore().List() {
			o := unpack(object)
			if o == nil || !slices.Contains(o.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(e.owner.Key)) {
				continue
			}
			objects++
			if report := parseReport(o.GetAnnotations()[workloadv1alpha1.SyncAnnotation(e.owner.Key)]); report.blamed() || report.Ready == string(kstatus.FailedStatus) {
				failing++
			}
		}
	}
	return objects, failing
}

func sameStatus(a, b workloadv1alpha1.SyncedResourceStatus) bool {
	return a.Group == b.Group && a.Resource == b.Resource && a.State == b.State && a.Message == b.Message && a.Objects == b.Objects && a.Failing == b.Failing && slices.Equal(a.Versions, b.Versions)
}

// patchTarget sets one field of the SyncTarget's status that is ours, unless it changed since it was read.
func (e *Engine) patchTarget(ctx context.Context, read *workloadv1alpha1.SyncTarget, field string, value any) error {
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": types.UID(e.owner.UID)},
		{"op": "test", "path": "/metadata/resourceVersion", "value": read.ResourceVersion},
		{"op": "add", "path": "/status/" + field, "value": value},
	})
	if err != nil {
		return err
	}
	return e.target.PatchStatus(ctx, patch)
}
