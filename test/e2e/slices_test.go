package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"k8s.io/apimachinery/pkg/api/meta"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

// TestTwoControllers divides the shards of kcp among two controllers by two APIExportEndpointSlices, as docs/operate.md describes. A
// SyncTarget belongs to one of them, and goes with its shard from one to the other without a write to what is installed: while both
// run, and after one was killed. There is one shard here, so one of the slices is empty at a time.
func TestTwoControllers(t *testing.T) {
	t.Parallel()
	first, second := newSlicedController(t, "first"), newSlicedController(t, "second")
	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) { binding.Spec.Reference.Export.Path = first.Workspace })
	first.createSlice(n)
	second.createSlice(n)
	second.setEndpoints(t.Context())
	first.start(t)
	second.start(t)
	t.Cleanup(func() { // the workspace could not be deleted otherwise
		second.setEndpoints(context.Background())
		first.setEndpoints(context.Background(), first.endpoint)
	})

	readySince := func(name string) time.Time {
		t.Helper()
		ready := meta.FindStatusCondition(n.await(name, "Ready", "Ready").Status.Conditions, workloadv1alpha1.ConditionReady)
		return ready.LastTransitionTime.Time
	}
	n.register("edge-1")
	since := readySince("edge-1")
	n.eventually("the first controller alone knows the SyncTarget", first.knows(1))
	assert.Zero(t, second.reconciles(), "passes of the second controller")

	moved := time.Now()
	first.setEndpoints(t.Context())
	n.eventually("the first controller forgets the SyncTarget", first.knows(0))
	second.setEndpoints(t.Context(), second.endpoint)
	n.eventually("the second controller knows it", second.knows(1))
	n.register("edge-2")
	forgotten, now := first.knows(0)()
	assert.True(t, forgotten, "the first controller serves the workspace no more, but %s", now)

	require.NoError(t, env.Kill(second.Name))
	second.setEndpoints(t.Context())
	first.setEndpoints(t.Context(), first.endpoint)
	n.eventually("the first controller knows both SyncTargets", first.knows(2))
	edge2 := n.await("edge-2", "Ready", "Ready")
	require.NoError(t, n.Delete(t.Context(), edge2))
	n.awaitGone(edge2)
	assert.Equal(t, since, readySince("edge-1"), "edge-1 has been Ready all the time")
	n.requireUntouched("edge-1", moved)
}

// requireUntouched requires that no controller has written anything of a SyncTarget since, but the time of its last heartbeat.
func (n *tenant) requireUntouched(name string, since time.Time) {
	n.t.Helper()
	upstream, downstream := n.controllerWrites(since, []string{name})
	upstream = slices.DeleteFunc(upstream, func(w framework.Request) bool {
		return w.Namespace != n.namespaceOf(name) && (w.Name != name || w.Resource == "synctargets.workload.kcp.io/status")
	})
	assert.Empty(n.t, upstream, "what was written of %s in the workspace", name)
	assert.Empty(n.t, downstream, "what was written of %s in the physical cluster", name)
}

// slicedController is a controller that serves an APIExportEndpointSlice of its own.
type slicedController struct {
	*ownService
	t     *testing.T
	slice string
	// endpoint is the URL of the shard.
	endpoint string
}

// newSlicedController installs the service in a provider workspace that all of them share. Nothing is started.
func newSlicedController(t *testing.T, slice string) *slicedController {
	t.Helper()
	s := &slicedController{t: t, slice: slice, ownService: &ownService{Service: framework.Service{
		Workspace: "root:e2e-slices", Name: "e2e-slice-" + slice, Args: append([]string{"--endpointslice=" + slice}, service.Args...),
	}}}
	var err error
	s.Service, err = env.WithAddresses(s.Service)
	require.NoError(t, err)
	s.process, err = env.ControllerProcess(t.Context(), s.Service)
	require.NoError(t, err)
	require.NoError(t, env.InstallExport(t.Context(), s.Service))
	return s
}

// createSlice creates the slice with a Partition that selects no shard, so that kcp adds no URL to it later. To a new slice kcp adds
// the URLs of all shards with workspaces that use the API, whatever the Partition says; that is waited for.
func (s *slicedController) createSlice(n *tenant) {
	s.t.Helper()
	s.kubectl(s.t.Context(), "", "delete", "apiexportendpointslice", s.slice, "--ignore-not-found") // of an earlier run
	s.kubectl(s.t.Context(), fmt.Sprintf(`
apiVersion: topology.kcp.io/v1alpha1
kind: Partition
metadata: {name: %[1]s}
spec: {selector: {matchLabels: {region: nowhere}}}
---
apiVersion: apis.kcp.io/v1alpha1
kind: APIExportEndpointSlice
metadata: {name: %[1]s}
spec:
  export: {path: %[2]q, name: workload.kcp.io}
  partition: %[1]s
`, s.slice, s.Workspace), "apply", "-f", "-")
	n.eventually("slice "+s.slice+" has the URL of the shard", func() (bool, string) {
		s.endpoint = s.kubectl(s.t.Context(), "", "get", "apiexportendpointslice", s.slice, "-o=jsonpath={.status.endpoints[0].url}")
		return s.endpoint != "", "it has none"
	})
}

// setEndpoints replaces the URLs of the slice.
func (s *slicedController) setEndpoints(ctx context.Context, urls ...string) {
	s.t.Helper()
	endpoints := "[]"
	if len(urls) > 0 {
		endpoints = fmt.Sprintf(`[{"url":%q}]`, urls[0])
	}
	s.kubectl(ctx, "", "patch", "apiexportendpointslice", s.slice, "--subresource=status", "--type=merge", "-p", `{"status":{"endpoints":`+endpoints+`}}`)
}

func (s *slicedController) kubectl(ctx context.Context, stdin string, args ...string) string {
	s.t.Helper()
	out, err := env.Kubectl(ctx, s.Workspace, stdin, args...)
	require.NoError(s.t, err)
	return out
}

// knows tells whether the controller knows so many SyncTargets.
func (s *slicedController) knows(want int) func() (bool, string) {
	return func() (bool, string) {
		got := s.metric("synctarget_controller_targets", nil)
		return got == float64(want), fmt.Sprintf("it knows %g", got)
	}
}

// reconciles counts the passes over SyncTargets.
func (s *slicedController) reconciles() float64 {
	return s.metric("controller_runtime_reconcile_total", map[string]string{"controller": "synctarget"})
}

// metric sums up the series of a gauge or counter that have these labels.
func (s *slicedController) metric(name string, labels map[string]string) (sum float64) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.MetricsAddress+"/metrics", nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	require.NoError(s.t, err)
	for _, m := range families[name].GetMetric() {
		matching := 0
		for _, label := range m.GetLabel() {
			if labels[label.GetName()] == label.GetValue() {
				matching++
			}
		}
		if matching == len(labels) {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}
