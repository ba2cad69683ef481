package plugin

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testCluster   = "2vkq1d7w9hx0a3bc"
	testClusterID = "e71e02f9-5a59-4ad4-857b-f023aa67f032"
	// secretText is the credential of each side: no command but manifests prints it.
	secretText = "header.payload.signature"
	// installToken is the one that the controller creates for the syncer.
	installToken = "syncer.payload.signature"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// side is a fake API server.
type side struct {
	client.Client
	raw      client.WithWatch
	requests []string
	// refuse is asked before each request, such as `create Secret "kubeconfigs/edge-1"`; an error is the answer.
	refuse func(request string) error
	uids   int
	// lacks are rights, such as "create pods", that the user does not have.
	lacks []string
	mu    sync.Mutex // reviews are made at the same time
	clock *clocktesting.FakePassiveClock
}

func newSide(clock *clocktesting.FakePassiveClock, objects ...client.Object) *side {
	s := &side{refuse: func(string) error { return nil }, clock: clock}
	s.raw = fake.NewClientBuilder().WithScheme(newScheme()).WithRESTMapper(newMapper()).WithStatusSubresource(&workloadv1alpha1.SyncTarget{}, &workloadv1alpha1.Assignment{}).
		WithTypeConverters(managedfields.NewDeducedTypeConverter()).WithObjects(objects...).Build()
	s.Client = interceptor.NewClient(s.raw, interceptor.Funcs{
		Get: func(ctx context.Context, raw client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return s.do("get", obj, key.String(), func() error { return raw.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, raw client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return s.do("list", list, "", func() error { return raw.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if review, ok := obj.(*authorizationv1.SelfSubjectAccessReview); ok {
				return s.review(review)
			}
			return s.do("create", obj, client.ObjectKeyFromObject(obj).String(), func() error {
				if obj.GetGenerateName() != "" {
					obj.SetName(obj.GetGenerateName() + "x")
				}
				s.uids++
				obj.SetUID(types.UID(fmt.Sprintf("uid-%d", s.uids)))
				obj.SetCreationTimestamp(metav1.NewTime(s.clock.Now()))
				if _, ok := obj.(*workloadv1alpha1.SyncTarget); ok {
					obj.SetGeneration(1)
					obj.SetAnnotations(map[string]string{logicalcluster.AnnotationKey: testCluster})
				}
				return raw.Create(ctx, obj, opts...)
			})
		},
		Patch: func(ctx context.Context, raw client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return s.do("patch", obj, client.ObjectKeyFromObject(obj).String(), func() error {
				if target, ok := obj.(*workloadv1alpha1.SyncTarget); ok {
					target.Generation++
				}
				return raw.Patch(ctx, obj, patch, opts...)
			})
		},
		Delete: func(ctx context.Context, raw client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return s.do("delete", obj, client.ObjectKeyFromObject(obj).String(), func() error { return raw.Delete(ctx, obj, opts...) })
		},
		Apply: func(ctx context.Context, raw client.WithWatch, config runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			object := config.(client.Object)
			return s.do("apply", object, client.ObjectKeyFromObject(object).String(), func() error { return raw.Apply(ctx, config, opts...) })
		},
	})
	return s
}

func (s *side) review(review *authorizationv1.SelfSubjectAccessReview) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	right := review.Spec.ResourceAttributes
	if err := s.refuse(fmt.Sprintf("review %s %s", right.Verb, right.Resource)); err != nil {
		return err
	}
	review.Status.Allowed = !slices.Contains(s.lacks, right.Verb+" "+right.Resource)
	return nil
}

func (s *side) do(verb string, object runtime.Object, name string, do func() error) error {
	gvk, err := s.raw.GroupVersionKindFor(object)
	if err != nil {
		return err
	}
	request := fmt.Sprintf("%s %s %q", verb, gvk.Kind, strings.TrimPrefix(name, "/"))
	s.requests = append(s.requests, request)
	if err := s.refuse(request); err != nil {
		return err
	}
	return do()
}

// writes are the requests that change something.
func (s *side) writes() []string {
	var out []string
	for _, request := range s.requests {
		if !strings.HasPrefix(request, "get ") && !strings.HasPrefix(request, "list ") {
			out = append(out, request)
		}
	}
	return out
}

// forbid refuses requests with a prefix.
func (s *side) forbid(prefix string) {
	s.refuse = func(request string) error {
		if strings.HasPrefix(request, prefix) {
			return apierrors.NewForbidden(schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, "synctarget-installer", errors.New(`User "jane" cannot do this`))
		}
		return nil
	}
}

// world is a workspace and a physical cluster, and a user who calls the commands.
type world struct {
	t                  *testing.T
	workspace, cluster *side
	clock              *clocktesting.FakePassiveClock
	kubeconfig         string
	stdin              string
	out, err           bytes.Buffer
	// served is the workspace as a server, where a command asks for what a fake client cannot answer. Nil for none.
	served *workspaceServer
	// answers are what the servers say of themselves, by host.
	answers map[string]answer
	// tick is what happens during a wait, after each second.
	tick func(n int)
}

func newWorld(t *testing.T, inWorkspace ...client.Object) *world {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	clock := clocktesting.NewFakePassiveClock(now)
	w := &world{t: t, clock: clock, workspace: newSide(clock, inWorkspace...), cluster: newSide(clock, kubeSystem()), kubeconfig: writeKubeconfig(t, "https://kcp.example.com:6443"), tick: func(int) {}}
	return w
}

func kubeSystem() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: testClusterID}}
}

// writeKubeconfig has the contexts workspace, which is the current one and leads to this kcp, and edge.
func writeKubeconfig(t *testing.T, kcp string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	for name, server := range map[string]string{
		"workspace": kcp + "/clusters/root:team", "edge": "https://edge-1.example.com:6443", "local": "https://127.0.0.1:6443",
	} {
		config.Clusters[name] = &clientcmdapi.Cluster{Server: server}
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: secretText}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	config.CurrentContext = "workspace"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// run calls a command and returns its exit code.
func (w *world) run(args ...string) int {
	w.t.Helper()
	return w.runWith(w.t.Context(), args...)
}

func (w *world) runWith(ctx context.Context, args ...string) int {
	w.t.Helper()
	w.out.Reset()
	w.err.Reset()
	p := newPlugin(genericiooptions.IOStreams{In: strings.NewReader(w.stdin), Out: &w.out, ErrOut: &w.err}, "v0.2.0")
	p.clock = w.clock
	ticks := 0
	p.sleep = func(ctx context.Context, d time.Duration) error {
		ticks++
		w.clock.SetTime(w.clock.Now().Add(d))
		w.tick(ticks)
		return ctx.Err()
	}
	p.contact = func(_ context.Context, config *rest.Config) (answer, error) {
		if seen, ok := w.answers[config.Host]; ok {
			return seen, nil
		}
		return answer{}, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	p.connect = func(config *rest.Config) (client.Client, error) {
		if w.served != nil {
			return newClient(config)
		}
		if strings.HasPrefix(config.Host, "https://kcp.example.com:6443/clusters/") {
			return w.workspace, nil
		}
		return w.cluster, nil
	}
	return p.run(ctx, append([]string{"--kubeconfig=" + w.kubeconfig}, args...))
}

// golden compares a call with its golden file.
func (w *world) golden(name string, args ...string) {
	w.t.Helper()
	code := w.run(args...)
	got := fmt.Sprintf("$ kubectl synctarget %s\n--- stderr\n%s--- stdout\n%s--- exit code %d\n", strings.Join(args, " "), &w.err, &w.out, code)
	if strings.Contains(got, secretText) {
		w.t.Errorf("the output holds a credential:\n%s", got)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// target reads a SyncTarget.
func (w *world) target(name string) *workloadv1alpha1.SyncTarget {
	w.t.Helper()
	target := &workloadv1alpha1.SyncTarget{}
	if err := w.workspace.raw.Get(w.t.Context(), client.ObjectKey{Name: name}, target); err != nil {
		w.t.Fatal(err)
	}
	return target
}

// setConditions writes the status of a SyncTarget as the controller does.
func (w *world) setConditions(name string, conditions ...metav1.Condition) {
	w.t.Helper()
	target := w.target(name)
	withConditions(target, conditions...)
	if err := w.workspace.raw.Status().Update(w.t.Context(), target); err != nil {
		w.t.Fatal(err)
	}
}

func condition(name string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: name, Status: status, Reason: reason, Message: message}
}

// readyNow are the conditions of a SyncTarget that is Ready.
func readyNow() []metav1.Condition {
	return []metav1.Condition{
		condition("Valid", "True", "Valid", "SyncTarget validation passed"), condition("Deployed", "True", "Deployed", "Syncer deployment successful"),
		condition("Ready", "True", "Ready", "Syncer is healthy and ready"),
	}
}

func withConditions(target *workloadv1alpha1.SyncTarget, conditions ...metav1.Condition) *workloadv1alpha1.SyncTarget {
	target.Status.Key = workloadv1alpha1.Key(testCluster, target.Name)
	target.Status.Conditions, target.Status.Phase = nil, workloadv1alpha1.PhasePending
	for _, c := range conditions {
		c.ObservedGeneration, c.LastTransitionTime = target.Generation, metav1.NewTime(now.Add(-3*time.Minute))
		target.Status.Conditions = append(target.Status.Conditions, c)
		if c.Type == "Ready" && c.Status == "True" {
			target.Status.Phase = workloadv1alpha1.PhaseReady
			target.Status.LastHeartbeatTime = &metav1.Time{Time: now.Add(-4 * time.Second)}
		}
	}
	return target
}

// newTarget is a SyncTarget in push mode of which the controller has not reported yet.
func newTarget(name string) *workloadv1alpha1.SyncTarget {
	return &workloadv1alpha1.SyncTarget{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-of-" + name), Generation: 1, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Annotations: map[string]string{logicalcluster.AnnotationKey: testCluster},
		},
		Spec: workloadv1alpha1.SyncTargetSpec{
			Cluster: name, Cells: map[string]workloadv1alpha1.CellValue{"region": "eu-west-1"},
			KubeconfigSecretRef: &workloadv1alpha1.KubeconfigSecretReference{Namespace: "kubeconfigs", Name: name, Key: "kubeconfig"},
		},
	}
}

// pull turns a SyncTarget to pull mode.
func pull(target *workloadv1alpha1.SyncTarget) *workloadv1alpha1.SyncTarget {
	target.Spec.KubeconfigSecretRef = nil
	return target
}

// bound is the APIBinding of the samples, bound.
func bound(t *testing.T) *apisv1alpha2.APIBinding {
	t.Helper()
	binding, err := sampleBinding(defaultExportPath)
	if err != nil {
		t.Fatal(err)
	}
	binding.Status.Phase = apisv1alpha2.APIBindingPhaseBound
	return binding
}

// issueToken fills the installer's token as the physical cluster does.
func (w *world) issueToken() {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := w.cluster.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "synctarget-installer", Name: "installer-token"}, secret); err != nil {
		return // join has not come that far
	}
	secret.Data = map[string][]byte{"token": []byte(secretText)}
	if err := w.cluster.raw.Update(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
}

// rollOut plays the cluster's controllers: the syncer's Pods serve.
func (w *world) rollOut() {
	w.t.Helper()
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: workloadv1alpha1.SyncerNamespace("edge-1", workloadv1alpha1.Key(testCluster, "edge-1")), Name: "syncer"}
	if err := w.cluster.raw.Get(w.t.Context(), key, deployment); err != nil {
		return // it is not applied yet
	}
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: "True"}, {Type: appsv1.DeploymentProgressing, Status: "True", Reason: "NewReplicaSetAvailable"},
		},
	}
	if err := w.cluster.raw.Status().Update(w.t.Context(), deployment); err != nil {
		w.t.Fatal(err)
	}
}

// newAssignment assigns a Namespace to a SyncTarget.
func newAssignment(target *workloadv1alpha1.SyncTarget, namespace string, conditions ...metav1.Condition) *workloadv1alpha1.Assignment {
	return &workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: workloadv1alpha1.SyncerNamespace(target.Name, target.Status.Key), Name: workloadv1alpha1.AssignmentName(types.UID(namespace)),
			Labels:            map[string]string{workloadv1alpha1.LabelKey: target.Status.Key, workloadv1alpha1.LabelUID: string(target.UID)},
			CreationTimestamp: target.CreationTimestamp,
		},
		Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: namespace, UID: types.UID(namespace)}, Placement: workloadv1alpha1.ObjectReference{Name: "all", UID: "all"},
			Epoch: 1, Intent: workloadv1alpha1.IntentRun, Reason: workloadv1alpha1.AssignmentScheduled,
		},
		Status: workloadv1alpha1.AssignmentStatus{ObservedEpoch: 1, Conditions: conditions},
	}
}
