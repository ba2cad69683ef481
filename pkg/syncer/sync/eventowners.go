package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
)

// The owner of a Pod is looked up in the physical cluster. Thousands of Pods that fail alike must not cost thousands of
// requests. Therefore Events that say the same about Pods of one name prefix are a group, of which a few are looked up,
// and the look-ups of all Namespaces together are limited.

const (
	// maxOwners is how far an Event's object may be from its copy: Pod, Job, CronJob. A look-up makes at most as many
	// requests.
	maxOwners = 3
	// lookupRate is how many look-ups there are a second, and lookupBurst how many there are at once.
	lookupRate, lookupBurst = 1, 10
	// lookupWait is the shortest time after which an Event is tried again that was beyond this limit. The longest time
	// is twice as long.
	lookupWait = 10 * time.Second
)

// owned are the kinds between a copy and its Pods.
var owned = map[schema.GroupKind]schema.GroupVersionResource{
	{Kind: "Pod"}:                       {Version: "v1", Resource: "pods"},
	{Group: "apps", Kind: "ReplicaSet"}: {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Kind: "Job"}:       {Group: "batch", Version: "v1", Resource: "jobs"},
}

// sourceOf returns the user's object that an Event is about in the end, nil for none, or where others of its group have
// been looked up.
func (e *Controller) sourceOf(ctx context.Context, p *namespaceSync, event *corev1.Event) (*unstructured.Unstructured, error) {
	gk := schema.FromAPIVersionAndKind(event.InvolvedObject.APIVersion, event.InvolvedObject.Kind).GroupKind()
	source, err := e.sourceOfCopy(p, gk, event.InvolvedObject.Name)
	if source != nil || err != nil {
		return source, err
	}
	if _, hasOwner := owned[gk]; !hasOwner {
		return nil, nil
	}
	switch p.admitLookup(lookupGroupOf(event), event.Name, e.clock.Now(), e.lookupLimiter.TryAccept) {
	case lookupRedundant:
		return nil, nil
	case lookupLimited:
		return nil, errLookupLimit
	}
	return e.lookUpSource(ctx, p, gk, event.InvolvedObject.Name)
}

// lookUpSource asks the physical cluster for the owners of an object until one is a copy, and returns what that is a
// copy of.
func (e *Controller) lookUpSource(ctx context.Context, p *namespaceSync, gk schema.GroupKind, name string) (*unstructured.Unstructured, error) {
	for range maxOwners {
		gvr, hasOwner := owned[gk]
		if !hasOwner {
			return nil, nil
		}
		object, err := e.down.Resource(gvr).Namespace(p.downstreamNamespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s %q in the physical cluster: %w", gk.Kind, p.downstreamNamespace+"/"+name, err)
		}
		owner := metav1.GetControllerOf(object)
		if owner == nil {
			return nil, nil
		}
		gk, name = schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind(), owner.Name
		if source, err := e.sourceOfCopy(p, gk, name); source != nil || err != nil {
			return source, err
		}
	}
	return nil, nil
}

// lookupGroup is what Events have in common that say the same about objects of one generated name.
type lookupGroup struct {
	kind, namePrefix, reason, text string
}

func lookupGroupOf(event *corev1.Event) lookupGroup {
	return lookupGroup{
		kind: event.InvolvedObject.Kind, namePrefix: generatedNamePrefix(event.InvolvedObject.Name), reason: event.Reason, text: textOf(event),
	}
}

// generatedNamePrefix returns a name without its last one or two parts that controllers generate: "web" of the Pod
// "web-7d9f8b6c5d-x2x4z" and of the ReplicaSet "web-7d9f8b6c5d".
func generatedNamePrefix(name string) string {
	for range 2 {
		at := strings.LastIndex(name, "-")
		if at < 0 || !isGenerated(name[at+1:]) {
			break
		}
		name = name[:at]
	}
	return name
}

// isGenerated tells whether a controller has generated a part of a name. Then it is a number, as in the Pods of a
// StatefulSet and the Jobs of a CronJob, or it consists of the characters of k8s.io/apimachinery/pkg/util/rand: 5 from
// the API server, up to 10 from a Deployment, or both without a dash where the API server has cut a long name.
func isGenerated(part string) bool {
	const digits, random = "0123456789", "bcdfghjklmnpqrstvwxz2456789"
	isNumber, isRandom := strings.Trim(part, digits) == "", strings.Trim(part, random) == ""
	return part != "" && isNumber || len(part) >= 5 && len(part) <= 15 && isRandom
}

// newLookupLimiter returns the limit of the look-ups of all Namespaces.
func newLookupLimiter(clock clock.PassiveClock) flowcontrol.PassiveRateLimiter {
	return flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(lookupRate, lookupBurst, clock)
}

// lookupAdmission is whether an Event may be looked up.
type lookupAdmission int

const (
	lookupAdmitted lookupAdmission = iota
	// lookupRedundant: enough Events of its group have been looked up.
	lookupRedundant
	// lookupLimited: there have been too many look-ups of all kinds.
	lookupLimited
)

// admitLookup tells whether an Event may be looked up, and notes that it is. An Event that is looked up again, as after
// a failure, counts once in its group.
func (p *namespaceSync) admitLookup(group lookupGroup, event string, now time.Time, hasToken func() bool) lookupAdmission {
	p.mu.Lock()
	defer p.mu.Unlock()
	for g, lookups := range p.recentLookups {
		maps.DeleteFunc(lookups, func(_ string, at time.Time) bool { return now.Sub(at) >= eventPace })
		if len(lookups) == 0 {
			delete(p.recentLookups, g)
		}
	}
	lookups := p.recentLookups[group]
	if _, again := lookups[event]; !again && len(lookups) >= maxEventsPerReason {
		return lookupRedundant
	}
	if !hasToken() {
		return lookupLimited
	}
	if lookups == nil {
		lookups = map[string]time.Time{}
		p.recentLookups[group] = lookups
	}
	lookups[event] = now
	return lookupAdmitted
}

var (
	// errUnlisted tells that it is not known yet what has copies.
	errUnlisted = errors.New("not everything has been listed")
	// errLookupLimit tells that the limit of the look-ups has been reached.
	errLookupLimit = errors.New("too many look-ups of owners")
)

// sourceOfCopy returns the object that one in the downstream Namespace is a copy of, nil if it is no copy.
func (e *Controller) sourceOfCopy(p *namespaceSync, gk schema.GroupKind, name string) (*unstructured.Unstructured, error) {
	for _, l := range p.allResources() {
		if l.api.Kind != gk.Kind || l.api.Group != gk.Group || l.down == nil {
			continue
		}
		if !l.hasSynced() {
			return nil, errUnlisted
		}
		dst, _ := l.down.Objects.Get(p.downstreamNamespace + "/" + name)
		if !e.isManaged(dst) {
			return nil, nil
		}
		src, _ := l.up.Objects.Get(p.upstream.Key(name))
		return src, nil
	}
	return nil, nil
}
