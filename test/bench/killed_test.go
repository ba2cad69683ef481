//go:build bench

package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	fleetNamespaces = 20
	fleetObjects    = 50 // in each
	fleetPace       = 50 * time.Millisecond
	// floorEvery is how many changes of the fleet there are to one of the floor, which has fleetObjects in all.
	floorEvery = 4
)

// TestKilledFleet changes the objects of many Namespaces in turn while the syncer is killed three times. Nothing may be lost, and
// nothing made anew. The floor is a bare client for one Namespace, which nobody kills.
func TestKilledFleet(t *testing.T) {
	duration := time.Duration(size(t, "BENCH_FLEET", 60)) * time.Second
	s := newInstalled(t, nil)
	namespaces := s.open("fleet", fleetNamespaces)
	s.fill(namespaces, fleetNamespaces*fleetObjects, 64)
	uids := map[string]map[string]string{}
	for _, namespace := range namespaces {
		_, uids[namespace] = s.copies(namespace)
	}
	fleet, floor := newTracker(), newTracker()
	for _, namespace := range namespaces {
		s.track(s.counterpart(namespace), namespace, fleet)
	}
	s.startBareCopier("floor-1", "bench-floor-"+s.target.Status.Key, floor)

	kills := []func(){s.killProcess, s.deletePodNow, s.killProcess}
	began, changed := time.Now(), 0
	ticker := time.NewTicker(fleetPace)
	defer ticker.Stop()
	for killed := 0; time.Since(began) < duration; changed++ {
		<-ticker.C
		// A sixth, a half and five sixths of the time.
		if killed < len(kills) && time.Since(began) > duration*time.Duration(2*killed+1)/time.Duration(2*len(kills)) {
			kills[killed]()
			killed++
		}
		i := changed % (fleetNamespaces * fleetObjects)
		s.changeTracked(fleet, namespaces[i%fleetNamespaces], fmt.Sprintf("config-%d", i), changed)
		if changed%floorEvery == 0 {
			s.changeTracked(floor, "floor-1", fmt.Sprintf("config-%d", changed/floorEvery%fleetObjects), changed)
		}
	}
	fleet.await(t)
	floor.await(t)

	var lost, doubled []string
	for _, namespace := range namespaces {
		without, without2 := s.differences(namespace, 30*time.Second)
		lost, doubled = append(lost, without...), append(doubled, without2...)
		_, after := s.copies(namespace)
		assert.Equal(t, uids[namespace], after, "the UIDs of the copies in %s: nothing was made anew", namespace)
	}
	out := newTable("%d objects in %d Namespaces, %d changes in %s, the syncer killed %d times", fleetNamespaces*fleetObjects, fleetNamespaces, changed, duration, len(kills))
	out.row("", "p50", "p99", "most")
	for _, of := range []struct {
		name string
		*tracker
	}{{"floor, not killed", floor}, {"sync", fleet}} {
		out.row("change upstream → visible downstream, "+of.name, milliseconds(percentile(of.took, 50)), milliseconds(percentile(of.took, 99)), milliseconds(percentile(of.took, 100)))
	}
	out.row("objects without a copy that is like them", len(lost))
	out.row("copies without an object", len(doubled))
	out.print()
	assert.Empty(t, lost)
	assert.Empty(t, doubled)
}

// deletePodNow deletes the syncer's pod without a grace period.
func (s *installed) deletePodNow() {
	assert.NoError(s.t, s.there.CoreV1().Pods(s.home).Delete(s.t.Context(), s.pod().Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
}

// tracker knows how long changes take. Each has a number, which later ones exceed, and a later one stands for those before it.
type tracker struct {
	mu      sync.Mutex
	pending map[string]map[int]time.Time // by object
	took    []time.Duration
}

func newTracker() *tracker { return &tracker{pending: map[string]map[int]time.Time{}} }

// begin notes that an object is about to be changed.
func (t *tracker) begin(object string, number int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending[object] == nil {
		t.pending[object] = map[int]time.Time{}
	}
	t.pending[object][number] = time.Now()
}

// arrive notes that a change has arrived.
func (t *tracker) arrive(object string, number int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for waiting, since := range t.pending[object] {
		if waiting <= number {
			t.took = append(t.took, time.Since(since))
			delete(t.pending[object], waiting)
		}
	}
}

// await waits until every change has arrived. What has not is a failure.
func (t *tracker) await(test *testing.T) {
	test.Helper()
	left := 0
	for began := time.Now(); time.Since(began) < patience; sleep(test, tick) {
		t.mu.Lock()
		left = 0
		for _, of := range t.pending {
			left += len(of)
		}
		t.mu.Unlock()
		if left == 0 {
			return
		}
	}
	assert.Zero(test, left, "changes that have not arrived")
}

// changeTracked changes a ConfigMap.
func (s *installed) changeTracked(t *tracker, namespace, name string, number int) {
	s.t.Helper()
	t.begin(namespace+"/"+name, number)
	_, err := s.upBare.Resource(configMaps).Namespace(namespace).Patch(s.t.Context(), name, types.MergePatchType, numberPatch(number), metav1.PatchOptions{})
	require.NoError(s.t, err)
}

func numberPatch(number int) []byte { return fmt.Appendf(nil, `{"data":{"n":"%d"}}`, number) }

// numberOf is what changeTracked has last changed an object to.
func numberOf(o any) (name string, number int, ok bool) {
	c, isObject := o.(*unstructured.Unstructured)
	if !isObject {
		return "", 0, false
	}
	text, _, _ := unstructured.NestedString(c.Object, "data", "n")
	number, err := strconv.Atoi(text)
	return c.GetName(), number, err == nil
}

// track notes which changes of the ConfigMaps of a Namespace arrive in its downstream Namespace.
func (s *installed) track(there, namespace string, t *tracker) {
	s.t.Helper()
	s.onChange(s.downBare, there, func(o any) {
		if name, number, ok := numberOf(o); ok {
			t.arrive(namespace+"/"+name, number)
		}
	})
}

// onChange calls changed for each ConfigMap of a Namespace, and whenever one changes, until the test ends.
func (s *installed) onChange(side dynamic.Interface, namespace string, changed func(o any)) {
	s.t.Helper()
	informer := dynamicinformer.NewFilteredDynamicInformer(side, configMaps, namespace, 0, nil, nil).Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }})
	require.NoError(s.t, err)
	go informer.RunWithContext(s.t.Context())
	require.True(s.t, cache.WaitForCacheSync(s.t.Context().Done(), informer.HasSynced))
}

// startBareCopier makes a Namespace on each side with the same ConfigMaps, and copies what changeTracked changes upstream.
func (s *installed) startBareCopier(namespace, there string, t *tracker) {
	s.t.Helper()
	require.NoError(s.t, s.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	_, err := s.there.CoreV1().Namespaces().Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: there}}, metav1.CreateOptions{})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = s.there.CoreV1().Namespaces().Delete(context.Background(), there, metav1.DeleteOptions{}) })
	for i := range fleetObjects {
		name := fmt.Sprintf("config-%d", i)
		s.create(namespace, name, 64, nil)
		_, err := s.there.CoreV1().ConfigMaps(there).Create(s.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(s.t, err)
	}
	s.track(there, namespace, t)
	s.onChange(s.upBare, namespace, func(o any) {
		name, number, ok := numberOf(o)
		if !ok {
			return
		}
		_, err := s.downBare.Resource(configMaps).Namespace(there).Patch(s.t.Context(), name, types.MergePatchType, numberPatch(number), metav1.PatchOptions{})
		if err != nil && s.t.Context().Err() == nil {
			s.t.Errorf("the floor copies %s: %v", name, err)
		}
	})
}
