package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// registrySecret holds credentials for a registry.
func registrySecret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
	}
}

func withPullSecrets(refs ...workloadv1alpha1.ImagePullSecret) func(*Config) {
	return func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{ImagePullSecrets: refs} }
}

// TestReadPullSecrets: only a Secret for a registry is read, and each fault names the Secret and what to do.
func TestReadPullSecrets(t *testing.T) {
	kubeconfig := registrySecret("default", "kubeconfig")
	kubeconfig.Type = corev1.SecretTypeOpaque
	s := newServer(t, registrySecret("default", "mirror"), registrySecret("default", credentialsName), kubeconfig)
	for name, tc := range map[string]struct {
		ref  workloadv1alpha1.ImagePullSecret
		want []PullSecret
		err  string
	}{
		"in the cluster": {workloadv1alpha1.ImagePullSecret{Name: "mirror"}, nil, ""},
		"found": {workloadv1alpha1.ImagePullSecret{Name: "mirror", Namespace: "default"},
			[]PullSecret{{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson, Data: registrySecret("", "").Data}}, ""},
		"missing": {workloadv1alpha1.ImagePullSecret{Name: "mirror", Namespace: "other"}, nil,
			`spec.syncer.imagePullSecrets: Secret "other/mirror" is not found; create it, with the label workload.kcp.io/visible=true that shows it to this service`},
		"another type": {workloadv1alpha1.ImagePullSecret{Name: "kubeconfig", Namespace: "default"}, nil,
			`spec.syncer.imagePullSecrets: Secret "default/kubeconfig" has type "Opaque"; it must have type "kubernetes.io/dockerconfigjson" or "kubernetes.io/dockercfg"`},
		"the syncer's own": {workloadv1alpha1.ImagePullSecret{Name: credentialsName, Namespace: "default"}, nil,
			`spec.syncer.imagePullSecrets: Secret "default/` + credentialsName + `" has the name of the Secret with the syncer's own credentials; choose another name`},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			withPullSecrets(tc.ref)(&c)
			got, err := ReadPullSecrets(t.Context(), s, c.Target)
			if fault := (*PullSecretError)(nil); tc.err != "" && (!errors.As(err, &fault) || err.Error() != tc.err) || tc.err == "" && err != nil {
				t.Errorf("ReadPullSecrets() = %v, want %s", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestPullSecretCopies: a copy follows its Secret, and goes when the SyncTarget no longer names it. What others have put into the
// Namespace stays.
func TestPullSecretCopies(t *testing.T) {
	c := testConfig()
	named := func(names ...string) {
		c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{}
		for _, name := range names {
			c.Target.Spec.Syncer.ImagePullSecrets = append(c.Target.Spec.Syncer.ImagePullSecrets, workloadv1alpha1.ImagePullSecret{Name: name, Namespace: "default"})
		}
	}
	named("mirror", "registry")
	c.PullSecrets = []PullSecret{
		{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("one")}},
		{Name: "registry", Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("two")}},
	}
	ofOthers := registrySecret(c.namespace(), "others")
	ofOthers.Labels = map[string]string{workloadv1alpha1.LabelPullSecret: "true"}
	s := newServer(t, ofOthers)
	apply := func(want int) {
		t.Helper()
		if changed, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController); err != nil || changed != want {
			t.Errorf("ApplyDownstream() = %d, %v, want %d", changed, err, want)
		}
	}
	requireSecrets := func(want map[string]string) {
		t.Helper()
		var secrets corev1.SecretList
		if err := s.raw.List(t.Context(), &secrets, client.InNamespace(c.namespace()), client.HasLabels{workloadv1alpha1.LabelPullSecret}); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, secret := range secrets.Items {
			got[secret.Name] = string(secret.Data[corev1.DockerConfigJsonKey])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	apply(len(Downstream(c)))
	requireSecrets(map[string]string{"mirror": "one", "registry": "two", "others": `{"auths":{}}`})

	c.PullSecrets[0].Data[corev1.DockerConfigJsonKey] = []byte("three")
	apply(1)
	named("mirror")
	c.PullSecrets = c.PullSecrets[:1]
	apply(2) // the Deployment, too
	requireSecrets(map[string]string{"mirror": "three", "others": `{"auths":{}}`})
	apply(0)

	c.KeepSyncer = true // it waits for its turn in a rollout
	c.PullSecrets[0].Data[corev1.DockerConfigJsonKey] = []byte("four")
	apply(1)
	c.Target.Spec.Syncer.ImagePullSecrets[0].Namespace, c.PullSecrets = "", nil
	apply(0) // the Pods need it still
	named()
	apply(1)
	requireSecrets(map[string]string{"others": `{"auths":{}}`})
}

// TestPullSecretsCannotBeListed: an installation does not depend on whether what is left over can be found.
func TestPullSecretsCannotBeListed(t *testing.T) {
	for _, failure := range []error{apierrors.NewForbidden(corev1.Resource("secrets"), "", errInjected), errInjected} {
		s := newServer(t)
		s.failList = map[string]error{"SecretList": failure}
		if _, err := ApplyDownstream(t.Context(), s, testConfig(), workloadv1alpha1.FieldOwnerController); err != nil {
			t.Errorf("ApplyDownstream() = %v", err)
		}
	}
}

// TestForeignPullSecret: a Secret that somebody else has put there is left alone, and the message says how to use it.
func TestForeignPullSecret(t *testing.T) {
	c := testConfig()
	s := newServer(t, registrySecret(c.namespace(), "mirror"))
	if _, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController); err != nil {
		t.Fatal(err)
	}
	c.PullSecrets = []PullSecret{{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson}}
	_, err := ApplyDownstream(t.Context(), s, c, workloadv1alpha1.FieldOwnerController)
	const want = `Secret "kcp-syncer-edge-1-djpdevi3jln6x2tg/mirror" already exists in the physical cluster and does not belong to this SyncTarget; it is left as it is: delete it, or remove the namespace from its entry in spec.syncer.imagePullSecrets`
	if err == nil || err.Error() != want {
		t.Errorf("ApplyDownstream() = %v, want %s", err, want)
	}
}

// TestPullSecretIsNotTold: what an API server says of a copy is not repeated, since it may be a part of what is in it.
func TestPullSecretIsNotTold(t *testing.T) {
	c := testConfig()
	c.PullSecrets = []PullSecret{{Name: "mirror", Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"r":{"password":"canary"}}}`)}}}
	refusal := apierrors.NewForbidden(corev1.Resource("secrets"), "mirror", errors.New(`password "canary" is too short`))
	err := withhold(refusal, c.pullSecretCopies()[0])
	if !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "canary") {
		t.Errorf("withhold() = %v", err)
	}
}
