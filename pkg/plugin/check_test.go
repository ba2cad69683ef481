package plugin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// checked is a world in which every check passes: a SyncTarget that is Ready, its stored kubeconfig, and kcp that answers from
// inside the cluster.
func checked(t *testing.T) *world {
	t.Helper()
	kubeconfig, err := installerKubeconfig("edge-1", endpoint{server: "https://edge-1.example.com:6443"}, []byte(secretText))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, bound(t), withConditions(newTarget("edge-1"), readyNow()...), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kubeconfigs", Name: "edge-1", UID: "uid-of-secret", Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"}},
		Data:       map[string][]byte{"kubeconfig": kubeconfig},
	})
	seen := answer{version: "v1.35.1+kcp-v0.32.1", notAfter: now.Add(365 * 24 * time.Hour), date: now}
	w.answers = map[string]answer{"https://kcp.example.com:6443/clusters/root:team": seen, "https://edge-1.example.com:6443": seen}
	w.publish()
	w.runJob(0, "")
	return w
}

// runJob plays the cluster: the Pod of a Job ends with this code.
func (w *world) runJob(code int32, message string) {
	w.tick = func(int) {
		var jobs batchv1.JobList
		if err := w.cluster.raw.List(w.t.Context(), &jobs); err != nil || len(jobs.Items) == 0 {
			w.t.Fatalf("there is no Job: %v", err)
		}
		job := jobs.Items[0]
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name + "-y", Labels: map[string]string{batchv1.JobNameLabel: job.Name}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}},
			}}},
		}
		if err := w.cluster.raw.Create(w.t.Context(), pod); err != nil {
			w.t.Fatal(err)
		}
	}
}

// rejectClaims has the APIBinding reject the claims on these resources.
func (w *world) rejectClaims(resources ...string) {
	w.t.Helper()
	binding := bound(w.t)
	if err := w.workspace.raw.Get(w.t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		w.t.Fatal(err)
	}
	for i := range binding.Spec.PermissionClaims {
		if claim := &binding.Spec.PermissionClaims[i]; slices.Contains(resources, claim.Resource) {
			claim.State = apisv1alpha2.ClaimRejected
		}
	}
	if err := w.workspace.raw.Update(w.t.Context(), binding); err != nil {
		w.t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*world)
		args   []string
	}{
		"check":     {func(*world) {}, []string{"check", "edge-1"}},
		"check-pre": {func(*world) {}, []string{"check", "--pre", "--from-context=edge", "--syncer-image=registry.example.com/syncer:v0.2.0"}},
		"check-missing-rights": {func(w *world) {
			w.workspace.lacks, w.cluster.lacks = []string{"create secrets"}, []string{"patch deployments", "delete deployments", "create pods"}
		}, []string{"check", "edge-1"}},
		"check-unreachable":  {func(w *world) { w.runJob(1, "Get \"https://kcp.example.com:6443/version\": dial tcp: i/o timeout\n") }, []string{"check", "edge-1"}},
		"check-old-image":    {func(w *world) { w.runJob(2, "unknown flag: --check-kcp") }, []string{"check", "edge-1"}},
		"check-no-pod":       {func(w *world) { w.tick = func(int) {} }, []string{"check", "edge-1", "--timeout=5s"}},
		"check-cluster-gone": {func(w *world) { delete(w.answers, "https://edge-1.example.com:6443") }, []string{"check", "edge-1"}},
		"check-expired": {func(w *world) {
			w.cluster.refuse = func(string) error { return apierrors.NewUnauthorized("Unauthorized") }
		}, []string{"check", "edge-1"}},
		"check-quota": {func(w *world) {
			w.cluster.refuse = func(request string) error {
				if strings.HasPrefix(request, "create Pod") {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "synctarget-check", nil)
				}
				return nil
			}
		}, []string{"check", "edge-1"}},
		// The service works without these two, so it is Ready.
		"check-optional-claims": {func(w *world) { w.rejectClaims("leases", "events") }, []string{"check", "edge-1"}},
		"check-claims": {func(w *world) {
			w.rejectClaims("secrets", "events")
			w.setConditions("edge-1", condition("Valid", "False", "ValidationFailed", "permission claims are not accepted: secrets"))
		}, []string{"check", "edge-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := checked(t)
			tc.change(w)
			w.golden(name, tc.args...)
			var jobs batchv1.JobList
			if err := w.cluster.raw.List(t.Context(), &jobs); err != nil || len(jobs.Items) > 0 {
				t.Errorf("%d Jobs are left: %v", len(jobs.Items), err)
			}
		})
	}
}

func TestServerFindings(t *testing.T) {
	day := 24 * time.Hour
	for name, tc := range map[string]struct {
		seen answer
		want string
	}{
		"right":           {answer{version: "v1", notAfter: now.Add(100 * day), date: now.Add(-time.Second)}, "✔✔✔"},
		"expired":         {answer{notAfter: now.Add(-day), date: now}, "✔✗✔"},
		"expires soon":    {answer{notAfter: now.Add(3 * day), date: now}, "✔!✔"},
		"clock is behind": {answer{notAfter: now.Add(100 * day), date: now.Add(-time.Hour)}, "✔✔✗"},
		"clock is ahead":  {answer{notAfter: now.Add(100 * day), date: now.Add(time.Hour)}, "✔✔✗"},
		"nothing known":   {answer{}, "✔"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := marks(t, serverFindings("kcp", tc.seen, now)...); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestKcpFinding(t *testing.T) {
	for version, want := range map[string]string{
		"v1.35.1+kcp-v0.31.2": "!", "v1.35.1+kcp-v0.31.3": "✔", "v1.35.1+kcp-v0.32.0": "!", "v1.35.1+kcp-v0.32.1": "✔", "v1.33.0+kcp-v0.30.9": "✗", "v1.34.4": "-", "": "-",
	} {
		if got := marks(t, kcpFinding(version)); got != want {
			t.Errorf("%q: %s, want %s", version, got, want)
		}
	}
}

// marks are the first characters of the findings. Each that has not passed says what to do.
func marks(t *testing.T, findings ...finding) (out string) {
	t.Helper()
	for _, f := range findings {
		out += string([]rune(f.text())[:1])
		if (f.result == passed) != (f.cure == "") {
			t.Errorf("%q: the cure is %q", f.what, f.cure)
		}
	}
	return out
}

func TestContactServer(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/clusters/root/version" {
			t.Errorf("it asked for %s", r.URL.Path)
		}
		_, _ = w.Write([]byte(`{"gitVersion":"v1.35.1+kcp-v0.32.1"}`))
	}))
	defer server.Close()
	seen, err := contactServer(t.Context(), &rest.Config{Host: server.URL + "/clusters/root", TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil || seen.version != "v1.35.1+kcp-v0.32.1" || seen.date.IsZero() || !seen.notAfter.Equal(server.Certificate().NotAfter) {
		t.Errorf("it saw %v, %v", seen, err)
	}
}
