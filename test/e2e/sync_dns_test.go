package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/test/framework"
)

// TestSyncOfServiceByName: a Deployment calls another one by the name of a Service, all three declared in the workspace. Its
// Pods are ready only while the call succeeds.
func TestSyncOfServiceByName(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := env.Kubectl(t.Context(), n.path.String(), stdin, append([]string{"-n", s.namespace}, args...)...)
		require.NoError(t, err)
		return out
	}
	kubectl(strings.ReplaceAll(callerAndCalled, "IMAGE", framework.WebImage), "apply", "-f", "-")
	kubectl("", "wait", "deployment/caller", "--for=condition=Available", "--timeout=110s")

	// The kubelet of a cluster without DNS says so in an Event on every Pod, which the syncer would report on the Deployment.
	var events corev1.EventList
	require.NoError(t, s.there.List(t.Context(), &events, client.InNamespace(s.counterpart)))
	require.NotEmpty(t, events.Items, "kubelet reports on the Pods")
	for _, event := range events.Items {
		assert.False(t, strings.Contains(event.Reason, "DNS"), "%s %s: %s", event.InvolvedObject.Name, event.Reason, event.Message)
	}
}

const callerAndCalled = `apiVersion: apps/v1
kind: Deployment
metadata: {name: called}
spec:
  selector: {matchLabels: {app: called}}
  template:
    metadata: {labels: {app: called}}
    spec: {containers: [{name: web, image: "IMAGE"}]}
---
apiVersion: v1
kind: Service
metadata: {name: called}
spec:
  selector: {app: called}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller}
spec:
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec:
      containers:
      - name: web
        image: "IMAGE"
        args: ["http://called"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`
