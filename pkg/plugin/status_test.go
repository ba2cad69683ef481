package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// variety are SyncTargets in different states.
func variety() []client.Object {
	ready := withConditions(newTarget("edge-1"), append(readyNow(), condition("Synced", "False", "NotSynced", "Some of the deployments.apps have failed"))...)
	ready.Spec.Capacity = map[string]resource.Quantity{"cpu": resource.MustParse("64")}
	ready.Status.ClusterID = testClusterID
	ready.Status.Syncer = &workloadv1alpha1.SyncerStatus{
		Version: "v0.1.0", Instance: "syncer-56cbdd885d-j8bkw", KubernetesVersion: "v1.34.4", Nodes: 3,
		Capacity:    map[string]resource.Quantity{"cpu": resource.MustParse("48"), "memory": resource.MustParse("96Gi")},
		Allocatable: map[string]resource.Quantity{"cpu": resource.MustParse("47"), "memory": resource.MustParse("90Gi")},
	}
	ready.Status.Credentials = &workloadv1alpha1.CredentialsStatus{
		Secret: "syncer-token", InUse: "syncer-token",
		IssuedAt: &metav1.Time{Time: now.Add(-6 * 24 * time.Hour)}, NextRotation: &metav1.Time{Time: now.Add(22 * 24 * time.Hour)},
	}
	ready.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{
		{Group: "apps", Resource: "deployments", State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}, Objects: 5, Failing: 2,
			Requested: map[string]resource.Quantity{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("2Gi")}},
		{Resource: "pods", State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}, Objects: 1, Requested: map[string]resource.Quantity{
			"cpu": resource.MustParse("500m"), "nvidia.com/gpu": resource.MustParse("1"),
		}},
		{Resource: "services", State: workloadv1alpha1.ResourceMissing, Message: "the workspace does not serve it; bind an API that does"},
	}
	ready.Status.Assignments = &workloadv1alpha1.AssignmentCounts{Running: 1, Pending: 1, Withdrawing: 1}
	ready.Status.Taints = []workloadv1alpha1.ObservedTaint{{Key: "dedicated", Value: "gpu", Effect: workloadv1alpha1.TaintNoSchedule, TimeAdded: metav1.NewTime(now.Add(-time.Hour))}}
	running := newAssignment(ready, "shop", condition("Admitted", "True", "Admitted", ""), condition("Applied", "True", "Applied", ""), condition("Available", "True", "Available", ""))
	running.Status.Objects = &workloadv1alpha1.AssignmentObjects{Applied: 4, Failing: 1}
	arriving := newAssignment(ready, "bakery", condition("Admitted", "True", "Admitted", ""), condition("Applied", "True", "Applied", ""),
		condition("Available", "False", "NotAvailable", "Deployment \"oven\" is in progress"))
	leaving := newAssignment(ready, "cafe", condition("Admitted", "True", "Admitted", ""), condition("Withdrawn", "False", "Withdrawing", "2 copies have yet to go"))
	leaving.Spec.Intent, leaving.Spec.Reason = workloadv1alpha1.IntentWithdraw, workloadv1alpha1.AssignmentDrain
	waiting := withConditions(pull(newTarget("edge-2")), readyNow()[0], condition("Deployed", "False", "AwaitingInstall", "Waiting for you to install the syncer"),
		condition("Ready", "False", "AwaitingHeartbeat", "Waiting for the first heartbeat of the syncer"))
	outdated := withConditions(newTarget("edge-3"), readyNow()...)
	outdated.Generation = 2
	cordoned := withConditions(newTarget("edge-4"), readyNow()...)
	cordoned.Spec.Unschedulable = true
	draining := withConditions(newTarget("edge-6"), readyNow()...)
	draining.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: 5}
	draining.Status.Drain = &workloadv1alpha1.DrainStatus{Remaining: 2, Moving: 1, Held: []workloadv1alpha1.HeldNamespace{
		{Namespace: "shop", Reason: "0/1 clusters: 1 has taint dedicated=gpu:NoSchedule"},
	}}
	return []client.Object{ready, waiting, outdated, cordoned, newTarget("edge-5"), draining, running, arriving, leaving,
		installedBy(ready, "v0.3.0"), installedBy(waiting, "v0.3.0")}
}

func TestStatus(t *testing.T) {
	for name, args := range map[string][]string{
		"status": {"status"}, "status-wide": {"status", "-o", "wide"}, "status-json": {"status", "edge-4", "-o", "json"}, "status-yaml": {"status", "edge-4", "-o", "yaml"},
		"status-one": {"status", "edge-1"}, "status-awaiting": {"status", "edge-2"}, "status-outdated": {"status", "edge-3"}, "status-absent": {"status", "edge-9"}, "status-draining": {"status", "edge-6"},
		"status-format": {"status", "-o", "name"},
	} {
		t.Run(name, func(t *testing.T) { newWorld(t, variety()...).golden(name, args...) })
	}
	t.Run("none", func(t *testing.T) { newWorld(t).golden("status-none", "status") })
}

// TestStatusWatch prints a line for each change, and none for a heartbeat.
func TestStatusWatch(t *testing.T) {
	w := newWorld(t, withConditions(newTarget("edge-1"), readyNow()[:2]...))
	ctx, interrupt := context.WithCancel(t.Context())
	w.tick = func(n int) {
		switch n {
		case 1:
			w.setConditions("edge-1", readyNow()...)
		case 2:
			target := w.target("edge-1")
			target.Status.LastHeartbeatTime = &metav1.Time{Time: w.clock.Now()}
			if err := w.workspace.raw.Status().Update(t.Context(), target); err != nil {
				t.Fatal(err)
			}
		case 3:
			interrupt()
		}
	}
	if code := w.runWith(ctx, "status", "--watch"); code != exitOK {
		t.Errorf("exit code %d: %s", code, &w.err)
	}
	lines := strings.Split(strings.TrimSpace(w.out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME") || !strings.Contains(lines[1], "NotReported") || !strings.Contains(lines[2], "True      Ready") {
		t.Errorf("it printed %d lines, want a header and two changes:\n%s", len(lines), &w.out)
	}
}

// TestStatusRequests: a workspace with 100 SyncTargets costs one request, and no discovery.
func TestStatusRequests(t *testing.T) {
	list := &workloadv1alpha1.SyncTargetList{TypeMeta: metav1.TypeMeta{APIVersion: "workload.kcp.io/v1alpha1", Kind: "SyncTargetList"}}
	for i := range 100 {
		list.Items = append(list.Items, *withConditions(newTarget(fmt.Sprintf("edge-%03d", i)), readyNow()...))
	}
	body, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path != "/clusters/root:team/apis/workload.kcp.io/v1alpha1/synctargets" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	defer server.Close()
	t.Setenv("KUBECONFIG", "/dev/null")
	var out, errOut strings.Builder
	begin := time.Now()
	code := Run(t.Context(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, "v0.2.0",
		[]string{"status", "--server=" + server.URL, "--workspace=root:team"})
	if code != exitOK || strings.Count(out.String(), "\n") != 101 {
		t.Fatalf("exit code %d: %s%s", code, &errOut, &out)
	}
	if got := requests.Load(); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	t.Logf("status of 100 SyncTargets took %s", time.Since(begin))
}

func TestTokenText(t *testing.T) {
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	for want, credentials := range map[string]workloadv1alpha1.CredentialsStatus{
		"issued 6d ago in Secret a, replaced in 22d":                           {Secret: "a", InUse: "a", IssuedAt: at(-6 * 24 * time.Hour), NextRotation: at(22 * 24 * time.Hour)},
		"issued 6d ago in Secret a, due to be replaced":                        {Secret: "a", IssuedAt: at(-6 * 24 * time.Hour), NextRotation: at(-time.Second)},
		"issued 5s ago in Secret b, the syncer still uses the one in Secret a": {Secret: "b", InUse: "a", IssuedAt: at(-5 * time.Second), NextRotation: at(time.Hour)},
		"issued 6d ago in Secret a":                                            {Secret: "a", InUse: "a", IssuedAt: at(-6 * 24 * time.Hour)},
	} {
		if got := tokenText(&credentials, now); got != want {
			t.Errorf("tokenText() = %q, want %q", got, want)
		}
	}
}
