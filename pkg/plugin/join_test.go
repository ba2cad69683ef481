package plugin

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

var pushArgs = []string{"join", "edge-1", "--cell=region=eu-west-1", "--from-context=edge", "--yes"}

// serve plays kcp, the controller and the physical cluster: what is asked for comes about within seconds.
func (w *world) serve() {
	w.tick = func(int) {
		binding := &apisv1alpha2.APIBinding{}
		if w.workspace.raw.Get(w.t.Context(), client.ObjectKey{Name: "workload.kcp.io"}, binding) == nil && binding.Status.Phase == "" {
			binding.Status.Phase = apisv1alpha2.APIBindingPhaseBound
			if err := w.workspace.raw.Update(w.t.Context(), binding); err != nil {
				w.t.Fatal(err)
			}
		}
		w.issueToken()
		if err := w.workspace.raw.Get(w.t.Context(), client.ObjectKey{Name: "edge-1"}, &workloadv1alpha1.SyncTarget{}); err == nil {
			w.setConditions("edge-1", readyNow()...)
		}
	}
}

func TestJoinPush(t *testing.T) {
	w := newWorld(t)
	w.serve()
	w.golden("join-push", pushArgs...)

	secret := &corev1.Secret{}
	if err := w.workspace.Get(t.Context(), client.ObjectKey{Namespace: "kubeconfigs", Name: "edge-1"}, secret); err != nil {
		t.Fatal(err)
	}
	config, err := pcluster.Parse(secret.Data["kubeconfig"])
	if err != nil || config.Host != "https://edge-1.example.com:6443" || config.BearerToken != secretText {
		t.Errorf("the kubeconfig leads to %v: %v", config, err)
	}
	if secret.Labels["workload.kcp.io/visible"] != "true" {
		t.Error("the service cannot see the Secret")
	}
	if _, ok := secret.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		t.Error("the kubeconfig is stored a second time, in an annotation")
	}

	w.workspace.requests, w.cluster.requests = nil, nil
	w.golden("join-push-again", pushArgs...)
	if writes := append(w.workspace.writes(), w.cluster.writes()...); len(writes) > 0 {
		t.Errorf("joining again wrote %q", writes)
	}
}

// TestJoinMends: what was deleted or spoiled by hand is as it should be after another join, which says so.
func TestJoinMends(t *testing.T) {
	w := newWorld(t)
	w.serve()
	if code := w.run(pushArgs...); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &w.err)
	}
	role := &rbacv1.ClusterRole{}
	if err := w.cluster.raw.Get(t.Context(), client.ObjectKey{Name: "synctarget-installer"}, role); err != nil {
		t.Fatal(err)
	}
	own := rbacv1.PolicyRule{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}
	role.Rules = append(role.Rules[:3:3], own)
	if err := w.cluster.raw.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := w.cluster.raw.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "synctarget-installer", Name: "installer-token"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.workspace.raw.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kubeconfigs", Name: "edge-1"}}); err != nil {
		t.Fatal(err)
	}
	if code := w.run("join", "edge-1", "--cell=zone=a", "--from-context=edge"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &w.err)
	}
	for _, want := range []string{
		`Secret "synctarget-installer/installer-token" created`, `ClusterRole "synctarget-installer" changed`, `Secret "kubeconfigs/edge-1" created`,
		`SyncTarget "edge-1" changed: {"spec":{"cells":{"zone":"a"}}}`, `ServiceAccount "synctarget-installer/installer" unchanged`,
	} {
		if !strings.Contains(w.err.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &w.err)
		}
	}
	if got := w.target("edge-1").Spec.Cells; got["region"] != "eu-west-1" || got["zone"] != "a" {
		t.Errorf("cells are %v: a cell that is not given stays", got)
	}
	if err := w.cluster.raw.Get(t.Context(), client.ObjectKeyFromObject(role), role); err != nil {
		t.Fatal(err)
	}
	manifests, err := newInstaller()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(role.Rules), len(manifests.role.Rules)+1; got != want {
		t.Errorf("the role has %d rules, want the %d of the manifests and the administrator's", got, want-1)
	}
}

// TestJoinAsks: binding the API gives the service rights, so it needs a yes.
func TestJoinAsks(t *testing.T) {
	w := newWorld(t)
	w.golden("join-unbound", "join", "edge-1", "--cell=region=eu-west-1", "--from-context=edge")
	if writes := append(w.workspace.writes(), w.cluster.writes()...); len(writes) > 0 {
		t.Errorf("unasked it wrote %q", writes)
	}
}

// TestJoinRefuses are the calls that change nothing, and say what to do.
func TestJoinRefuses(t *testing.T) {
	otherCluster := withConditions(newTarget("edge-1"), readyNow()...)
	otherCluster.Status.ClusterID = "0c0c0c0c"
	for name, tc := range map[string]struct {
		objects []client.Object
		args    []string
		code    int
		want    string
	}{
		"no mode":        {nil, []string{"--cell=a=b"}, exitUsage, "neither a context of the physical cluster nor --pull"},
		"both modes":     {nil, []string{"--pull", "--from-context=edge"}, exitUsage, "are for push mode"},
		"apply in push":  {nil, []string{"--from-context=edge", "--apply-to-context=edge"}, exitUsage, "are for push mode"},
		"no cell":        {nil, []string{"--from-context=edge"}, exitUsage, "without a cell"},
		"no context":     {nil, []string{"--from-context=elsewhere", "--cell=a=b"}, exitUsage, `context "elsewhere" does not exist in the kubeconfig`},
		"workspace":      {nil, []string{"--from-context=workspace", "--cell=a=b"}, exitUsage, "leads to a kcp workspace"},
		"loopback":       {nil, []string{"--from-context=local", "--cell=a=b", "--yes"}, exitUsage, "only this machine reaches"},
		"bad address":    {nil, []string{"--from-context=edge", "--cell=a=b", "--server-address=http://x"}, exitUsage, "must be an https URL"},
		"bad dry run":    {nil, []string{"--from-context=edge", "--dry-run=maybe"}, exitUsage, "invalid --dry-run"},
		"bad output":     {nil, []string{"--from-context=edge", "--output=table"}, exitUsage, "invalid --output"},
		"mode changed":   {[]client.Object{pull(newTarget("edge-1"))}, []string{"--from-context=edge"}, exitUsage, "is in pull mode, and the mode cannot be changed"},
		"mode changed 2": {[]client.Object{newTarget("edge-1")}, []string{"--pull"}, exitUsage, "is in push mode, and the mode cannot be changed"},
		"other cluster":  {[]client.Object{otherCluster}, []string{"--from-context=edge"}, exitFailed, "stands for the cluster with ID 0c0c0c0c"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.objects...)
			code := w.run(append([]string{"join", "edge-1"}, tc.args...)...)
			if code != tc.code || !strings.Contains(w.err.String(), tc.want) || !strings.Contains(w.err.String(), "\nnext: ") {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, tc.code, tc.want, &w.err)
			}
			if writes := append(w.workspace.writes(), w.cluster.writes()...); len(writes) > 0 {
				t.Errorf("it wrote %q", writes)
			}
		})
	}
}

// TestJoinKeepsSecret: a Secret of the name that somebody else has made is not overwritten.
func TestJoinKeepsSecret(t *testing.T) {
	w := newWorld(t, bound(t), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kubeconfigs", Name: "edge-1", UID: "theirs"}, Data: map[string][]byte{"kubeconfig": []byte("theirs")},
	})
	w.serve()
	if code := w.run(pushArgs...); code != exitFailed || !strings.Contains(w.err.String(), `Secret "kubeconfigs/edge-1" of workspace "root:team" exists already`) {
		t.Errorf("exit code %d:\n%s", code, &w.err)
	}
	secret := &corev1.Secret{}
	if err := w.workspace.Get(t.Context(), client.ObjectKey{Namespace: "kubeconfigs", Name: "edge-1"}, secret); err != nil || string(secret.Data["kubeconfig"]) != "theirs" {
		t.Errorf("the Secret holds %q: %v", secret.Data, err)
	}
}

func TestJoinDryRun(t *testing.T) {
	for _, mode := range []string{"client", "server"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			w.golden("join-dry-run-"+mode, append(pushArgs, "--dry-run="+mode, "--output=yaml")...)
			for _, object := range []client.Object{&apisv1alpha2.APIBinding{ObjectMeta: metav1.ObjectMeta{Name: "workload.kcp.io"}}, &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}} {
				if err := w.workspace.raw.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
					t.Errorf("%T was created: %v", object, err)
				}
			}
		})
	}
}

// TestJoinForbidden: without rights in the cluster, the SyncTarget is not created, and the right is named.
func TestJoinForbidden(t *testing.T) {
	w := newWorld(t, bound(t))
	w.serve()
	w.cluster.forbid("create ClusterRole")
	w.golden("join-forbidden", pushArgs...)
	if err := w.workspace.raw.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, &workloadv1alpha1.SyncTarget{}); !apierrors.IsNotFound(err) {
		t.Errorf("the SyncTarget was created: %v", err)
	}
}

// TestJoinTimeout: it ends with the words of the condition.
func TestJoinTimeout(t *testing.T) {
	w := newWorld(t, bound(t))
	w.tick = func(int) {
		w.issueToken()
		if err := w.workspace.raw.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, &workloadv1alpha1.SyncTarget{}); err == nil {
			w.setConditions("edge-1", readyNow()[0], condition("Deployed", "Unknown", "ClusterUnreachable", "the physical cluster does not answer"))
		}
	}
	w.golden("join-timeout", append(pushArgs, "--timeout=10s")...)
}

// TestJoinEndsWithRefusal: what the user has to mend is not waited for until the timeout, but for as long as the controller may
// speak of what was before.
func TestJoinEndsWithRefusal(t *testing.T) {
	w := newWorld(t, bound(t))
	w.tick = func(int) {
		w.issueToken()
		if err := w.workspace.raw.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, &workloadv1alpha1.SyncTarget{}); err == nil {
			w.setConditions("edge-1", readyNow()[0], condition("Deployed", "False", "DeploymentFailed", "the physical cluster does not accept the token"))
		}
	}
	code := w.run(append(pushArgs, "--timeout=10m")...)
	if code != exitFailed || !strings.Contains(w.err.String(), "does not become Ready: Deployed is False (DeploymentFailed): the physical cluster does not accept the token") {
		t.Errorf("exit code %d:\n%s", code, &w.err)
	}
	if waited := w.clock.Since(now); waited < settleTime || waited > settleTime+5*pollInterval {
		t.Errorf("it waited %s, want about %s", waited, settleTime)
	}
}

// TestJoinInterrupted: what an interrupted call has made, the next one completes.
func TestJoinInterrupted(t *testing.T) {
	w := newWorld(t, bound(t))
	ctx, interrupt := context.WithCancel(t.Context())
	w.tick = func(int) { interrupt() }
	if code := w.runWith(ctx, pushArgs...); code != exitFailed || !strings.Contains(w.err.String(), "error: interrupted\nnext: run the same command again") {
		t.Errorf("exit code %d:\n%s", code, &w.err)
	}
	w.serve()
	if code := w.run(pushArgs...); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, &w.err)
	}
}

// publish plays the controller in pull mode: it creates the syncer's token with its settings.
func (w *world) publish() {
	w.t.Helper()
	config := agent.Config{
		Target: w.target("edge-1"), ClusterName: testCluster, Image: "registry.example.com/syncer:v0.2.0", KcpURL: "https://kcp.example.com:6443/clusters/" + testCluster,
	}
	for _, object := range agent.Identity(config) {
		if secret, ok := object.(*corev1.Secret); ok {
			secret.Data = map[string][]byte{"token": []byte(installToken)}
			if err := w.workspace.raw.Create(w.t.Context(), secret); err != nil && !apierrors.IsAlreadyExists(err) {
				w.t.Fatal(err)
			}
		}
	}
}

func TestJoinPull(t *testing.T) {
	w := newWorld(t, bound(t))
	w.tick = func(int) { w.publish() }
	w.golden("join-pull", "join", "edge-1", "--cell=region=eu-west-1", "--pull")
	if len(w.cluster.requests) > 0 {
		t.Errorf("the cluster was asked %q", w.cluster.requests)
	}
}

func TestJoinPullApply(t *testing.T) {
	args := []string{"join", "edge-1", "--cell=region=eu-west-1", "--pull", "--apply-to-context=edge"}
	w := newWorld(t, bound(t))
	w.tick = func(n int) {
		w.publish()
		if n > 3 {
			w.setConditions("edge-1", readyNow()...)
		}
	}
	w.golden("join-pull-apply", args...)
	if strings.Contains(w.out.String()+w.err.String(), installToken) {
		t.Error("the token is printed")
	}
	w.cluster.requests = nil
	w.golden("join-pull-apply-again", args...)
	if writes := w.cluster.writes(); len(writes) > 0 {
		t.Errorf("applying again wrote %q", writes)
	}
}

// TestJoinPullTimeout: the user learns which URL of kcp the syncer uses, since nobody else sees why it sends no heartbeat.
func TestJoinPullTimeout(t *testing.T) {
	w := newWorld(t, bound(t))
	w.tick = func(int) {
		w.publish()
		w.setConditions("edge-1", readyNow()[0], condition("Deployed", "False", "AwaitingInstall", "Waiting for you to install the syncer"))
		w.rollOut()
	}
	code := w.run("join", "edge-1", "--cell=region=eu-west-1", "--pull", "--apply-to-context=edge", "--timeout=5s")
	if want := "connects to kcp at https://kcp.example.com:6443/clusters/" + testCluster; code != exitTimeout || !strings.Contains(w.err.String(), want) {
		t.Errorf("exit code %d, want %d and %q:\n%s", code, exitTimeout, want, &w.err)
	}
}
