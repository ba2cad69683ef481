package agent

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// publishedWorkspace is a workspace as the controller prepares it for c; change may spoil the token.
func publishedWorkspace(t *testing.T, c Config, change func(*corev1.Secret)) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, workloadv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, object := range Identity(c) {
		if secret, ok := object.(*corev1.Secret); ok {
			secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: c.Token}
			change(secret)
			builder = builder.WithObjects(secret)
		}
	}
	for _, assignment := range assignmentsFor(c) {
		builder = builder.WithObjects(assignment)
	}
	for name, labels := range c.NamespaceLabels {
		builder = builder.WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	return builder.WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}).Build()
}

// assignmentsFor are the Assignments from which the Namespaces of c follow, and others, from which none does.
func assignmentsFor(c Config) []client.Object {
	assign := func(name string, change func(*workloadv1alpha1.Assignment)) client.Object {
		a := &workloadv1alpha1.Assignment{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace(), Name: "of-" + name, Labels: map[string]string{
				workloadv1alpha1.LabelKey: c.key(), workloadv1alpha1.LabelUID: string(c.Target.UID),
			}},
			Spec: workloadv1alpha1.AssignmentSpec{
				Namespace: workloadv1alpha1.ObjectReference{Name: name, UID: "uid"}, Epoch: 1, Intent: workloadv1alpha1.IntentRun,
			},
		}
		change(a)
		return a
	}
	var all []client.Object
	for _, name := range c.Namespaces {
		all = append(all, assign(name, func(*workloadv1alpha1.Assignment) {}))
	}
	return append(all,
		assign("other", func(a *workloadv1alpha1.Assignment) { a.Spec.Intent = workloadv1alpha1.IntentWithdraw }),
		assign("left", func(a *workloadv1alpha1.Assignment) { a.Spec.Intent = workloadv1alpha1.IntentOrphan }),
		assign("keys", func(a *workloadv1alpha1.Assignment) {
			a.Status.Conditions = []metav1.Condition{{
				Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonNamespaceRefused,
			}}
		}),
		assign("earlier", func(a *workloadv1alpha1.Assignment) { a.Labels[workloadv1alpha1.LabelUID] = "another" }),
		assign("elsewhere", func(a *workloadv1alpha1.Assignment) { a.Namespace = "shop" }),
	)
}

// TestReadConfig: the user's manifests are those that the controller would apply.
func TestReadConfig(t *testing.T) {
	want := testConfig()
	want.HeartbeatInterval = 7 * time.Second
	want.Proxy = Proxy{HTTPSProxy: "http://proxy.example.com:3128"}
	variants()["opened"](&want)
	withPullSecrets(workloadv1alpha1.ImagePullSecret{Name: "mirror", Namespace: "default"})(&want)
	want.PullSecrets = []PullSecret{{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson, Data: registrySecret("", "").Data}}
	want.Target.Annotations = map[string]string{logicalcluster.AnnotationKey: want.ClusterName}

	workspace := publishedWorkspace(t, want, func(*corev1.Secret) {})
	if err := workspace.Create(t.Context(), registrySecret("default", "mirror")); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(t.Context(), workspace, want.Target)
	if err != nil {
		t.Fatal(err)
	}
	var gotText, wantText bytes.Buffer
	if err := errors.Join(Render(&gotText, got), Render(&wantText, want)); err != nil {
		t.Fatal(err)
	}
	if gotText.String() != wantText.String() {
		t.Errorf("the manifests differ:\n%s\nwant:\n%s", &gotText, &wantText)
	}
}

// TestReadConfigTakesNewestToken: while a token is replaced, manifests carry the newest that kcp has issued.
func TestReadConfigTakesNewestToken(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, tc := range map[string]struct {
		second func(*corev1.Secret)
		want   string
	}{
		"newer":                   {func(s *corev1.Secret) { s.CreationTimestamp = metav1.NewTime(now.Add(time.Minute)) }, "second"},
		"older":                   {func(s *corev1.Secret) { s.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }, "first"},
		"newer, and yet to issue": {func(s *corev1.Secret) { s.CreationTimestamp, s.Data = metav1.NewTime(now.Add(time.Minute)), nil }, "first"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			c.Token = []byte("first")
			c.Target.Annotations = map[string]string{logicalcluster.AnnotationKey: c.ClusterName}
			var second *corev1.Secret
			workspace := publishedWorkspace(t, c, func(s *corev1.Secret) {
				s.CreationTimestamp = metav1.NewTime(now)
				second = s.DeepCopy()
			})
			second.Name, second.Data = secondTokenSecretName, map[string][]byte{corev1.ServiceAccountTokenKey: []byte("second")}
			tc.second(second)
			if err := workspace.Create(t.Context(), second); err != nil {
				t.Fatal(err)
			}
			got, err := ReadConfig(t.Context(), workspace, c.Target)
			if err != nil || string(got.Token) != tc.want {
				t.Errorf("token %q, %v; want %q", got.Token, err, tc.want)
			}
		})
	}
}

func TestReadConfigNotPublished(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Secret)
		want   string
	}{
		"no Secret":          {func(s *corev1.Secret) { s.Name = "other" }, "has not created Secret"},
		"no token":           {func(s *corev1.Secret) { s.Data = nil }, "has not put a token"},
		"earlier SyncTarget": {func(s *corev1.Secret) { s.Labels[workloadv1alpha1.LabelUID] = "other" }, "belongs to an earlier SyncTarget"},
		"earlier controller": {func(s *corev1.Secret) { delete(s.Annotations, workloadv1alpha1.AnnotationInstallSettings) }, "has not set annotation"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			c.Target.Annotations = map[string]string{logicalcluster.AnnotationKey: c.ClusterName}
			_, err := ReadConfig(t.Context(), publishedWorkspace(t, c, tc.change), c.Target)
			var missing *NotPublishedError
			if !errors.As(err, &missing) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want a NotPublishedError that says %q", err, tc.want)
			}
		})
	}
}
