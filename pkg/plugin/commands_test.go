package plugin

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestManifests(t *testing.T) {
	w := newWorld(t, bound(t), pull(newTarget("edge-1")))
	w.publish()
	if code := w.run("manifests", "edge-1"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &w.err)
	}
	first := w.out.String()
	w.golden("manifests", "manifests", "edge-1")
	if w.out.String() != first {
		t.Error("the output differs from call to call")
	}
	if writes := w.workspace.writes(); len(writes) > 0 {
		t.Errorf("it wrote %q", writes)
	}
}

func TestManifestsRefused(t *testing.T) {
	invalid := withConditions(pull(newTarget("edge-1")), condition("Valid", "False", "ValidationFailed", "cluster reference is required"))
	for name, object := range map[string]client.Object{"manifests-push": newTarget("edge-1"), "manifests-not-published": pull(newTarget("edge-1")), "manifests-invalid": invalid} {
		t.Run(name, func(t *testing.T) { newWorld(t, bound(t), object).golden(name, "manifests", "edge-1", "--timeout=3s") })
	}
}

// leaving is a SyncTarget that the controller holds, and the Secret that join has made.
func leaving(target *workloadv1alpha1.SyncTarget) []client.Object {
	target.Finalizers = []string{workloadv1alpha1.Finalizer}
	return []client.Object{target, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "kubeconfigs", Name: "edge-1", UID: "uid-of-secret", Labels: map[string]string{managedByLabel: fieldOwner},
	}}}
}

// remove plays the controller: after a few seconds the SyncTarget is gone.
func (w *world) remove() {
	w.tick = func(n int) {
		target := w.target("edge-1")
		if n < 3 {
			w.setConditions("edge-1", condition("Deployed", "False", "Removing", "Waiting for the syncer to remove its copies"))
			return
		}
		target.Finalizers = nil
		if err := w.workspace.raw.Update(w.t.Context(), target); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) hasSecret() bool {
	w.t.Helper()
	err := w.workspace.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "kubeconfigs", Name: "edge-1"}, &corev1.Secret{})
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return err == nil
}

func TestLeave(t *testing.T) {
	w := newWorld(t, leaving(withConditions(newTarget("edge-1"), readyNow()...))...)
	w.remove()
	w.golden("leave", "leave", "edge-1")
	if w.hasSecret() {
		t.Error("the Secret that join has made is left")
	}
	w.golden("leave-again", "leave", "edge-1")
}

func TestLeavePull(t *testing.T) {
	w := newWorld(t, leaving(withConditions(pull(newTarget("edge-1")), readyNow()...))...)
	w.remove()
	w.golden("leave-pull", "leave", "edge-1")
}

// TestLeavePullOrphan: the Namespaces with the copies, which the user wants to keep, have the label of the syncer's Namespace.
func TestLeavePullOrphan(t *testing.T) {
	target := pull(newTarget("edge-1"))
	target.Spec.DeletionPolicy = workloadv1alpha1.DeletionPolicyOrphan
	w := newWorld(t, leaving(withConditions(target, readyNow()...))...)
	w.remove()
	w.golden("leave-pull-orphan", "leave", "edge-1")
}

// TestLeaveKeepsSecret: what another SyncTarget refers to, or somebody else has made, stays.
func TestLeaveKeepsSecret(t *testing.T) {
	other := newTarget("edge-2")
	other.Spec.KubeconfigSecretRef.Name = "edge-1"
	foreign := leaving(newTarget("edge-1"))
	foreign[1].SetLabels(nil)
	for name, objects := range map[string][]client.Object{"referred to": append(leaving(newTarget("edge-1")), other), "not join's": foreign} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, objects...)
			w.remove()
			if code := w.run("leave", "edge-1"); code != exitOK || !w.hasSecret() {
				t.Errorf("exit code %d, the Secret is kept: %t:\n%s", code, w.hasSecret(), &w.err)
			}
		})
	}
}

// TestLeaveInterrupted: the Secret is deleted by the next call, although the SyncTarget is gone by then.
func TestLeaveInterrupted(t *testing.T) {
	w := newWorld(t, leaving(newTarget("edge-1"))[1])
	if code := w.run("leave", "edge-1"); code != exitOK || w.hasSecret() {
		t.Errorf("exit code %d, the Secret is left: %t:\n%s", code, w.hasSecret(), &w.err)
	}
}

func TestLeaveTimeout(t *testing.T) {
	w := newWorld(t, leaving(newTarget("edge-1"))...)
	w.tick = func(int) {
		w.setConditions("edge-1", condition("Deployed", "False", "RemovalFailed", "the physical cluster does not answer; the deletion goes on without it at 12:15"))
	}
	w.golden("leave-timeout", "leave", "edge-1", "--timeout=5s")
}

func TestLeaveAbandon(t *testing.T) {
	target := withConditions(newTarget("edge-1"), readyNow()...)
	w := newWorld(t, append(leaving(target), newAssignment(target, "shop"))...)
	w.golden("leave-abandon-unasked", "leave", "edge-1", "--abandon")
	if writes := w.workspace.writes(); len(writes) > 0 {
		t.Errorf("unasked it wrote %q", writes)
	}
	w.golden("leave-abandon", "leave", "edge-1", "--abandon", "--yes", "--wait=false")
	got := w.target("edge-1")
	if got.Annotations[workloadv1alpha1.AnnotationAbandon] != "true" || got.DeletionTimestamp == nil {
		t.Errorf("annotations %v, deleted at %v", got.Annotations, got.DeletionTimestamp)
	}
}

func TestCordon(t *testing.T) {
	w := newWorld(t, newTarget("edge-1"))
	w.golden("cordon-dry-run", "cordon", "edge-1", "--dry-run=client")
	if w.target("edge-1").Spec.Unschedulable {
		t.Error("a dry run cordoned it")
	}
	w.golden("cordon", "cordon", "edge-1")
	if !w.target("edge-1").Spec.Unschedulable {
		t.Error("it is not cordoned")
	}
	w.golden("cordon-again", "cordon", "edge-1")
	w.golden("uncordon", "uncordon", "edge-1")
	if w.target("edge-1").Spec.Unschedulable {
		t.Error("it is still cordoned")
	}
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown command": {"frobnicate"}, "unknown flag": {"status", "--frobnicate"}, "no name": {"leave"}, "two names": {"status", "a", "b"},
		"arguments": {"version", "a"}, "verbosity": {"version", "--v=8"}, "no number": {"version", "--v=x"}, "workspace": {"status", "-w", "root::x"},
		"no object": {"explain"}, "a kind alone": {"explain", "deployment"}, "three parts": {"explain", "deployment/web/x"}, "two objects": {"explain", "deployment/web", "deployment/api"},
		"no such format": {"explain", "deployment/web", "-o", "wide"}, "no such tree": {"tree", "-o", "wide"}, "no credentials": {"get-credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if code := w.run(args...); code != exitUsage || !strings.HasPrefix(w.err.String(), "error: ") || !strings.Contains(w.err.String(), "\nnext: ") {
				t.Errorf("exit code %d:\n%s", code, &w.err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	newWorld(t).golden("help", "--help")
}

func TestComplete(t *testing.T) {
	w := newWorld(t, variety()...)
	for line, want := range map[string]string{
		"status edge": "edge-1\nedge-2\nedge-3\nedge-4\nedge-5\nedge-6\n:4\n", "leave edge-5": "edge-5\n:4\n", "join x --from-context w": "workspace\n:4\n", "status edge-1 ": ":4\n",
	} {
		if w.run(append([]string{"__complete"}, strings.Split(line, " ")...)...); w.out.String() != want {
			t.Errorf("%q is completed to %q, want %q", line, w.out.String(), want)
		}
	}
}

// TestUnbound: every command says that the workspace does not serve SyncTargets.
func TestUnbound(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"status", "edge-1"}, {"manifests", "edge-1"}, {"leave", "edge-1"}, {"cordon", "edge-1"}, {"version"},
		{"explain", "deployment/web"}, {"tree"}, {"get-credentials", "edge-1"}} {
		w := newWorld(t)
		w.workspace.refuse = func(string) error {
			return apierrors.NewGenericServerResponse(404, "get", workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets").GroupResource(), "", "404 page not found", 0, true)
		}
		if code := w.run(args...); code != exitFailed || !strings.Contains(w.err.String(), "the workspace does not serve SyncTargets") {
			t.Errorf("%q: exit code %d:\n%s", args, code, &w.err)
		}
	}
}
