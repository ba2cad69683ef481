package sync

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// maxRequested is how many resource names the API lets status.syncedResources[].requested have.
const maxRequested = 32

// podRequests returns what the Pods of the copy request together; nil for no copy of ours, and for kinds without Pods.
func (o *objectReconciler) podRequests() corev1.ResourceList {
	if !o.isManaged(o.dst) {
		return nil
	}
	pod, count, err := podsOf(o.resource.api.GroupResource, o.dst)
	if err != nil || count <= 0 {
		return nil // the physical cluster stores no object of a built-in kind that its Go type cannot hold
	}
	requests := resourcehelper.PodRequests(&corev1.Pod{Spec: pod}, resourcehelper.PodResourcesOptions{})
	for name, quantity := range requests {
		quantity.Mul(int64(count))
		requests[name] = quantity
	}
	return requests
}

// podsOf returns what each Pod of a workload is, and how many there are to be; of Jobs, how many are active. Of kinds that are not
// built in, nothing is known.
func podsOf(synced workloadv1alpha1.GroupResource, workload *unstructured.Unstructured) (pod corev1.PodSpec, count int32, err error) {
	as := func(typed any) error {
		return runtime.DefaultUnstructuredConverter.FromUnstructured(workload.Object, typed)
	}
	switch synced.String() {
	case "pods":
		var p corev1.Pod
		if err = as(&p); err == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			return p.Spec, 1, nil
		}
	case "replicationcontrollers":
		var c corev1.ReplicationController
		if err = as(&c); err == nil && c.Spec.Template != nil {
			return c.Spec.Template.Spec, ptr.Deref(c.Spec.Replicas, 1), nil
		}
	case "replicasets.apps":
		var r appsv1.ReplicaSet
		err = as(&r)
		return r.Spec.Template.Spec, ptr.Deref(r.Spec.Replicas, 1), err
	case "deployments.apps":
		var d appsv1.Deployment
		err = as(&d)
		return d.Spec.Template.Spec, ptr.Deref(d.Spec.Replicas, 1), err
	case "statefulsets.apps":
		var s appsv1.StatefulSet
		err = as(&s)
		return s.Spec.Template.Spec, ptr.Deref(s.Spec.Replicas, 1), err
	case "daemonsets.apps":
		var d appsv1.DaemonSet
		err = as(&d)
		return d.Spec.Template.Spec, d.Status.DesiredNumberScheduled, err
	case "jobs.batch":
		var j batchv1.Job
		err = as(&j)
		return j.Spec.Template.Spec, j.Status.Active, err
	case "cronjobs.batch":
		var c batchv1.CronJob
		err = as(&c)
		job := c.Spec.JobTemplate.Spec
		return job.Template.Spec, ptr.Deref(job.Parallelism, 1) * int32(len(c.Status.Active)), err
	}
	return corev1.PodSpec{}, 0, err
}

// sumPodRequests adds up what the objects of a resource request in these Namespaces; nil for nothing.
func sumPodRequests(namespaces map[source.Namespace]*namespaceSync, synced workloadv1alpha1.GroupResource) map[string]resource.Quantity {
	total := map[string]resource.Quantity{}
	for _, p := range namespaces {
		if l := p.resource(synced); l != nil {
			l.counts.addPodRequests(total)
		}
	}
	return clipRequested(total)
}

// addPodRequests adds what the objects request to total.
func (c *objectCounts) addPodRequests(total map[string]resource.Quantity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tallies {
		for name, quantity := range t.requests {
			sum := total[string(name)]
			sum.Add(quantity)
			total[string(name)] = sum
		}
	}
}

// clipRequested keeps as many resource names as the API takes: those of Kubernetes, as cpu and memory, before extended ones.
func clipRequested(total map[string]resource.Quantity) map[string]resource.Quantity {
	if len(total) == 0 {
		return nil
	}
	if len(total) <= maxRequested {
		return total
	}
	var native, extended []string
	for name := range total {
		if strings.Contains(name, "/") {
			extended = append(extended, name)
		} else {
			native = append(native, name)
		}
	}
	slices.Sort(native)
	slices.Sort(extended)
	for _, name := range slices.Concat(native, extended)[maxRequested:] {
		delete(total, name)
	}
	return total
}

// atLeastRequested is the greater of each quantity.
func atLeastRequested(a, b map[string]resource.Quantity) map[string]resource.Quantity {
	out := map[string]resource.Quantity{}
	for _, quantities := range []map[string]resource.Quantity{a, b} {
		for name, quantity := range quantities {
			if known, ok := out[name]; !ok || known.Cmp(quantity) < 0 {
				out[name] = quantity
			}
		}
	}
	return clipRequested(out)
}
