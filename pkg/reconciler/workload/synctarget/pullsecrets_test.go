package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestPullSecrets: a Secret of the workspace is copied for the syncer's image, a change of it too; while it is missing, Valid says so
// and the syncer that runs stays.
func TestPullSecrets(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) {
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{ImagePullSecrets: []workloadv1alpha1.ImagePullSecret{{Name: "mirror", Namespace: "default"}}}
	})
	w.settle()
	const missing = `False ValidationFailed: spec.syncer.imagePullSecrets: Secret "default/mirror" is not found; create it, with the label workload.kcp.io/visible=true that shows it to this service`
	if got := w.condition(workloadv1alpha1.ConditionValid); got != missing {
		t.Errorf("Valid = %s", got)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mirror"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("one")},
	}
	if err := w.kcp.raw.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.ready()
	requireCopy := func(want string) {
		t.Helper()
		var copied corev1.Secret
		if err := w.there.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: "mirror"}, &copied); err != nil {
			t.Fatal(err)
		}
		if got := string(copied.Data[corev1.DockerConfigJsonKey]); got != want || copied.Type != corev1.SecretTypeDockerConfigJson {
			t.Errorf("the copy holds %q of type %s, want %q", got, copied.Type, want)
		}
	}
	requireCopy("one")

	secret.Data[corev1.DockerConfigJsonKey] = []byte("two")
	if err := w.kcp.raw.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.settle()
	requireCopy("two")

	if err := w.kcp.raw.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionValid); got != missing {
		t.Errorf("Valid = %s", got)
	}
	requireCopy("two")
}

// TestNamedSecrets: changes of these Secrets lead to the SyncTarget.
func TestNamedSecrets(t *testing.T) {
	target := newTarget(func(target *workloadv1alpha1.SyncTarget) {
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{ImagePullSecrets: []workloadv1alpha1.ImagePullSecret{
			{Name: "mirror", Namespace: "default"}, {Name: "in-the-cluster"},
		}}
	})
	if diff := cmp.Diff([]string{"default/edge-1", "default/mirror"}, namedSecrets(&target.Spec)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
