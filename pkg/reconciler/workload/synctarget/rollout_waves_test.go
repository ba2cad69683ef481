package synctarget

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/rollout"
)

// upgraded is a target that is Ready with syncer:v1, and a controller that was just started with syncer:v2.
func upgraded(t *testing.T, change ...func(*workloadv1alpha1.SyncTarget)) *world {
	t.Helper()
	w := usual(t, change...)
	w.ready()
	w.upgrade()
	return w
}

// upgrade restarts the controller with syncer:v2. It sees a heartbeat.
func (w *world) upgrade() {
	w.t.Helper()
	w.restart()
	w.r.SyncerImage = "syncer:v2"
	w.see()
	w.clock.Step(time.Second)
	w.beat(w.clock.Now())
	w.pass()
	w.see()
}

// see takes in what the watch of SyncTargets delivers.
func (w *world) see() { w.r.observe(w.t.Context(), testCluster, w.target()) }

// next looks at the rollout, makes the passes that this asks for, and tells whether the target was among them.
func (w *world) next() bool {
	w.t.Helper()
	w.see()
	q := newQueue(w.t)
	w.r.runRollouts(logr.Discard(), q)
	asked := len(queued(q)) > 0
	if asked {
		w.pass()
		w.see()
	}
	return asked
}

func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	var deployment appsv1.Deployment
	if err := w.there.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.DeploymentName}, &deployment); err != nil {
		w.t.Fatal(err)
	}
	return &deployment
}

// setDeployment changes the Deployment as somebody in the physical cluster does.
func (w *world) setDeployment(change func(*appsv1.Deployment)) {
	w.t.Helper()
	deployment := w.deployment()
	change(deployment)
	if err := w.there.raw.Update(w.t.Context(), deployment); err != nil {
		w.t.Fatal(err)
	}
	w.wake()
}

func (w *world) image() string {
	w.t.Helper()
	return w.deployment().Spec.Template.Spec.Containers[0].Image
}

// wantImage compares the image of the syncer that is installed.
func (w *world) wantImage(reason, want string) {
	w.t.Helper()
	if got := w.image(); got != want {
		w.t.Errorf("%s\nimage %q, want %q", reason, got, want)
	}
}

// another adds a SyncTarget of another workspace.
func (w *world) another(name string, target rollout.Target) *rolloutRecord {
	target.ID, target.Examined = "~"+name, true // begins after the target of this world
	record := &rolloutRecord{Target: target, request: request("secret-workspace", name)}
	w.r.rollouts.targets[types.UID(target.ID)] = record
	return record
}

// failing is a SyncTarget that has got the new settings, and whose Pods do not start.
func (w *world) failing() rollout.Target {
	now := w.clock.Now()
	return rollout.Target{RolledOut: now, Ready: rollout.Condition{True: true, Changed: now}, Deployed: rollout.Condition{Changed: now}, Stuck: true}
}

// TestUpgrade: a SyncTarget that is Ready gets another image when it is its turn, and counts until its new syncer is heard.
func TestUpgrade(t *testing.T) {
	w := upgraded(t)
	w.wantImage("It waits for its turn.", "syncer:v1")
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s", got)
	}
	w.forget()
	if !w.next() {
		t.Fatal("it is its turn, and nothing asks for a pass")
	}
	w.wantImage("It is its turn.", "syncer:v2")
	w.setStuck()
	began := w.deployment().Annotations[workloadv1alpha1.AnnotationRolledOut]
	if want := w.clock.Now().UTC().Format(time.RFC3339); began != want {
		t.Errorf("rolled out at %q, want %q", began, want)
	}

	want := func(reason string, want rollout.State) {
		t.Helper()
		if w.next() {
			t.Errorf("%s\na pass without need", reason)
		}
		if _, counts := w.r.rollouts.summary(); counts[want] != 1 {
			t.Errorf("%s\nstates %v, want %d", reason, counts, want)
		}
	}
	want("Its Pods do not run.", rollout.Updating)
	w.rollOut()
	w.wake()
	w.pass()
	want("Its new syncer was not heard.", rollout.Updating)
	w.clock.Step(rollout.PodGrace)
	w.beat(w.clock.Now())
	want("A Pod of before may have sent that.", rollout.Updating)

	w.restart()
	w.r.SyncerImage = "syncer:v2"
	w.see()
	w.pass()
	want("The controller was restarted in the middle.", rollout.Updating)
	if got := w.deployment().Annotations[workloadv1alpha1.AnnotationRolledOut]; got != began {
		t.Errorf("rolled out at %q after a restart, and at %q before", got, began)
	}
	w.clock.Step(rollout.PodGrace + time.Second)
	w.beat(w.clock.Now())
	want("It was heard.", rollout.Updated)

	w.wake()
	w.there.forget()
	w.pass()
	reads := 0
	for _, read := range w.there.reads {
		if strings.HasPrefix(read, "get Deployment") {
			reads++
		}
	}
	if reads != 2 || len(w.there.writes) != 0 {
		t.Errorf("one that is up to date costs no further request: %q, %q", w.there.reads, w.there.writes)
	}
}

// TestWithoutAWave: what is not held back, though another SyncTarget halts the rollout.
func TestWithoutAWave(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*world)
		image  string
	}{
		"nothing":             {"", func(*world) {}, "syncer:v1"},
		"an image of its own": {"", func(w *world) { w.edit(ownImage("mine:v7")) }, "mine:v7"},
		"the new image":       {"Its user does not wait for the rollout.", func(w *world) { w.edit(ownImage("syncer:v2")) }, "syncer:v2"},
		"silence":             {"It may be cured.", func(w *world) { w.clock.Step(threshold); w.pass() }, "syncer:v2"},
		"drift":               {"It is repaired with the present image.", func(w *world) { w.setDeployment(setImage("drift")) }, "syncer:v1"},
		"a new Deployment": {"", func(w *world) {
			if err := w.there.raw.Delete(w.t.Context(), w.deployment()); err != nil {
				w.t.Fatal(err)
			}
			w.wake()
		}, "syncer:v2"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := upgraded(t)
			w.another("other", w.failing())
			w.next()
			tc.change(w)
			w.wake()
			w.pass()
			w.wantImage(tc.reason, tc.image)
			if state := w.r.rollouts.targets[testUID].State(w.clock.Now(), w.r.rollouts.deadline); (tc.image == "syncer:v1") != (state == rollout.Pending) {
				t.Errorf("%s\nstate %d", tc.reason, state)
			}
		})
	}
}

func ownImage(image string) func(*workloadv1alpha1.SyncTarget) {
	return func(target *workloadv1alpha1.SyncTarget) {
		target.Generation++
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Image: image}
	}
}

func setImage(image string) func(*appsv1.Deployment) {
	return func(deployment *appsv1.Deployment) { deployment.Spec.Template.Spec.Containers[0].Image = image }
}

// TestChangeWhilePending: what a user changes is done, with the settings of before.
func TestChangeWhilePending(t *testing.T) {
	w := upgraded(t)
	w.r.KcpURL, w.r.HeartbeatInterval = "https://other.example.com", time.Minute
	args := w.deployment().Spec.Template.Spec.Containers[0].Args
	w.edit(func(target *workloadv1alpha1.SyncTarget) {
		target.Generation++
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{NodeSelector: map[string]workloadv1alpha1.LabelValue{"disk": "ssd"}}
	})
	w.pass()
	w.wantImage("", "syncer:v1")
	after := w.deployment()
	if got := after.Spec.Template.Spec.NodeSelector["disk"]; got != "ssd" {
		t.Errorf("nodeSelector = %q", got)
	}
	if diff := cmp.Diff(args, after.Spec.Template.Spec.Containers[0].Args); diff != "" {
		t.Errorf("args: -want +got\n%s", diff)
	}
	w.see()
	w.rollOut()
	w.wake()
	w.pass()
	w.next()
	w.wantImage("It is its turn.", "syncer:v2")
}

// TestAnotherRelease: a Pod template of another release is not mixed with settings of before: the syncer is left alone.
func TestAnotherRelease(t *testing.T) {
	for name, change := range map[string]func(settings string) string{
		"another template": func(settings string) string {
			return strings.Replace(settings, `"template":"`, `"template":"other-`, 1)
		},
		"nothing recorded": func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.setDeployment(func(d *appsv1.Deployment) {
				d.Annotations[workloadv1alpha1.AnnotationSettings] = change(d.Annotations[workloadv1alpha1.AnnotationSettings])
				d.Spec.Template.Spec.Containers[0].Args = []string{"--of-the-release-before"}
			})
			before := w.deployment()
			w.upgrade()
			w.wake()
			w.pass()
			if diff := cmp.Diff(before, w.deployment()); diff != "" {
				t.Errorf("It waits for its turn: -before +after\n%s", diff)
			}
			w.next()
			w.wantImage("It is its turn.", "syncer:v2")
			if got := w.deployment().Spec.Template.Spec.Containers[0].Args; len(got) < 2 {
				t.Errorf("args = %q", got)
			}
		})
	}
}

// TestTokenWhilePending: another token that kcp has issued reaches a syncer of another release that waits for its turn.
func TestTokenWhilePending(t *testing.T) {
	w := usual(t)
	w.ready()
	w.setDeployment(func(d *appsv1.Deployment) {
		settings := d.Annotations[workloadv1alpha1.AnnotationSettings]
		d.Annotations[workloadv1alpha1.AnnotationSettings] = strings.Replace(settings, `"template":"`, `"template":"other-`, 1)
	})
	w.upgrade()
	w.kcp.token = "issued.anew.signature"
	if err := w.kcp.issue(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}); err != nil {
		t.Fatal(err)
	}
	w.r.installCache.forgetIdentity(testUID) // as the event of the Secret does
	w.pass()
	if got := w.installedToken(); got != w.kcp.token {
		t.Errorf("token %q, want %q", got, w.kcp.token)
	}
	w.wantImage("It waits for its turn.", "syncer:v1")
}

// TestHalt: a rollout that fails elsewhere is told, without names, and goes on when that is mended.
func TestHalt(t *testing.T) {
	mended := map[string]func(w *world, failing *rolloutRecord){
		"it becomes Ready": func(w *world, failing *rolloutRecord) {
			failing.Stuck, failing.Complete, failing.Deployed.True = false, w.clock.Now().Add(-time.Hour), true
			failing.WasUpdated = true
		},
		"it is deleted": func(w *world, failing *rolloutRecord) { w.r.rollouts.forget(types.UID(failing.ID)) },
		"it has an image of its own": func(w *world, failing *rolloutRecord) {
			w.r.rollouts.applied(types.UID(failing.ID), installPlan{action: installWanted, config: agent.Config{Target: newTarget()}})
		},
	}
	for name, mend := range mended {
		t.Run(name, func(t *testing.T) {
			w := upgraded(t)
			failing := w.another("secret-name", w.failing())
			w.forget()
			if !w.next() {
				t.Error("a halt is not told")
			}
			w.wantImage("It is halted.", "syncer:v1")
			want := `True RolloutHalted: Syncer deployment successful; it keeps image "syncer:v1", because the rollout of image "syncer:v2" is halted: at least one SyncTarget of the service did not become Ready with it. Ask the operator of the service, or set spec.syncer.image to get the image now`
			if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
				t.Errorf("Deployed = %s\nwant %s", got, want)
			}
			if len(w.events.events) != 1 || !strings.Contains(w.events.events[0], "RolloutHalted") {
				t.Errorf("Events: %q", w.events.events)
			}
			metrics := func(halted, failed, updated, pending int) {
				t.Helper()
				if err := testutil.GatherAndCompare(w.registry, strings.NewReader(fmt.Sprintf(`
# HELP synctarget_controller_rollout_halted 1 while the rollout of the syncer does not go on, since SyncTargets did not become Ready with the new settings. The log names them.
# TYPE synctarget_controller_rollout_halted gauge
synctarget_controller_rollout_halted %d
# HELP synctarget_controller_rollout_targets SyncTargets whose syncer the service installs, by how far they are with its image and other settings of now. Unknown: not read yet. Pending: they have earlier ones. Updating: they are not Ready with them yet. Failed: they did not become so in time. Updated: they have them.
# TYPE synctarget_controller_rollout_targets gauge
synctarget_controller_rollout_targets{state="Failed"} %d
synctarget_controller_rollout_targets{state="Pending"} %d
synctarget_controller_rollout_targets{state="Unknown"} 0
synctarget_controller_rollout_targets{state="Updated"} %d
synctarget_controller_rollout_targets{state="Updating"} 0
`, halted, failed, pending, updated)), "synctarget_controller_rollout_halted", "synctarget_controller_rollout_targets"); err != nil {
					t.Error(err)
				}
			}
			metrics(1, 1, 0, 1)
			second := w.another("another", w.failing())
			if w.next() {
				t.Error("a halt is told again")
			}
			w.wake()
			w.pass()
			if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
				t.Errorf("Deployed = %s\nwant %s when one more has failed", got, want)
			}
			metrics(1, 2, 0, 1)
			w.r.rollouts.forget(types.UID(second.ID))

			mend(w, failing)
			w.next()
			w.pass()
			w.wantImage("It goes on.", "syncer:v2")
			if halted, _ := w.r.rollouts.summary(); halted {
				t.Error("still halted")
			}
		})
	}
}

// TestHaltIsLogged: once, with names, since the operator has to look at these SyncTargets.
func TestHaltIsLogged(t *testing.T) {
	w := upgraded(t)
	failing := w.another("broken", w.failing())
	var lines []string
	logger := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	look := func(want string) {
		t.Helper()
		lines = nil
		w.r.rollouts.next(logger, w.r.heartbeats.lastChange)
		if (len(lines) > 0) != (want != "") || want != "" && !strings.Contains(lines[0], want) {
			t.Errorf("log %q, want %q", lines, want)
		}
	}
	look("secret-workspace/broken")
	look("")
	w.r.rollouts.forget(types.UID(failing.ID))
	look("goes on")
	look("")
}

// broken is a target of which syncer:v2 does not get its new Pods to run, and a controller that was just started with syncer:v3.
func broken(t *testing.T) *world {
	t.Helper()
	w := upgraded(t)
	w.next()
	w.setStuck()
	w.clock.Step(time.Hour)
	w.restart()
	w.r.SyncerImage = "syncer:v3"
	w.see()
	w.pass()
	w.wantImage("It was not heard yet.", "syncer:v2")
	return w
}

// TestUnfinishedRollout: a SyncTarget that an earlier rollout has broken is not kept from a later one, though that is halted.
func TestUnfinishedRollout(t *testing.T) {
	w := broken(t)
	w.another("other", w.failing())
	w.beat(w.clock.Now()) // of the old Pod
	w.next()
	w.wantImage("It does not wait.", "syncer:v3")
	if got, want := w.deployment().Annotations[workloadv1alpha1.AnnotationRolledOut], w.clock.Now().UTC().Format(time.RFC3339); got != want {
		t.Errorf("rolled out at %q, want %q", got, want)
	}
}

// TestOfflineBeforeItsTurn: a SyncTarget that fell silent while no controller ran is no part of the rollout that the next one begins.
func TestOfflineBeforeItsTurn(t *testing.T) {
	w := broken(t)
	waiting := w.another("waiting", rollout.Target{Outdated: true, Ready: rollout.Condition{True: true}})
	w.clock.Step(threshold)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy") {
		t.Fatalf("Ready = %s", got)
	}
	w.wantImage("It may be cured.", "syncer:v3")
	if got, found := w.deployment().Annotations[workloadv1alpha1.AnnotationRolledOut]; found {
		t.Errorf("rolled out at %q", got)
	}
	for range 3 {
		w.next()
		halted, counts := w.r.rollouts.summary()
		if want := map[rollout.State]int{rollout.Updated: 1, rollout.Pending: 1}; halted || !maps.Equal(counts, want) {
			t.Errorf("halted: %t, states %v, want %v", halted, counts, want)
		}
		w.clock.Step(w.r.rollouts.deadline)
	}
	if !waiting.Granted.IsZero() {
		t.Error("one that was never heard begins")
	}
}

// TestNeverDeployed: a SyncTarget that is Ready, but was never Deployed, gets its turn, and is judged by its heartbeats.
func TestNeverDeployed(t *testing.T) {
	for name, tc := range map[string]struct {
		silent bool
		want   rollout.State
	}{
		"heartbeats": {false, rollout.Updated},
		"silence":    {true, rollout.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.setStuck()
			w.clock.Step(2 * threshold)
			w.upgrade()
			w.next()
			w.wantImage("It is its turn.", "syncer:v2")
			w.another("waiting", rollout.Target{Outdated: true, Ready: rollout.Condition{True: true}})
			w.setStuck()
			w.clock.Step(threshold)
			if !tc.silent {
				w.beat(w.clock.Now())
			}
			w.pass()
			if w.isReady() == tc.silent {
				t.Fatalf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
			}
			w.clock.Step(threshold)
			w.next()
			halted, counts := w.r.rollouts.summary()
			if counts[tc.want] != 1 || halted != tc.silent {
				t.Errorf("halted: %t, states %v", halted, counts)
			}
		})
	}
}

// setStuck is a Deployment that does not get its new Pods to run.
func (w *world) setStuck() {
	w.t.Helper()
	deployment := w.deployment()
	deployment.Status = appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, UnavailableReplicas: 1}
	if err := w.there.raw.Status().Update(w.t.Context(), deployment); err != nil {
		w.t.Fatal(err)
	}
	w.wake()
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False RollingOut") {
		w.t.Fatalf("Deployed = %s", got)
	}
}

// TestGrantInVain: a cluster that refuses the installation halts nothing, and does not occupy its place for ever.
func TestGrantInVain(t *testing.T) {
	w := upgraded(t)
	w.there.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply Deployment") {
			return errInjected
		}
		return nil
	}
	w.next()
	w.wantImage("", "syncer:v1")
	record := w.r.rollouts.targets[testUID]
	if state := record.State(w.clock.Now(), w.r.rollouts.deadline); state != rollout.Updating {
		t.Errorf("state %d, want its place", state)
	}
	w.clock.Step(w.r.rollouts.deadline)
	if state := record.State(w.clock.Now(), w.r.rollouts.deadline); state != rollout.Pending {
		t.Errorf("state %d, want that it waits again", state)
	}
}

// TestPullModeIsNoPartOfARollout: nor is a SyncTarget that is being deleted.
func TestPullModeIsNoPartOfARollout(t *testing.T) {
	w := usual(t)
	for name, change := range map[string]func(*workloadv1alpha1.SyncTarget){"pull mode": pull, "deleted": deletedAt} {
		w.r.rollouts.observe(testCluster, newTarget())
		w.r.rollouts.observe(testCluster, newTarget(change))
		if len(w.r.rollouts.targets) != 0 {
			t.Errorf("%s: it counts", name)
		}
	}
}
