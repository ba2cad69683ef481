package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

// placementDrain: a Namespace leaves a cluster that is drained for another one while its Deployment answers every request, and what fits
// nowhere else stays and is told of, as the plan of the drain said before.
func placementDrain(t *testing.T) {
	n := newTenant(t)
	n.bindCompute()
	one, two := n.registerIn(secondCluster, "one", "a"), n.registerIn("cluster-1", "two", "b")
	require.NoError(t, n.Create(t.Context(), placementOf("web", func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{Preferred: []workloadv1alpha1.PreferredClusterTerm{
			{Weight: 100, Term: workloadv1alpha1.ClusterSelectorTerm{MatchCells: map[string]workloadv1alpha1.CellValue{"region": "a"}}},
		}}
	})))
	require.NoError(t, n.Create(t.Context(), placementOf("pinned", func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"one"}}
	})))
	n.createNamespace("shop", "web")
	n.createNamespace("stays", "pinned")
	n.awaitOnly("shop", "one")
	n.awaitOnly("stays", "one")
	before, after := n.shopIn(one, "shop"), n.shopIn(two, "shop")
	web := before.serve("web")
	before.awaitAvailable(web, 1)
	n.awaitPlacement("web", "Available", "Available")

	plan, stderr, code := n.kubectlSynctarget("drain", "one", "--plan")
	assert.Equal(t, 1, code, stderr)
	assert.Regexp(t, `(?m)^ +shop +two +-$`, plan)
	assert.Regexp(t, `(?m)^ +stays +- +\S`, plan)

	failures := requestAll(t, "web", before, after)
	_, stderr, code = n.kubectlSynctarget("drain", "one")
	assert.Equal(t, 1, code, stderr)
	assert.Contains(t, stderr, `1 Namespaces cannot leave SyncTarget "one"; the first is "stays"`)
	n.awaitOnly("shop", "two")
	before.awaitNoNamespace(before.counterpart)
	assert.Empty(t, failures(), "requests that neither cluster has answered")
	after.awaitAvailable(web, 1)
	n.awaitOnly("stays", "one")
	n.eventually("the SyncTarget says what is held", func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := n.Get(t.Context(), client.ObjectKey{Name: "one"}, target); err != nil {
			return false, err.Error()
		}
		d := target.Status.Drain
		return d != nil && d.Remaining == 1 && len(d.Held) == 1 && d.Held[0].Namespace == "stays", fmt.Sprint(d)
	})
}

// serve creates a Deployment that serves HTTP, with its Service.
func (s *shop) serve(name string) *appsv1.Deployment {
	s.t.Helper()
	d := idleDeployment(s.namespace, name)
	d.Spec.Template.Spec.Containers[0].Image = framework.WebImage
	d.Spec.Template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1,
	}
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Spec: corev1.ServiceSpec{
		Selector: d.Spec.Selector.MatchLabels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}})
	s.create(d)
	return d
}

// requestAll sends one request after another to the Service of this name until the returned function is called, which returns those
// that failed. Like a load balancer before the clusters it asks the next one where one does not answer. The first is answered before
// it returns.
func requestAll(t *testing.T, service string, shops ...*shop) (failures func() []string) {
	t.Helper()
	var clusters []func(context.Context) error
	for _, s := range shops {
		config, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig(s.target.Spec.Cluster))
		require.NoError(t, err)
		config.QPS = -1
		there, err := kubernetes.NewForConfig(config)
		require.NoError(t, err)
		clusters = append(clusters, func(ctx context.Context) error {
			_, err := there.CoreV1().Services(s.counterpart).ProxyGet("http", service, "80", "/", nil).DoRaw(ctx)
			return err
		})
	}
	request := func(ctx context.Context) error {
		var errs []error
		for _, cluster := range clusters {
			err := cluster(ctx)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	require.NoError(t, request(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	found := make(chan []string)
	go func() {
		var failed []string
		for ctx.Err() == nil {
			if err := request(ctx); err != nil && ctx.Err() == nil {
				failed = append(failed, fmt.Sprintf("%s: %s", time.Now().Format(time.TimeOnly), err))
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		found <- failed
	}()
	return func() []string { cancel(); return <-found }
}
