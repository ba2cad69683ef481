package agent

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// otherRelease installs a syncer as another release does, of which this one makes neither the Deployment nor the Secret.
func otherRelease(t *testing.T) (*server, Config) {
	t.Helper()
	c := pushConfig()
	s := newServer(t)
	if _, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController); err != nil {
		t.Fatal(err)
	}
	deployment, secret := s.syncer(t, c)
	deployment.Spec.Template.Spec.Containers[0].Args = []string{"--of-the-other-release"}
	secret.Data["kubeconfig"], secret.Data["other"] = []byte("of the other release"), []byte("of the other release, too")
	for _, object := range []client.Object{deployment, secret} {
		if err := s.raw.Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	s.writes = nil
	c.KeepSyncer, c.KcpURL, c.Image = true, "https://other", "other"
	return s, c
}

// syncer reads the Deployment and the Secret.
func (s *server) syncer(t *testing.T, c Config) (*appsv1.Deployment, *corev1.Secret) {
	t.Helper()
	deployment, secret := &appsv1.Deployment{}, &corev1.Secret{}
	for name, object := range map[string]client.Object{DeploymentName: deployment, credentialsName: secret} {
		if err := s.raw.Get(t.Context(), client.ObjectKey{Namespace: c.namespace(), Name: name}, object); err != nil {
			t.Fatal(err)
		}
	}
	return deployment, secret
}

// TestKeepSyncer: a syncer that waits for its turn gets another token, and nothing else of its Deployment and its Secret changes.
func TestKeepSyncer(t *testing.T) {
	s, c := otherRelease(t)
	deployment, secret := s.syncer(t, c)
	apply := func(want ...string) {
		t.Helper()
		s.writes = nil
		changed, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.writes); diff != "" || changed != len(want) {
			t.Errorf("%d writes: -want +got\n%s", changed, diff)
		}
	}
	apply()

	c.Token = []byte("issued anew")
	apply(`patch Secret "`+c.namespace()+`/`+credentialsName+`"`, `patch Deployment "`+c.namespace()+`/`+DeploymentName+`"`)
	secret.Data[tokenField] = c.Token
	deployment.Spec.Template.Annotations[credentialsHashAnnotation] = c.credentialsHash()
	ignored := cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion", "ManagedFields")
	gotDeployment, gotSecret := s.syncer(t, c)
	if diff := cmp.Diff(deployment, gotDeployment, ignored) + cmp.Diff(secret, gotSecret, ignored); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	apply()

	if err := s.raw.Delete(t.Context(), gotSecret); err != nil {
		t.Fatal(err)
	}
	apply(`apply Secret "` + c.namespace() + `/` + credentialsName + `"`)
}

// TestKeepSyncerOfAnother: the token is written to no Secret and to no Deployment that is not this SyncTarget's.
func TestKeepSyncerOfAnother(t *testing.T) {
	s, c := otherRelease(t)
	c.Token = []byte("issued anew")
	deployment, _ := s.syncer(t, c)
	delete(deployment.Labels, workloadv1alpha1.LabelUID)
	if err := s.raw.Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	if changed, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController); err != nil || changed != 1 {
		t.Errorf("ApplyDownstream() = %d, %v, want the Secret alone to be changed", changed, err)
	}

	_, secret := s.syncer(t, c)
	secret.Labels[workloadv1alpha1.LabelKey] = "other"
	if err := s.raw.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	c.Token = []byte("and again")
	var foreign *ForeignError
	if _, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController); !errors.As(err, &foreign) {
		t.Errorf("ApplyDownstream() = %v, want a *ForeignError", err)
	}
	if _, got := s.syncer(t, c); string(got.Data[tokenField]) == string(c.Token) {
		t.Error("the token was written to a Secret of somebody else")
	}
}
