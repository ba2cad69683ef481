//go:build bench

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// longPatience is for what takes minutes on a small machine.
const longPatience = 15 * time.Minute

// installed is a syncer in its pod, as the service has installed it.
type installed struct {
	*tenant
	target *workloadv1alpha1.SyncTarget
	there  *kubernetes.Clientset
	// upBare and downBare are clients of the two sides without a limit.
	upBare, downBare dynamic.Interface
	// home is the syncer's Namespace in the physical cluster.
	home string
	// reader is the token of metricsToken.
	reader string
	// namespaces are all that were created, in the workspace.
	namespaces []string
}

// placedLabel is the label of the Namespaces that are placed on the SyncTarget.
const placedLabel = "bench.example.com/placed"

var placed = map[string]string{placedLabel: "true"}

// newInstalled registers cluster-1 in a workspace, to which prepare has done something before. A nil syncer has the standard
// settings.
func newInstalled(t *testing.T, syncer *workloadv1alpha1.SyncerSpec, prepare ...func(*tenant)) *installed {
	t.Helper()
	n := newTenant(t)
	for _, do := range prepare {
		do(n)
	}
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("cluster-1", clusterKubeconfig(t))))
	targets := follow(t, n, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	s := &installed{tenant: n, target: syncTarget("edge-1", "cluster-1")}
	s.target.Spec.Syncer = syncer
	require.NoError(t, n.Create(t.Context(), s.target))
	targets.await(has("edge-1", workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady))
	targets.await(has("edge-1", workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed))
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(s.target), s.target))
	s.home = workloadv1alpha1.SyncerNamespace("edge-1", s.target.Status.Key)
	require.NoError(t, n.Create(t.Context(), &workloadv1alpha1.Placement{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec:       workloadv1alpha1.PlacementSpec{NamespaceSelector: metav1.LabelSelector{MatchLabels: placed}},
	}))
	up := rest.CopyConfig(n.config)
	down, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	up.QPS, down.QPS = -1, -1
	s.upBare, err = dynamic.NewForConfig(up)
	require.NoError(t, err)
	s.downBare, err = dynamic.NewForConfig(down)
	require.NoError(t, err)
	s.there, err = kubernetes.NewForConfig(down)
	require.NoError(t, err)
	t.Cleanup(func() { s.abandon() })
	return s
}

// abandon ends the syncer and deletes the ConfigMaps, side by side: the tenant's cleanup must not wait for thousands of objects,
// one after the other.
func (s *installed) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), longPatience)
	defer cancel()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"true"}},"spec":{"syncer":{"replicas":0}}}`, workloadv1alpha1.AnnotationAbandon)
	assert.NoError(s.t, s.Patch(ctx, s.target, client.RawPatch("application/merge-patch+json", patch)))
	for ctx.Err() == nil {
		if _, err := s.process(); err != nil {
			break
		}
		time.Sleep(tick)
	}
	var each errgroup.Group
	each.SetLimit(4)
	for _, namespace := range s.namespaces {
		each.Go(func() error {
			err := s.there.CoreV1().Namespaces().Delete(ctx, s.counterpart(namespace), metav1.DeleteOptions{})
			return errors.Join(client.IgnoreNotFound(err), discard(ctx, s.upBare, namespace))
		})
	}
	assert.NoError(s.t, each.Wait())
}

// discard deletes the ConfigMaps of a Namespace, whoever holds them.
func discard(ctx context.Context, side dynamic.Interface, namespace string) error {
	all, err := side.Resource(configMaps).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var each errgroup.Group
	each.SetLimit(16)
	for i := range all.Items {
		each.Go(func() error {
			name, held := all.Items[i].GetName(), len(all.Items[i].GetFinalizers()) > 0
			err := side.Resource(configMaps).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{})
			if err == nil && held {
				_, err = side.Resource(configMaps).Namespace(namespace).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			}
			return client.IgnoreNotFound(err)
		})
	}
	return each.Wait()
}

// counterpart is the downstream Namespace of one of the workspace.
func (s *installed) counterpart(namespace string) string {
	return naming.Namespace(s.target.Status.Key, namespace)
}

// open creates Namespaces whose names begin with prefix, and waits until they are open to the syncer.
func (s *installed) open(prefix string, count int) (namespaces []string) {
	s.t.Helper()
	for i := range count {
		namespaces = append(namespaces, numbered(prefix, i))
	}
	s.namespaces = append(s.namespaces, namespaces...)
	s.sideBySide(len(namespaces), func(i int) error {
		return s.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespaces[i], Labels: placed,
		}})
	})
	s.awaitOpen(namespaces)
	return namespaces
}

// awaitOpen waits until these Namespaces are admitted on the SyncTarget.
func (s *installed) awaitOpen(namespaces []string) {
	s.t.Helper()
	s.within(longPatience, time.Second, fmt.Sprintf("%d Namespaces are open", len(namespaces)), func() (bool, string) {
		assignments, err := s.assignments()
		open := 0
		for _, namespace := range namespaces {
			if a, found := assignments[namespace]; found && meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted) {
				open++
			}
		}
		return open == len(namespaces), fmt.Sprintf("%d are, %v", open, err)
	})
}

// assignments are those of the SyncTarget, by Namespace.
func (s *installed) assignments() (map[string]workloadv1alpha1.Assignment, error) {
	var list workloadv1alpha1.AssignmentList
	if err := s.List(s.t.Context(), &list, client.InNamespace(s.home)); err != nil {
		return nil, err
	}
	assignments := map[string]workloadv1alpha1.Assignment{}
	for i := range list.Items {
		assignments[list.Items[i].Spec.Namespace.Name] = list.Items[i]
	}
	return assignments, nil
}

// closeNamespaces takes the label off Namespaces by which the Placement selects them.
func (s *installed) closeNamespaces(namespaces []string) {
	s.t.Helper()
	s.sideBySide(len(namespaces), func(i int) error { return s.setPlaced(namespaces[i], nil) })
}

// setPlaced sets the label of a Namespace by which the Placement selects it; nil removes it.
func (s *installed) setPlaced(namespace string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{placedLabel: value}}})
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	return s.Patch(s.t.Context(), ns, client.RawPatch(types.MergePatchType, patch))
}

// sideBySide does something for each number below count.
func (s *installed) sideBySide(count int, do func(i int) error) {
	s.t.Helper()
	var all errgroup.Group
	all.SetLimit(16)
	for i := range count {
		all.Go(func() error { return do(i) })
	}
	require.NoError(s.t, all.Wait())
}

// create makes a ConfigMap of this size.
func (s *installed) create(namespace, name string, size int, labels map[string]string) {
	c := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Data:       map[string]string{"d": strings.Repeat("x", size)},
	}
	assert.NoError(s.t, s.Create(s.t.Context(), c))
}

// fill spreads ConfigMaps over Namespaces, and waits until all have a copy, and say so.
func (s *installed) fill(namespaces []string, count, size int) {
	s.t.Helper()
	s.sideBySide(count, func(i int) error {
		s.create(namespaces[i%len(namespaces)], fmt.Sprintf("config-%d", i), size, nil)
		return nil
	})
	s.awaitReported(namespaces, count)
}

// awaitReported waits until so many ConfigMaps in these Namespaces say that their copies are as they should be.
func (s *installed) awaitReported(namespaces []string, count int) {
	s.t.Helper()
	s.within(longPatience, 2*time.Second, "all copies are reported", func() (bool, string) {
		done := 0
		for _, namespace := range namespaces {
			var list metav1.PartialObjectMetadataList
			list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
			if err := s.List(s.t.Context(), &list, client.InNamespace(namespace)); err != nil {
				return false, err.Error()
			}
			for i := range list.Items {
				c := &list.Items[i]
				if strings.HasPrefix(c.Name, "config-") && strings.Contains(c.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)], `"ready":"Current"`) {
					done++
				}
			}
		}
		return done >= count, fmt.Sprintf("%d of %d", done, count)
	})
}

// copies are the data of the copies in the downstream Namespace, and their UIDs.
func (s *installed) copies(namespace string) (data map[string]map[string]string, uids map[string]string) {
	s.t.Helper()
	list, err := s.there.CoreV1().ConfigMaps(s.counterpart(namespace)).List(s.t.Context(), metav1.ListOptions{LabelSelector: workloadv1alpha1.LabelKey + "=" + s.target.Status.Key})
	require.NoError(s.t, err)
	data, uids = map[string]map[string]string{}, map[string]string{}
	for i := range list.Items {
		data[list.Items[i].Name], uids[list.Items[i].Name] = list.Items[i].Data, string(list.Items[i].UID)
	}
	return data, uids
}

// differences waits until the copies of a Namespace are its ConfigMaps, but for those of the servers. It returns how many objects
// have no copy or another one, and how many copies have no object, when they stay so.
func (s *installed) differences(namespace string, patience time.Duration) (lost, doubled []string) {
	s.t.Helper()
	for began := time.Now(); ; sleep(s.t, time.Second) {
		var list corev1.ConfigMapList
		require.NoError(s.t, s.List(s.t.Context(), &list, client.InNamespace(namespace)))
		copies, _ := s.copies(namespace)
		lost, doubled = nil, nil
		for i := range list.Items {
			c := &list.Items[i]
			if c.Name == "kube-root-ca.crt" {
				continue
			}
			if there, ok := copies[c.Name]; !ok || !maps.Equal(there, c.Data) {
				lost = append(lost, namespace+"/"+c.Name)
			}
			delete(copies, c.Name)
		}
		delete(copies, "kube-root-ca.crt")
		for name := range copies {
			doubled = append(doubled, namespace+"/"+name)
		}
		if len(lost)+len(doubled) == 0 || time.Since(began) > patience {
			return lost, doubled
		}
	}
}

// pod is the one that runs, and is to run.
func (s *installed) pod() *corev1.Pod {
	s.t.Helper()
	pods, err := s.there.CoreV1().Pods(s.home).List(s.t.Context(), metav1.ListOptions{})
	require.NoError(s.t, err)
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			return &pods.Items[i]
		}
	}
	return nil
}

func (s *installed) deletePod() {
	s.t.Helper()
	require.NoError(s.t, s.there.CoreV1().Pods(s.home).Delete(s.t.Context(), s.pod().Name, metav1.DeleteOptions{}))
}

func (s *installed) killProcess() {
	s.t.Helper()
	pid, err := s.process()
	require.NoError(s.t, err)
	require.NoError(s.t, syscall.Kill(pid, syscall.SIGKILL))
}

// process is the syncer's.
func (s *installed) process() (int, error) {
	return framework.PIDWith("--sync-target-key=" + s.target.Status.Key)
}

// memory is the syncer's resident set, in MiB.
func (s *installed) memory() float64 {
	s.t.Helper()
	pid, err := s.process()
	require.NoError(s.t, err)
	return memoryOf(s.t, pid, "VmRSS")
}

// metrics is what the syncer serves at /metrics.
func (s *installed) metrics() (counters, error) {
	s.t.Helper()
	pod := s.pod()
	if pod == nil {
		return nil, errors.New("there is no pod")
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	code, page, err := env.PodGet(ctx, "cluster-1", s.home, pod.Name, options.DefaultMetricsPort, "/metrics", s.metricsToken())
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("the syncer's /metrics answers %d: %s", code, page)
	}
	return parseCounters(s.t, bytes.NewReader(page)), nil
}

// metricsToken belongs to a ServiceAccount of the physical cluster that may read metrics. It is made once.
func (s *installed) metricsToken() string {
	s.t.Helper()
	if s.reader != "" {
		return s.reader
	}
	ctx, name := s.t.Context(), s.home+"-metrics-reader"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "default"}},
	}
	_, err := s.there.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{})
	require.NoError(s.t, err)
	_, err = s.there.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
	require.NoError(s.t, err)
	_, err = s.there.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		_ = s.there.CoreV1().ServiceAccounts("default").Delete(ctx, name, metav1.DeleteOptions{})
		_ = s.there.RbacV1().ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
		_ = s.there.RbacV1().ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
	})
	seconds := int64((4 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	request, err = s.there.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, request, metav1.CreateOptions{})
	require.NoError(s.t, err)
	s.reader = request.Status.Token
	return s.reader
}

// requireMetrics is metrics of a syncer that runs.
func (s *installed) requireMetrics() counters {
	s.t.Helper()
	c, err := s.metrics()
	require.NoError(s.t, err)
	return c
}

// requests are how many the syncer has sent to each side, those that begin a watch included.
func (s *installed) requests(c counters) (up, down int) {
	s.t.Helper()
	up = int(c.sum("rest_client_requests_total", host(s.t, env.KCPKubeconfig())))
	return up, int(c.sum("rest_client_requests_total")) - up
}

// host is the label of a server in the metrics of client-go.
func host(t *testing.T, kubeconfig string) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	server, err := url.Parse(config.Host)
	require.NoError(t, err)
	return fmt.Sprintf("host=%q", server.Host)
}

// waiting is how much waits in the syncer's queue.
func (s *installed) waiting() (float64, error) {
	c, err := s.metrics()
	if err != nil {
		return 0, err
	}
	depth, ok := c["synctarget_syncer_queue_depth"]
	if !ok {
		return 0, errors.New("it does not tell how much waits")
	}
	return depth, nil
}
