package sync

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// twoContainers is a Pod that requests 300m of CPU and 64Mi of memory.
func twoContainers() map[string]any {
	return map[string]any{"containers": []any{
		map[string]any{"name": "a", "resources": map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "64Mi"}}},
		map[string]any{"name": "b", "resources": map[string]any{"requests": map[string]any{"cpu": "200m"}}},
	}}
}

// workload is the copy of an object with this spec and status.
func workload(apiVersion, kind string, spec, status map[string]any) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		o.SetAPIVersion(apiVersion)
		o.SetKind(kind)
		o.Object["spec"], o.Object["status"] = spec, status
	}
}

func strOf(quantities map[string]resource.Quantity) map[string]string {
	out := map[string]string{}
	for name, q := range quantities {
		out[name] = q.String()
	}
	return out
}

// TestPodRequests: a copy requests what its Pods do, by how many there are to be, and only while it is a copy of ours.
func TestPodRequests(t *testing.T) {
	template := func(more map[string]any) map[string]any {
		spec := map[string]any{"template": map[string]any{"spec": twoContainers()}}
		maps.Copy(spec, more)
		return spec
	}
	core := func(name string) workloadv1alpha1.GroupResource {
		return workloadv1alpha1.GroupResource{Resource: name}
	}
	apps := func(name string) workloadv1alpha1.GroupResource {
		return workloadv1alpha1.GroupResource{Group: "apps", Resource: name}
	}
	batch := func(name string) workloadv1alpha1.GroupResource {
		return workloadv1alpha1.GroupResource{Group: "batch", Resource: name}
	}
	one := map[string]string{"cpu": "300m", "memory": "64Mi"}
	three := map[string]string{"cpu": "900m", "memory": "192Mi"}
	for name, tc := range map[string]struct {
		resource workloadv1alpha1.GroupResource
		copy     func(*unstructured.Unstructured)
		want     map[string]string
	}{
		"a Pod":                       {core("pods"), workload("v1", "Pod", twoContainers(), nil), one},
		"a Pod that has ended":        {core("pods"), workload("v1", "Pod", twoContainers(), map[string]any{"phase": "Succeeded"}), nil},
		"a Pod that has failed":       {core("pods"), workload("v1", "Pod", twoContainers(), map[string]any{"phase": "Failed"}), nil},
		"a ReplicationController":     {core("replicationcontrollers"), workload("v1", "ReplicationController", template(map[string]any{"replicas": int64(3)}), nil), three},
		"one without a template":      {core("replicationcontrollers"), workload("v1", "ReplicationController", map[string]any{}, nil), nil},
		"a ReplicaSet":                {apps("replicasets"), workload("apps/v1", "ReplicaSet", template(map[string]any{"replicas": int64(3)}), nil), three},
		"a Deployment":                {apps("deployments"), workload("apps/v1", "Deployment", template(map[string]any{"replicas": int64(3)}), nil), three},
		"one without replicas":        {apps("deployments"), workload("apps/v1", "Deployment", template(nil), nil), one},
		"one scaled to zero":          {apps("deployments"), workload("apps/v1", "Deployment", template(map[string]any{"replicas": int64(0)}), nil), nil},
		"a StatefulSet":               {apps("statefulsets"), workload("apps/v1", "StatefulSet", template(map[string]any{"replicas": int64(3)}), nil), three},
		"a DaemonSet":                 {apps("daemonsets"), workload("apps/v1", "DaemonSet", template(nil), map[string]any{"desiredNumberScheduled": int64(3)}), three},
		"a Job":                       {batch("jobs"), workload("batch/v1", "Job", template(map[string]any{"parallelism": int64(5)}), map[string]any{"active": int64(3)}), three},
		"a Job that has ended":        {batch("jobs"), workload("batch/v1", "Job", template(nil), map[string]any{"succeeded": int64(3)}), nil},
		"a ConfigMap":                 {core("configmaps"), workload("v1", "ConfigMap", nil, nil), nil},
		"a kind that is not built in": {workloadv1alpha1.GroupResource{Group: "example.com", Resource: "deployments"}, workload("example.com/v1", "Deployment", template(nil), nil), nil},
		"a CronJob": {
			batch("cronjobs"), workload("batch/v1", "CronJob",
				map[string]any{"jobTemplate": map[string]any{"spec": template(nil)}}, map[string]any{"active": []any{map[string]any{}, map[string]any{}, map[string]any{}}}), three,
		},
		"an overhead and an init container": {apps("deployments"), workload("apps/v1", "Deployment", map[string]any{"template": map[string]any{"spec": map[string]any{
			"overhead":       map[string]any{"cpu": "50m"},
			"initContainers": []any{map[string]any{"name": "i", "resources": map[string]any{"requests": map[string]any{"memory": "1Gi"}}}},
			"containers":     twoContainers()["containers"],
		}}}, nil), map[string]string{"cpu": "350m", "memory": "1Gi"}},
		"no copy of ours": {core("pods"), func(o *unstructured.Unstructured) {
			workload("v1", "Pod", twoContainers(), nil)(o)
			o.SetLabels(nil)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestNamespace(shopNamespace)
			l := &resourceSync{api: discovery.Resource{GroupResource: tc.resource}}
			p.resources[tc.resource] = l
			dst := copied(t)
			tc.copy(dst)
			pass := &objectReconciler{Controller: &Controller{owner: testOwner}, namespace: p, resource: l, name: "a", src: sourceOf(), dst: dst}
			pass.recordCount()
			namespaces := map[source.Namespace]*namespaceSync{shopNamespace: p}
			if tc.want == nil {
				tc.want = map[string]string{}
			}
			if diff := cmp.Diff(tc.want, strOf(sumPodRequests(namespaces, tc.resource))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			pass.src, pass.dst = nil, nil
			pass.recordCount()
			if sum := sumPodRequests(namespaces, tc.resource); sum != nil {
				t.Errorf("the object is gone, and requests %v", strOf(sum))
			}
		})
	}
}

// TestRequestedLimit: the API takes 32 names, and more would cost the whole status. cpu and memory are always among them.
func TestRequestedLimit(t *testing.T) {
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	for i := range 40 {
		requests[corev1.ResourceName(fmt.Sprintf("a.example.com/device-%02d", i))] = resource.MustParse("1")
	}
	var counts objectCounts
	counts.record("a", true, tally{requests: requests})
	total := map[string]resource.Quantity{}
	counts.addPodRequests(total)
	for name, got := range map[string]map[string]resource.Quantity{"the sum": clipRequested(total), "what stands": atLeastRequested(nil, total)} {
		if cpu, memory := got["cpu"], got["memory"]; len(got) != maxRequested || cpu.String() != "1" || memory.String() != "1Gi" {
			t.Errorf("%s has %d names, %s of CPU, %s of memory", name, len(got), cpu.String(), memory.String())
		}
	}
}

// TestRequestedIsReported: it is a part of the status, and after a restart what was reported stands until all is counted.
func TestRequestedIsReported(t *testing.T) {
	deployments := workloadv1alpha1.GroupResource{Group: "apps", Resource: "deployments"}
	catalog := []discovery.Resource{{GroupResource: deployments, Kind: "Deployment", Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted}}
	told := []workloadv1alpha1.SyncedResourceStatus{{
		Group: "apps", Resource: "deployments", Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted, Objects: 1,
		Requested: map[string]resource.Quantity{"cpu": resource.MustParse("2"), "memory": resource.MustParse("32Mi")},
	}}
	p := newTestNamespace(shopNamespace)
	client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	l := &resourceSync{api: catalog[0], up: cache.New(client, schema.GroupVersionResource{}, p.upstream.Name, clock.RealClock{}, "")}
	p.resources[deployments] = l
	e := &Controller{owner: testOwner, namespaces: map[source.Namespace]*namespaceSync{shopNamespace: p}}
	plan := planOf(workloadv1alpha1.SyncTargetStatus{SyncedResources: told}, assigned("shop", intentOfRun))
	requested := func() map[string]string { return strOf(e.resourceStatuses(catalog, plan)[0].Requested) }

	l.counts.expect([]string{"a"})
	if diff := cmp.Diff(map[string]string{"cpu": "2", "memory": "32Mi"}, requested()); diff != "" {
		t.Errorf("before the first pass: -want +got\n%s", diff)
	}
	l.counts.expect([]string{"a", "b"})
	l.counts.record("a", true, tally{requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}})
	if diff := cmp.Diff(map[string]string{"cpu": "2", "memory": "1Gi"}, requested()); diff != "" {
		t.Errorf("after a pass over one of two: -want +got\n%s", diff)
	}
	l.counts.record("b", true, tally{})
	if diff := cmp.Diff(map[string]string{"memory": "1Gi"}, requested()); diff != "" {
		t.Errorf("after all passes: -want +got\n%s", diff)
	}
	now := e.resourceStatuses(catalog, plan)[0]
	again := now
	again.Requested = map[string]resource.Quantity{"memory": resource.MustParse("1024Mi")}
	if !sameStatus(now, again) {
		t.Error("the same quantity in another notation is a change")
	}
	again.Requested = map[string]resource.Quantity{"memory": resource.MustParse("2Gi")}
	if sameStatus(now, again) {
		t.Error("another quantity is no change")
	}
}
