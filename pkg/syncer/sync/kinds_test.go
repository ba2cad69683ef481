package sync

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

func TestKinds(t *testing.T) {
	for resource, want := range map[workloadv1alpha1.GroupResource]struct{ serves, first bool }{
		{Group: "apps", Resource: "deployments"}:                      {true, false},
		{Group: "apps", Resource: "statefulsets"}:                     {true, false},
		{Group: "apps", Resource: "daemonsets"}:                       {true, false},
		{Group: "apps", Resource: "replicasets"}:                      {true, false},
		{Group: "apps", Resource: "controllerrevisions"}:              {false, false},
		{Resource: "pods"}:                                            {true, false},
		{Resource: "services"}:                                        {false, false},
		{Resource: "configmaps"}:                                      {false, false},
		{Resource: "persistentvolumeclaims"}:                          {false, true},
		{Group: "batch", Resource: "jobs"}:                            {false, true},
		{Group: "batch", Resource: "cronjobs"}:                        {false, true},
		{Group: "autoscaling", Resource: "horizontalpodautoscalers"}:  {false, false},
		{Group: "networking.k8s.io", Resource: "ingresses"}:           {false, false},
		{Group: "gateway.networking.k8s.io", Resource: "gateways"}:    {false, false},
		{Group: "example.com", Resource: "jobs"}:                      {true, false},
		{Group: "cluster.x-k8s.io", Resource: "machinedeployments"}:   {true, false},
		{Group: "example.com", Resource: "persistentvolumeclaims"}:    {true, false},
		{Group: "policy", Resource: "poddisruptionbudgets"}:           {false, false},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebinding"}: {false, false},
	} {
		if got := serves(resource); got != want.serves {
			t.Errorf("serves(%s) = %t", resource, got)
		}
		if got := runsOnFirstAlone(resource); got != want.first {
			t.Errorf("runsOnFirstAlone(%s) = %t", resource, got)
		}
	}
}

// TestSecondClusterMakesNoJob: what runs on the first cluster alone gets no copy and no finalizer on another, and says so. A copy
// that there is stays.
func TestSecondClusterMakesNoJob(t *testing.T) {
	jobs := workloadv1alpha1.GroupResource{Group: "batch", Resource: "jobs"}
	for name, tc := range map[string]struct {
		resource workloadv1alpha1.GroupResource
		first    bool
		copied   bool
		want     []string
		counted  int32
		says     bool
	}{
		"a Job on the first":           {jobs, true, false, []string{"down create", "up patch", "up patch"}, 1, false},
		"a Job on the second":          {jobs, false, false, []string{"up patch"}, 0, true},
		"a CronJob on the second":      {workloadv1alpha1.GroupResource{Group: "batch", Resource: "cronjobs"}, false, false, []string{"up patch"}, 0, true},
		"a claim on the second":        {persistentVolumeClaims, false, false, []string{"up patch"}, 0, true},
		"a ConfigMap on the second":    {workloadv1alpha1.GroupResource{Resource: "configmaps"}, false, false, []string{"down create", "up patch", "up patch"}, 1, false},
		"a Job that has a copy":        {jobs, false, true, []string{"up patch"}, 1, false},
		"a claim that has a copy, too": {persistentVolumeClaims, false, true, []string{"up patch"}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := sourceOf(fresh), (*unstructured.Unstructured)(nil)
			if tc.copied {
				src, dst = sourceOf(), copied(t)
			}
			s := newServer(t, src, dst)
			s.pass.resource.api.GroupResource = tc.resource
			s.pass.namespace.setRole(role{first: tc.first})
			for _, when := range []string{"new", "at rest"} {
				if _, err := s.run(t); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, s.writes(t)); diff != "" {
					t.Errorf("%s: writes: -want +got\n%s", when, diff)
				}
			}
			live := s.live(t)
			if s.pass.Controller.hasFinalizer(live) == tc.says || strings.Contains(s.report(t).Message, "runs on the first of the clusters") != tc.says {
				t.Errorf("finalizers %q, report %+v", live.GetFinalizers(), s.report(t))
			}
			if got := s.pass.resource.counts.sum(); got.Applied != tc.counted || got.Failing != 0 {
				t.Errorf("counted are %+v", got)
			}
		})
	}
}

// TestRoleChanges: when a cluster becomes the first, or its status counts, its objects are looked at, and get what they had not.
func TestRoleChanges(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	p, l := s.pass.namespace, s.pass.resource
	l.api.GroupResource = persistentVolumeClaims
	p.resources[persistentVolumeClaims] = l
	s.pass.namespaces = map[source.Namespace]*namespaceSync{shopNamespace: p}
	update := func(change func(*workloadv1alpha1.Assignment)) (queued bool) {
		t.Helper()
		s.pass.updateRole(planOf(workloadv1alpha1.SyncTargetStatus{}, assigned("shop", intentOfRun, change)).Assignment(shopNamespace))
		for s.pass.queue.Len() > 0 {
			i, _ := s.pass.queue.Get()
			queued = queued || i == s.pass.key()
			s.pass.queue.Done(i)
		}
		return queued
	}
	second := func(a *workloadv1alpha1.Assignment) { a.Spec.Order, a.Spec.WritesStatus = 1, false }
	update(second)
	if _, err := s.run(t); err != nil || len(s.applied) != 0 {
		t.Fatalf("on the second: %v, %d copies", err, len(s.applied))
	}
	if update(second) {
		t.Error("nothing has changed, and everything is looked at")
	}
	if !update(func(a *workloadv1alpha1.Assignment) { a.Spec.Order, a.Spec.WritesStatus = 1, true }) {
		t.Error("its status counts, and nothing is looked at")
	}
	if !update(func(a *workloadv1alpha1.Assignment) { a.Spec.Order = 0 }) {
		t.Error("it is the first, and nothing is looked at")
	}
	if _, err := s.run(t); err != nil || len(s.applied) != 1 {
		t.Errorf("on the first: %v, %d copies", err, len(s.applied))
	}
}

// TestBoundClaims: a claim counts as bound while its copy is.
func TestBoundClaims(t *testing.T) {
	s := newServer(t, sourceOf(), copied(t))
	s.pass.resource.api.GroupResource = persistentVolumeClaims
	for _, phase := range []string{"Pending", "Bound", "Bound", "Lost"} {
		dst := copied(t)
		dst.Object["status"] = map[string]any{"phase": phase}
		s.cache(t, s.pass.resource.down, dst)
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
		if got := s.pass.resource.counts.sum().BoundClaims; (got == 1) != (phase == "Bound") || got > 1 {
			t.Errorf("%s: %d are bound", phase, got)
		}
	}
	if changed := s.pass.resource.counts.record("b", true, tally{bound: true}); changed {
		t.Error("a claim that is bound changes a condition")
	}
	for _, bound := range []bool{true, false} {
		s.pass.resource.counts.record("b", false, tally{bound: bound})
		if got := s.pass.resource.counts.sum(); (got.BoundClaims == 1) != bound || got.Applied != 1 {
			t.Errorf("of a claim that is not a copy, bound %t: counted are %+v", bound, got)
		}
	}

	// A StatefulSet makes claims downstream that no object of the workspace stands for.
	s = newServer(t, nil, nil)
	s.pass.resource.api.GroupResource = persistentVolumeClaims
	dst := copied(t)
	dst.SetLabels(nil)
	dst.SetAnnotations(nil)
	dst.Object["status"] = map[string]any{"phase": "Bound"}
	s.cache(t, s.pass.resource.down, dst)
	if _, err := s.pass.syncObject(t.Context(), s.pass.namespace, s.pass.resource, "a"); err != nil {
		t.Fatal(err)
	}
	if got := s.pass.resource.counts.sum(); got.BoundClaims != 1 || got.Applied != 0 {
		t.Errorf("of a claim of a StatefulSet: counted are %+v", got)
	}
}
