package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// pushConfig is that of a SyncTarget whose syncer the service installs.
func pushConfig(change ...func(*Config)) Config {
	c := testConfig()
	c.Target.Spec.KubeconfigSecretRef = &workloadv1alpha1.KubeconfigSecretReference{Namespace: "default", Name: "edge-1"}
	c.Proxy.HTTPSProxy, c.HeartbeatInterval = "http://proxy.example.com", time.Minute
	for _, f := range change {
		f(&c)
	}
	return c
}

// TestSettingsAreRead: what an installation records can be read, and keeps the same objects.
func TestSettingsAreRead(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	before := pushConfig(func(c *Config) { c.RolledOut = at })
	s := newServer(t)
	if _, err := Apply(t.Context(), s, Downstream(before), workloadv1alpha1.FieldOwnerController); err != nil {
		t.Fatal(err)
	}
	installed, err := ReadInstalled(t.Context(), s, before.Target, before.namespace())
	if err != nil {
		t.Fatal(err)
	}
	want := &Installed{Settings: before.Settings(), RolledOut: at, ContainerImage: before.Image}
	if diff := cmp.Diff(want, installed); diff != "" {
		t.Errorf("ReadInstalled(): -want +got\n%s", diff)
	}

	after := pushConfig(func(c *Config) {
		c.Image, c.KcpURL, c.KcpCA, c.Proxy, c.HeartbeatInterval, c.RolledOut = "other", "https://other", nil, Proxy{}, time.Second, at
	})
	if after.Settings().Version() == before.Settings().Version() {
		t.Error("the versions are the same")
	}
	if diff := cmp.Diff(Downstream(before), Downstream(after.WithSettings(installed.Settings))); diff != "" {
		t.Errorf("what is kept: -before +after\n%s", diff)
	}
}

func TestReadInstalled(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*appsv1.Deployment) *appsv1.Deployment
		want   *Installed
	}{
		"nothing":     {"", func(*appsv1.Deployment) *appsv1.Deployment { return nil }, nil},
		"of another":  {"An earlier SyncTarget of this name left it.", func(d *appsv1.Deployment) *appsv1.Deployment { d.Labels[workloadv1alpha1.LabelUID] = "other"; return d }, nil},
		"no settings": {"", func(d *appsv1.Deployment) *appsv1.Deployment { d.Annotations = nil; return d }, &Installed{ContainerImage: testConfig().Image}},
		"not readable": {"", func(d *appsv1.Deployment) *appsv1.Deployment {
			d.Annotations[workloadv1alpha1.AnnotationSettings] = `{"image":1}`
			return d
		}, &Installed{ContainerImage: testConfig().Image}},
		"no time of it": {"", func(d *appsv1.Deployment) *appsv1.Deployment {
			d.Annotations[workloadv1alpha1.AnnotationRolledOut] = "soon"
			return d
		}, &Installed{Settings: pushConfig().Settings(), ContainerImage: testConfig().Image}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := pushConfig()
			var objects []client.Object
			if d := tc.change(c.deployment()); d != nil {
				objects = append(objects, d)
			}
			got, err := ReadInstalled(t.Context(), newServer(t, objects...), c.Target, c.namespace())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nReadInstalled(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

// TestVersion: the version is the controller's, and what a user sets is no part of it.
func TestVersion(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*Config)
		same   bool
	}{
		"nothing":            {"", func(*Config) {}, true},
		"image":              {"", func(c *Config) { c.Image = "other" }, false},
		"URL":                {"", func(c *Config) { c.KcpURL = "https://other" }, false},
		"CA":                 {"", func(c *Config) { c.KcpCA = nil }, false},
		"proxy":              {"", func(c *Config) { c.Proxy.NoProxy = "other" }, false},
		"heartbeat interval": {"", func(c *Config) { c.HeartbeatInterval = time.Second }, false},
		"token":              {"kcp has issued another one.", func(c *Config) { c.Token = []byte("other") }, true},
		"replicas":           {"", func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](2)} }, true},
		"own image":          {"The image of the controller is no longer in use.", func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Image: "own"} }, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := pushConfig(tc.change).Settings().Version() == pushConfig().Settings().Version(); got != tc.same {
				t.Errorf("%s\nthe same version: %t", tc.reason, got)
			}
		})
	}
}

func TestOwnImage(t *testing.T) {
	own := func(c *Config) { c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Image: "own"} }
	other := pushConfig(own, func(c *Config) { c.Image = "other" })
	if got := other.Settings(); got.Version() != pushConfig(own).Settings().Version() || got.Image != "" {
		t.Errorf("a SyncTarget with an image of its own has settings that depend on another image: %+v", got)
	}
}

func TestOwnProxy(t *testing.T) {
	own := func(c *Config) {
		c.Target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Proxy: &workloadv1alpha1.ProxySpec{}}
	}
	other := pushConfig(own, func(c *Config) { c.Proxy.HTTPSProxy = "http://other.example.com" })
	if got := other.Settings(); got.Version() != pushConfig(own).Settings().Version() || got.Proxy != (Proxy{}) {
		t.Errorf("a SyncTarget with a proxy of its own has settings that depend on that of the service: %+v", got)
	}
}

// TestPullModeRecordsNothing: the user applies the manifests, and decides when.
func TestPullModeRecordsNothing(t *testing.T) {
	c := testConfig()
	if value, found := c.deployment().Annotations[workloadv1alpha1.AnnotationSettings]; found {
		t.Errorf("settings %s", value)
	}
}
