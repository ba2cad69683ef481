package synctarget

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// startVersion restarts the controller with another version. It sees a heartbeat.
func (w *world) startVersion(version, image string) {
	w.t.Helper()
	w.restart()
	w.r.Version, w.r.SyncerImage = version, image
	w.see()
	w.beat(w.clock.Now())
	w.settle()
	w.see()
}

// drift passes by the time after which everything is read again.
func (w *world) drift() {
	w.t.Helper()
	w.clock.Step(driftInterval * 12 / 10)
	w.beat(w.clock.Now())
	w.pass()
}

func (w *world) wantVersion(reason, want string) {
	w.t.Helper()
	var namespace corev1.Namespace
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: testNamespace()}, &namespace); err != nil {
		w.t.Fatal(err)
	}
	if got := namespace.Annotations[workloadv1alpha1.AnnotationControllerVersion]; got != want {
		w.t.Errorf("%s\nthe version of the controller is %q, want %q", reason, got, want)
	}
}

// versionPatch is the request that writes the version.
func versionPatch() string { return `patch Namespace "` + testNamespace() + `"` }

// wantUnwritten fails if the version was written since everything was at rest.
func (w *world) wantUnwritten() {
	w.t.Helper()
	if slices.Contains(w.kcp.writes, versionPatch()) {
		w.t.Errorf("written at rest: %q", w.kcp.writes)
	}
}

// installedBy is a target that is Ready, installed by this version of the controller.
func installedBy(t *testing.T, version string) *world {
	t.Helper()
	w := usual(t)
	w.r.Version = version
	w.ready()
	return w
}

// TestControllerVersionInRollout: an upgrade writes the version of the controller to a SyncTarget when it is its turn.
func TestControllerVersionInRollout(t *testing.T) {
	w := installedBy(t, "v0.1.0")
	w.wantVersion("It was installed.", "v0.1.0")
	w.startVersion("v0.2.0", "syncer:v2")
	w.wantVersion("It waits for its turn.", "v0.1.0")
	w.drift()
	w.wantVersion("It still waits, however often it is read.", "v0.1.0")
	if !w.next() {
		t.Fatal("it is its turn, and nothing asks for a pass")
	}
	w.wantVersion("It is its turn.", "v0.2.0")
	w.rollOut()
	w.wake()
	w.settle()
	w.drift()
	w.wantUnwritten()
}

// TestControllerVersionWithoutRollout: a controller of another version that installs the same writes nothing at its start, and its
// version when everything is read again.
func TestControllerVersionWithoutRollout(t *testing.T) {
	for name, mode := range map[string]func(*testing.T) *world{
		"push mode": func(t *testing.T) *world { return installedBy(t, "v0.1.0") },
		"pull mode": func(t *testing.T) *world {
			w := newWorld(t, newTarget(pull), newBinding())
			w.r.Version = "v0.1.0"
			w.settle()
			w.wantVersion("No syncer has been installed yet.", "v0.1.0")
			w.beat(w.clock.Now())
			w.settle()
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := mode(t)
			w.startVersion("v0.2.0", "syncer:v1")
			w.wantVersion("The controller has just started.", "v0.1.0")
			w.wake()
			w.pass()
			w.wantVersion("A sign of a change has everything read again, at the start of the controller for many.", "v0.1.0")
			w.drift()
			w.wantVersion("Everything was read again.", "v0.2.0")
			w.settle()
			w.drift()
			w.wantUnwritten()
		})
	}
}

// TestControllerVersionIsWrittenAgain: a write that failed is made by the next pass.
func TestControllerVersionIsWrittenAgain(t *testing.T) {
	w := installedBy(t, "v0.1.0")
	w.startVersion("v0.2.0", "syncer:v2")
	w.kcp.refuse = func(request string) error {
		if request == versionPatch() {
			w.kcp.refuse = func(string) error { return nil }
			return errInjected
		}
		return nil
	}
	w.r.rollouts.targets[testUID].Granted = w.clock.Now()
	w.wake()
	if _, err := w.reconcile(); err == nil {
		t.Fatal("the error is lost")
	}
	w.wantVersion("It was not written.", "v0.1.0")
	w.pass()
	w.wantVersion("It is tried again.", "v0.2.0")
	w.wantImage("The syncer is installed then.", "syncer:v2")
}
