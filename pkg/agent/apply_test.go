package agent

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const owner = workloadv1alpha1.FieldOwnerController

func mustApply(t *testing.T, s *server, objects []client.Object) int {
	t.Helper()
	changed, err := Apply(t.Context(), s, objects, owner)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestApplyInstallsOnce(t *testing.T) {
	for side, objects := range map[string][]client.Object{"downstream": Downstream(testConfig()), "upstream": Identity(testConfig())} {
		t.Run(side, func(t *testing.T) {
			s := newServer(t)
			if changed := mustApply(t, s, objects); changed != len(objects) || len(s.writes) != len(objects) {
				t.Errorf("wrote %d (says %d), want each of %d once", len(s.writes), changed, len(objects))
			}
			for _, read := range s.reads[1:] {
				if !strings.Contains(read, "Cluster") {
					t.Errorf("reads %s, although its Namespace was just made", read)
				}
			}
			s.forget()
			if changed := mustApply(t, s, objects); changed != 0 || len(s.writes) != 0 {
				t.Errorf("the second pass wrote %v", s.writes)
			}
			if len(s.reads) != len(objects) {
				t.Errorf("the second pass read %d times, want each of %d once", len(s.reads), len(objects))
			}
		})
	}
}

func TestApplyMends(t *testing.T) {
	set := func(value any, path ...string) func(*unstructured.Unstructured) {
		return func(live *unstructured.Unstructured) { _ = unstructured.SetNestedField(live.Object, value, path...) }
	}
	tests := map[string]struct {
		reason string
		kind   string
		drift  func(*unstructured.Unstructured)
		// writes that mend it; none where there is nothing to mend.
		writes []string
		check  func(*unstructured.Unstructured) error
	}{
		"replicas": {
			reason: "A value of ours that somebody changed is ours again.",
			kind:   "Deployment", drift: set(int64(5), "spec", "replicas"), writes: []string{"apply Deployment"},
		},
		"a right too many": {
			reason: "The rules are one value: what somebody added goes.",
			kind:   "ClusterRole",
			drift: set([]any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}},
				"rules"), writes: []string{"apply ClusterRole"},
		},
		"token": {
			reason: "The Secret is restored.",
			kind:   "Secret", drift: set("Z29uZQ==", "data", "token"), writes: []string{"apply Secret"},
		},
		"hash": {
			reason: "Without the hash it is unknown what was applied last.",
			kind:   "Role",
			drift: func(live *unstructured.Unstructured) {
				annotations := live.GetAnnotations()
				delete(annotations, workloadv1alpha1.AnnotationAppliedHash)
				live.SetAnnotations(annotations)
			}, writes: []string{"apply Role"},
		},
		"selector": {
			reason: "What no server lets anybody change is made anew.",
			kind:   "Deployment", drift: set(map[string]any{"a": "b"}, "spec", "selector", "matchLabels"),
			writes: []string{"delete Deployment", "apply Deployment"},
		},
		"roleRef": {
			reason: "So is a binding to another role.",
			kind:   "ClusterRoleBinding", drift: set("cluster-admin", "roleRef", "name"),
			writes: []string{"delete ClusterRoleBinding", "apply ClusterRoleBinding"},
		},
		"foreign annotation": {
			reason: "What others say beside our fields is theirs.",
			kind:   "Deployment", drift: set("theirs", "metadata", "annotations", "example.com/note"),
			check: func(live *unstructured.Unstructured) error {
				if live.GetAnnotations()["example.com/note"] != "theirs" {
					return errors.New("it is gone")
				}
				return nil
			},
		},
		"foreign annotation and drift": {
			reason: "Mending ours leaves theirs.",
			kind:   "Deployment",
			drift: func(live *unstructured.Unstructured) {
				set("theirs", "metadata", "annotations", "example.com/note")(live)
				set(int64(5), "spec", "replicas")(live)
			},
			writes: []string{"apply Deployment"},
			check: func(live *unstructured.Unstructured) error {
				if live.GetAnnotations()["example.com/note"] != "theirs" {
					return errors.New("it is gone")
				}
				return nil
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects := Downstream(testConfig())
			s := newServer(t)
			mustApply(t, s, objects)
			object := byKind(t, objects, test.kind)
			right := s.object(t, object)
			s.edit(t, object, test.drift)
			s.forget()

			mustApply(t, s, objects)
			var writes []string
			for _, write := range s.writes {
				writes = append(writes, strings.Join(strings.Fields(write)[:2], " "))
			}
			if diff := cmp.Diff(test.writes, writes); diff != "" {
				t.Errorf("%s\nwrites (-want +got):\n%s", test.reason, diff)
			}
			live := s.object(t, object)
			if !contains(live.Object["spec"], right.Object["spec"], "") || !cmp.Equal(live.Object["rules"], right.Object["rules"]) || !cmp.Equal(live.Object["data"], right.Object["data"]) {
				t.Errorf("%s\nnot mended:\n%s", test.reason, cmp.Diff(right.Object, live.Object))
			}
			if test.check != nil {
				if err := test.check(live); err != nil {
					t.Errorf("%s\n%v", test.reason, err)
				}
			}
			s.forget()
			if mustApply(t, s, objects); len(s.writes) != 0 {
				t.Errorf("%s\nnot at rest afterwards: %v", test.reason, s.writes)
			}
		})
	}
}

func TestApplyRestoresWhatWasDeleted(t *testing.T) {
	for side, objects := range map[string][]client.Object{"downstream": Downstream(testConfig()), "upstream": Identity(testConfig())} {
		for _, object := range objects[1:] {
			t.Run(side+" "+kindOf(object), func(t *testing.T) {
				s := newServer(t)
				mustApply(t, s, objects)
				before := s.object(t, object)
				// Upstream our own finalizer holds it, and nobody but us can let it go.
				if err := s.raw.Delete(t.Context(), before); err != nil {
					t.Fatal(err)
				}
				if changed := mustApply(t, s, objects); changed != 1 {
					t.Errorf("wrote %d objects, want 1", changed)
				}
				if after := s.object(t, object); after.GetUID() == before.GetUID() || after.GetDeletionTimestamp() != nil {
					t.Error("it was not made anew")
				}
			})
		}
	}
}

func TestApplyDropsWhatIsNoLongerWanted(t *testing.T) {
	c := testConfig()
	c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{
		NodeSelector: map[string]workloadv1alpha1.LabelValue{"disk": "ssd"}, Tolerations: []workloadv1alpha1.Toleration{{Operator: "Exists"}},
		ImagePullSecrets: []workloadv1alpha1.ImagePullSecret{{Name: "mirror"}},
	}
	s := newServer(t)
	mustApply(t, s, Downstream(c))
	c.Target.Spec.Syncer = nil
	s.forget()
	if mustApply(t, s, Downstream(c)); len(s.writes) != 1 {
		t.Errorf("wrote %v, want the Deployment alone", s.writes)
	}
	live := s.object(t, byKind(t, Downstream(c), "Deployment"))
	for _, field := range []string{"nodeSelector", "tolerations", "imagePullSecrets"} {
		if left, found, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", "template", "spec", field); found {
			t.Errorf("%s stays: %v", field, left)
		}
	}
}

func TestApplyKeepsTheIssuedToken(t *testing.T) {
	objects := Identity(testConfig())
	s := newServer(t)
	mustApply(t, s, objects)
	secret := byKind(t, objects, "Secret")
	s.edit(t, secret, func(live *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(live.Object, "aXNzdWVk", "data", "token")
	})
	secret.GetAnnotations()["example.com/changed"] = "yes"
	if changed := mustApply(t, s, objects); changed != 1 {
		t.Errorf("wrote %d objects, want 1", changed)
	}
	if token, _, _ := unstructured.NestedString(s.object(t, secret).Object, "data", "token"); token != "aXNzdWVk" {
		t.Errorf("the token is %q", token)
	}
}

func TestApplyRefuses(t *testing.T) {
	c := testConfig()
	key := workloadv1alpha1.Key(c.ClusterName, c.Target.Name)
	tests := map[string]struct {
		reason  string
		objects []client.Object
		kind    string
		labels  map[string]string
		gone    bool // being deleted
		want    error
		says    string
	}{
		"foreign": {
			reason:  "What is not ours is never taken over.",
			objects: Downstream(c), kind: "Namespace",
			want: &ForeignError{}, says: `Namespace "kcp-syncer-edge-1-djpdevi3jln6x2tg" already exists in the physical cluster and does not belong to this SyncTarget; it is left as it is: delete it, or give the SyncTarget another name`,
		},
		"foreign upstream": {
			reason:  "The message says which side.",
			objects: Identity(c), kind: "ClusterRole",
			want: &ForeignError{}, says: `ClusterRole "kcp-syncer-edge-1-djpdevi3jln6x2tg" already exists in the workspace and`,
		},
		"another's": {
			reason:  "Nor what another SyncTarget's controller made.",
			objects: Downstream(c), kind: "ClusterRole", labels: map[string]string{workloadv1alpha1.LabelKey: "other", workloadv1alpha1.LabelUID: string(c.Target.UID)},
			want: &ForeignError{}, says: "already exists in the physical cluster",
		},
		"no UID": {
			reason:  "The key alone proves nothing.",
			objects: Downstream(c), kind: "ClusterRole", labels: map[string]string{workloadv1alpha1.LabelKey: key},
			want: &ForeignError{}, says: "already exists in the physical cluster",
		},
		"left-over objects": {
			reason:  "The caller removes it first.",
			objects: Downstream(c), kind: "Namespace", labels: map[string]string{workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: "older"},
			want: &LeftoverError{}, says: "is left from an earlier SyncTarget of the same name",
		},
		"left-over object on its way": {
			reason:  "Removing left-over objects tells what it waits for, so it comes before waiting.",
			objects: Downstream(c), kind: "Namespace", labels: map[string]string{workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: "older"}, gone: true,
			want: &LeftoverError{}, says: "is left from an earlier SyncTarget of the same name",
		},
		"being deleted": {
			reason:  "Nothing can be made in a Namespace that is going.",
			objects: Downstream(c), kind: "Namespace", labels: map[string]string{workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: string(c.Target.UID)}, gone: true,
			want: &TerminatingError{}, says: `Namespace "kcp-syncer-edge-1-djpdevi3jln6x2tg" is still being deleted: held by finalizer example.com/theirs`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			there := byKind(t, test.objects, test.kind).DeepCopyObject().(client.Object)
			there.SetLabels(test.labels)
			there.SetFinalizers([]string{"example.com/theirs"})
			s := newServer(t, there)
			if test.gone {
				if err := s.raw.Delete(t.Context(), s.object(t, there)); err != nil {
					t.Fatal(err)
				}
			}
			before := s.object(t, there)
			_, err := Apply(t.Context(), s, test.objects, owner)
			if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s\ngot %T %v\nwant %T %s", test.reason, err, err, test.want, test.says)
			}
			if diff := cmp.Diff(before.Object, s.object(t, there).Object); diff != "" {
				t.Errorf("%s\nit was touched:\n%s", test.reason, diff)
			}
		})
	}
}

// Held by us and by somebody else: we let go, and wait for the other.
func TestApplyWaitsForAForeignFinalizer(t *testing.T) {
	objects := Identity(testConfig())
	s := newServer(t)
	mustApply(t, s, objects)
	role := byKind(t, objects, "ClusterRole")
	s.edit(t, role, func(live *unstructured.Unstructured) {
		live.SetFinalizers(append([]string{"example.com/theirs"}, live.GetFinalizers()...))
	})
	if err := s.raw.Delete(t.Context(), s.object(t, role)); err != nil {
		t.Fatal(err)
	}
	_, err := Apply(t.Context(), s, objects, owner)
	if terminating := (*TerminatingError)(nil); !errors.As(err, &terminating) {
		t.Errorf("got %v, want a TerminatingError", err)
	}
	if diff := cmp.Diff([]string{"example.com/theirs"}, s.object(t, role).GetFinalizers()); diff != "" {
		t.Error(diff)
	}
}

// A crash after any line leaves something that the next pass completes.
func TestApplyResumes(t *testing.T) {
	for side, objects := range map[string][]client.Object{"downstream": Downstream(testConfig()), "upstream": Identity(testConfig())} {
		for n := 1; n <= len(objects); n++ {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, write %d fails, answer lost %t", side, n, lost), func(t *testing.T) {
					s := newServer(t)
					s.failWrite, s.lost = n, lost
					if _, err := Apply(t.Context(), s, objects, owner); !errors.Is(err, errInjected) {
						t.Fatalf("got %v", err)
					}
					mustApply(t, s, objects)
					s.forget()
					if mustApply(t, s, objects); len(s.writes) != 0 || len(s.all(t)) != len(objects) {
						t.Errorf("wrote %v; there is %v", s.writes, s.names(t))
					}
				})
			}
		}
	}
}

func TestApplyErrors(t *testing.T) {
	c := testConfig()
	terminating := apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "syncer", errors.New("because it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	tests := map[string]struct {
		reason string
		kind   string
		answer error
		says   string
		is     func(error) bool
	}{
		"forbidden": {
			reason: "The message names what was tried.",
			kind:   "Role", answer: apierrors.NewForbidden(corev1.Resource("roles"), "syncer", errors.New("no")),
			says: `applying Role "kcp-syncer-edge-1-djpdevi3jln6x2tg/syncer": `, is: apierrors.IsForbidden,
		},
		"namespace going": {
			reason: "The Namespace was deleted while we install.",
			kind:   "ServiceAccount", answer: terminating,
			says: `Namespace "kcp-syncer-edge-1-djpdevi3jln6x2tg" is still being deleted`,
			is:   func(err error) bool { e := (*TerminatingError)(nil); return errors.As(err, &e) },
		},
		"secret repeated": {
			reason: "A webhook that repeats what it refuses must not carry the token into a condition.",
			kind:   "Secret", answer: apierrors.NewGenericServerResponse(http.StatusForbidden, "patch", corev1.Resource("secrets"), "kcp", "denied: "+string(c.Token), 0, true),
			says: "withheld", is: apierrors.IsForbidden,
		},
		"secret not repeated": {
			reason: "Otherwise the words are of use.",
			kind:   "Secret", answer: apierrors.NewForbidden(corev1.Resource("secrets"), "kcp", errors.New("exceeded quota")),
			says: "exceeded quota", is: apierrors.IsForbidden,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.failApply = map[string]error{test.kind: test.answer}
			_, err := Apply(t.Context(), s, Downstream(c), owner)
			if err == nil || !strings.Contains(err.Error(), test.says) || !test.is(err) {
				t.Errorf("%s\ngot %v", test.reason, err)
			}
			if strings.Contains(err.Error(), string(c.Token)) {
				t.Errorf("%s\nthe token is in %v", test.reason, err)
			}
		})
	}
}

// Between the read and the write somebody may replace the object; the UID in the apply keeps us off the new one.
func TestApplyNamesTheObjectItHasRead(t *testing.T) {
	objects := Downstream(testConfig())
	s := newServer(t)
	mustApply(t, s, objects)
	role := byKind(t, objects, "ClusterRole")
	if sent := s.sentUIDs[describe(role)]; sent != "" {
		t.Errorf("the first apply named %q, and there was none yet", sent)
	}
	s.edit(t, role, func(live *unstructured.Unstructured) { live.SetAnnotations(nil) })
	mustApply(t, s, objects)
	if sent, want := s.sentUIDs[describe(role)], s.object(t, role).GetUID(); sent != want {
		t.Errorf("the second apply named %q, want %q", sent, want)
	}
}

// An earlier version of this service held the ServiceAccount of the identity; the first apply of this one lets it go.
func TestApplyReleasesTheServiceAccount(t *testing.T) {
	c := testConfig()
	s := newServer(t)
	earlier := Identity(c)
	account := byKind(t, earlier, "ServiceAccount")
	account.SetFinalizers([]string{workloadv1alpha1.SyncTargetFinalizer(testKey())})
	mustApply(t, s, earlier)
	mustApply(t, s, Identity(c))
	if got := s.object(t, account).GetFinalizers(); len(got) != 0 {
		t.Errorf("finalizers: %q", got)
	}
}
