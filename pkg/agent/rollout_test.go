package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// world is what a cluster holds for one Deployment, in the state that a rollout of revision 2 begins with.
type world struct {
	deployment *appsv1.Deployment
	newest     *appsv1.ReplicaSet
	pod        *corev1.Pod
}

func newWorld() *world {
	c := testConfig()
	d := c.deployment()
	d.UID, d.Generation = "deployment", 2
	d.Annotations[revisionAnnotation] = "2"
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, UnavailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, Reason: "MinimumReplicasUnavailable", Message: "Deployment does not have minimum availability."},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "ReplicaSetUpdated", Message: `ReplicaSet "syncer-6d4cf56db6" is progressing.`},
		},
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: owned(d.ObjectMeta, "syncer-6d4cf56db6", "Deployment")}
	rs.UID = "newest"
	pod := &corev1.Pod{ObjectMeta: owned(rs.ObjectMeta, "syncer-6d4cf56db6-x7k2p", "ReplicaSet")}
	pod.Status.Phase = corev1.PodPending
	return &world{d, rs, pod}
}

func owned(by metav1.ObjectMeta, name, kind string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: by.Namespace, Name: name, Labels: by.Labels, Annotations: by.Annotations,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: by.Name, UID: by.UID, Controller: ptr.To(true)}},
	}
}

func (w *world) container(state corev1.ContainerState, restarts int32, last *corev1.ContainerStateTerminated) {
	w.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "syncer", Image: "registry.example.com/synctarget/syncer:v0.1.0",
		State: state, RestartCount: restarts, LastTerminationState: corev1.ContainerState{Terminated: last},
	}}
}

func (w *world) waiting(reason, message string) {
	w.container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}, 0, nil)
}

func (w *world) progressing(status corev1.ConditionStatus, reason, message string) {
	w.deployment.Status.Conditions[1].Status = status
	w.deployment.Status.Conditions[1].Reason = reason
	w.deployment.Status.Conditions[1].Message = message
}

func (w *world) available() {
	w.deployment.Status.ReadyReplicas, w.deployment.Status.AvailableReplicas, w.deployment.Status.UnavailableReplicas = 1, 1, 0
	w.deployment.Status.Conditions[0].Status = corev1.ConditionTrue
	w.progressing(corev1.ConditionTrue, "NewReplicaSetAvailable", `ReplicaSet "syncer-6d4cf56db6" has successfully progressed.`)
}

func (w *world) objects() []client.Object {
	var objects []client.Object
	if w.deployment != nil {
		// An earlier revision, whose ReplicaSet is listed last, is never what a rollout waits for.
		older := &appsv1.ReplicaSet{ObjectMeta: owned(w.deployment.ObjectMeta, "syncer-zzzzzzzzz", "Deployment")}
		older.UID, older.Annotations = "older", map[string]string{revisionAnnotation: "1"}
		objects = append(objects, w.deployment, older)
	}
	if w.newest != nil {
		objects = append(objects, w.newest)
	}
	if w.pod != nil {
		objects = append(objects, w.pod)
	}
	return objects
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
}

func TestRollout(t *testing.T) {
	const deployment = `Deployment "kcp-syncer-edge-1-djpdevi3jln6x2tg/syncer"`
	const image = `image "registry.example.com/synctarget/syncer:v0.1.0"`
	crash := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "I1123 20:42:19.1 starting\nkcp refuses the token\n"}
	tests := map[string]struct {
		reason string
		state  func(*world)
		ready  bool
		want   string
	}{
		"rolled out": {"", (*world).available, true, ""},
		"scaled to zero": {
			"The Deployment is as the user wants it.",
			func(w *world) {
				w.available()
				w.deployment.Spec.Replicas = ptr.To[int32](0)
				w.deployment.Status.Replicas, w.deployment.Status.UpdatedReplicas = 0, 0
				w.deployment.Status.ReadyReplicas, w.deployment.Status.AvailableReplicas = 0, 0
				w.pod = nil
			}, true, "",
		},
		"missing":       {"", func(w *world) { *w = world{} }, false, deployment + " is missing"},
		"being deleted": {"", func(w *world) { w.deployment.Finalizers = []string{"foregroundDeletion"} }, false, deployment + " is still being deleted: held by finalizer foregroundDeletion"},
		"not seen": {
			"Its status speaks of an earlier generation.",
			func(w *world) { w.available(); w.deployment.Generation = 3 }, false,
			"the physical cluster has not taken up " + deployment + " yet",
		},
		"no pod yet":      {"", func(w *world) { w.pod = nil }, false, deployment + " has no Pod yet"},
		"no ReplicaSet":   {"", func(w *world) { w.newest, w.pod = nil, nil }, false, deployment + " has no Pod yet"},
		"starting":        {"", func(w *world) { w.waiting("ContainerCreating", "") }, false, deployment + " is rolling out; if this lasts, see the events of its Pods"},
		"image not found": {"While kubelet tries.", func(w *world) { w.waiting("ErrImagePull", pullError) }, false, image + " cannot be pulled: " + pullWords},
		"image not found, backing off": {
			"While it waits to try again: the same words.",
			func(w *world) {
				w.waiting("ImagePullBackOff", `Back-off pulling image "registry.example.com/synctarget/syncer:v0.1.0": ErrImagePull: `+pullError)
			}, false, image + " cannot be pulled: " + pullWords,
		},
		"image not found, older kubelet": {
			"It says only that it backs off.",
			func(w *world) {
				w.waiting("ImagePullBackOff", `Back-off pulling image "registry.example.com/synctarget/syncer:v0.1.0"`)
			}, false, image + " cannot be pulled",
		},
		"image name": {
			"", func(w *world) {
				w.waiting("InvalidImageName", `Failed to apply default image tag "A:b:c": couldn't parse image name "A:b:c": invalid reference format`)
			}, false, image + ` cannot be pulled: Failed to apply default image tag "A:b:c": couldn't parse image name "A:b:c": invalid reference format`,
		},
		"config": {
			"", func(w *world) {
				w.waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
			}, false, "the syncer's container cannot be started (CreateContainerConfigError): container has runAsNonRoot and image will run as root",
		},
		"crashing, backing off": {
			"", func(w *world) {
				w.container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container=syncer pod=syncer-x"}}, 3, crash)
			}, false, "the syncer keeps crashing (exit code 1): kcp refuses the token; see the logs of " + deployment,
		},
		"crashing, just ended": {
			"The same words in each state of the loop.",
			func(w *world) { w.container(corev1.ContainerState{Terminated: crash}, 3, crash) }, false,
			"the syncer keeps crashing (exit code 1): kcp refuses the token; see the logs of " + deployment,
		},
		"crashing, running for now": {
			"", func(w *world) { w.container(running(), 4, crash) }, false,
			"the syncer keeps crashing (exit code 1): kcp refuses the token; see the logs of " + deployment,
		},
		"out of memory": {
			"", func(w *world) {
				w.container(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}, 1, nil)
			}, false, "the syncer keeps crashing (exit code 137, OOMKilled); see the logs of " + deployment,
		},
		"restarted once": {
			"A node that was restarted is no crash loop.",
			func(w *world) {
				w.container(running(), 1, &corev1.ContainerStateTerminated{ExitCode: 255, Reason: "Unknown"})
			}, false,
			"the syncer runs but is not ready; if this lasts, see the logs of " + deployment,
		},
		"not ready": {"", func(w *world) { w.container(running(), 0, nil) }, false, "the syncer runs but is not ready; if this lasts, see the logs of " + deployment},
		"unschedulable": {
			"Without how many nodes: they come and go.",
			func(w *world) {
				w.pod.Status.Conditions = []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
					Message: "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {edge: true}. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
				}}
			}, false, "no node takes the Pod of the syncer: Insufficient memory, node(s) had untolerated taint {edge: true}",
		},
		"evicted": {
			"", func(w *world) {
				w.pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory. "}
			}, false, "the Pod of the syncer failed (Evicted): The node was low on resource: memory.",
		},
		"quota": {
			"Without the name that each attempt makes up.",
			func(w *world) {
				w.pod = nil
				w.newest.Status.Conditions = []appsv1.ReplicaSetCondition{{
					Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
					Message: `pods "syncer-6d4cf56db6-qwxyz" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0`,
				}}
			}, false, "the Pod of the syncer cannot be created: forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0",
		},
		"admission, said by the Deployment": {
			"The ReplicaSet may be gone from our sight.",
			func(w *world) {
				w.newest, w.pod = nil, nil
				w.deployment.Status.Conditions = append(w.deployment.Status.Conditions, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
					Message: `admission webhook "policy.example.com" denied the request: no registry but ours`,
				})
			}, false, `the Pod of the syncer cannot be created: admission webhook "policy.example.com" denied the request: no registry but ours`,
		},
		"no progress": {
			"Nothing better is known, such as a volume that cannot be mounted, which only events tell.",
			func(w *world) {
				w.waiting("ContainerCreating", "")
				w.progressing(corev1.ConditionFalse, "ProgressDeadlineExceeded", `ReplicaSet "syncer-6d4cf56db6" has timed out progressing.`)
			}, false, deployment + " makes no progress; see its events and those of its Pods",
		},
		"no progress, and why": {
			"The cause says more than that it lasts.",
			func(w *world) {
				w.waiting("ErrImagePull", pullError)
				w.progressing(corev1.ConditionFalse, "ProgressDeadlineExceeded", `ReplicaSet "syncer-6d4cf56db6" has timed out progressing.`)
			}, false, image + " cannot be pulled: " + pullWords,
		},
		"old pod in the way": {
			"", func(w *world) {
				w.available()
				w.deployment.Status.Replicas = 2
				w.container(running(), 0, nil)
				w.pod.Status.ContainerStatuses[0].Ready = true
			}, false, "waiting for the previous Pod of " + deployment + " to stop",
		},
		"old pod broken": {
			"What an earlier revision suffers from is not what the rollout waits for.",
			func(w *world) {
				w.waiting("ErrImagePull", pullError)
				w.pod.OwnerReferences[0].UID = "older"
			}, false, deployment + " has no Pod yet",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			test.state(w)
			s := newServer(t, w.objects()...)
			if name == "being deleted" {
				if err := s.raw.Delete(t.Context(), w.deployment.DeepCopy()); err != nil {
					t.Fatal(err)
				}
			}
			c := testConfig()
			got, err := Rollout(t.Context(), s, c.namespace())
			if err != nil {
				t.Fatal(err)
			}
			if want := (Status{Ready: test.ready, Stuck: strings.HasPrefix(name, "no progress"), Message: test.want}); got != want {
				t.Errorf("%s\ngot  %+v\nwant %+v", test.reason, got, want)
			}
			if test.ready && len(s.reads) != 1 {
				t.Errorf("read %v, want the Deployment alone", s.reads)
			}
			if len(s.writes) != 0 {
				t.Errorf("wrote %v", s.writes)
			}
		})
	}
}

const (
	pullError = `rpc error: code = NotFound desc = failed to pull and unpack image "registry.example.com/synctarget/syncer:v0.1.0": failed to resolve reference: not found`
	pullWords = `failed to pull and unpack image "registry.example.com/synctarget/syncer:v0.1.0": failed to resolve reference: not found`
)

// A kubeconfig with few rights leaves what the Deployment itself says; any other failure is one.
func TestRolloutCannotList(t *testing.T) {
	tests := map[string]struct {
		answer error
		want   string
		fails  bool
	}{
		"forbidden": {apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no")), " is rolling out; if this lasts, see the events of its Pods", false},
		"down":      {apierrors.NewServiceUnavailable("down"), "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, newWorld().objects()...)
			broken := interceptor.NewClient(s.raw, interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
					return test.answer
				},
			})
			c := testConfig()
			got, err := Rollout(t.Context(), broken, c.namespace())
			if (err != nil) != test.fails || !strings.HasSuffix(got.Message, test.want) || got.Ready {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
