package plugin

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// installedBy is the Namespace of the syncer of a SyncTarget in the workspace, as a controller of this version leaves it.
func installedBy(target *workloadv1alpha1.SyncTarget, version string) client.Object {
	namespace := agent.Identity(agent.Config{Target: target, ClusterName: testCluster})[0].(*corev1.Namespace)
	if version != "" {
		namespace.Annotations[workloadv1alpha1.AnnotationControllerVersion] = version
	}
	return namespace
}

// withSyncer sets the version that a syncer reports.
func withSyncer(target *workloadv1alpha1.SyncTarget, version string) *workloadv1alpha1.SyncTarget {
	withConditions(target, readyNow()...).Status.Syncer = &workloadv1alpha1.SyncerStatus{Version: version}
	return target
}

// fleet is a workspace with a SyncTarget in push mode and one in pull mode, whose syncers and controller have these versions.
func fleet(syncer, controller string) []client.Object {
	push, pulled := withSyncer(newTarget("edge-1"), syncer), withSyncer(pull(newTarget("edge-2")), syncer)
	return []client.Object{push, pulled, installedBy(push, controller), installedBy(pulled, controller)}
}

func TestVersion(t *testing.T) {
	rollout := fleet("v0.2.0", "v0.2.0")
	other := withSyncer(newTarget("edge-3"), "v0.1.0")
	for name, tc := range map[string]struct {
		objects []client.Object
		args    []string
	}{
		"version-client":        {nil, []string{"version", "--client"}},
		"version":               {variety(), []string{"version"}},
		"version-same":          {fleet("v0.2.0", "v0.2.0"), []string{"version"}},
		"version-plugin-old":    {fleet("v0.3.0", "v0.3.0"), []string{"version"}},
		"version-plugin-new":    {fleet("v0.1.0", "v0.1.0"), []string{"version"}},
		"version-syncers-old":   {fleet("v0.1.0", "v0.2.0"), []string{"version"}},
		"version-syncers-new":   {fleet("v0.3.0", "v0.2.0"), []string{"version"}},
		"version-rollout":       {append(rollout, other, installedBy(other, "v0.1.0")), []string{"version"}},
		"version-not-recorded":  {fleet("v0.1.0", ""), []string{"version"}},
		"version-no-synctarget": {nil, []string{"version"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.objects...)
			w.golden(name, tc.args...)
			if len(tc.args) > 1 && len(w.workspace.requests) > 0 {
				t.Errorf("it asked %q", w.workspace.requests)
			}
		})
	}
}

// TestVersionForbidden: who may not list Namespaces sees all else.
func TestVersionForbidden(t *testing.T) {
	w := newWorld(t, fleet("v0.2.0", "v0.2.0")...)
	w.workspace.refuse = func(request string) error {
		if strings.Contains(request, "Namespace") {
			return apierrors.NewForbidden(corev1.Resource("namespaces"), "", errors.New(`User "jane" cannot do this`))
		}
		return nil
	}
	w.golden("version-forbidden", "version")
	if code := w.run("status", "edge-1"); code != exitOK || !strings.Contains(w.out.String(), "Controller:    -") {
		t.Errorf("exit code %d:\n%s%s", code, &w.out, &w.err)
	}
}

// TestControllerVersionOfEarlierTarget: what is left of an earlier SyncTarget of the name does not count.
func TestControllerVersionOfEarlierTarget(t *testing.T) {
	objects := fleet("v0.2.0", "v0.1.0")
	for _, namespace := range objects[2:] {
		namespace.GetLabels()[workloadv1alpha1.LabelUID] = "earlier"
	}
	w := newWorld(t, objects...)
	for _, args := range [][]string{{"version"}, {"status", "edge-1"}} {
		if code := w.run(args...); code != exitOK || strings.Contains(w.out.String(), "v0.1.0") {
			t.Errorf("%q: exit code %d:\n%s%s", args, code, &w.out, &w.err)
		}
	}
}

func TestSkewOf(t *testing.T) {
	for _, tc := range []struct {
		this, other string
		want        skew
	}{
		{"v0.2.0", "v0.2.0", sameVersion},
		{"v0.2.0", "v0.10.0", olderVersion},
		{"v0.2.1", "v0.2.0", newerVersion},
		{"v0.2.0-14-gb7aa81b", "v0.2.0", otherVersion},
		{"v0.2.0-14-gb7aa81b", "v0.3.0", olderVersion},
		{"v0.3.0-rc.1", "v0.3.0", otherVersion},
		{"dev", "v0.2.0", otherVersion},
		{"v0.2.0", "b7aa81b", otherVersion},
		{"dev", "dev", sameVersion},
	} {
		if got := skewOf(tc.this, tc.other); got != tc.want {
			t.Errorf("skewOf(%q, %q) = %d, want %d", tc.this, tc.other, got, tc.want)
		}
	}
}

// TestSkewWarnings: each pair of versions is named once.
func TestSkewWarnings(t *testing.T) {
	installed := []installedVersion{
		{name: "a", controller: "v2.0.0", syncer: "v1.0.0"}, {name: "b", controller: "v2.0.0", syncer: "v2.0.0"},
		{name: "c", controller: "v2.0.0", syncer: "v1.0.0"}, {name: "d", controller: "v2.0.0", syncer: "v1.0.0", isPull: true},
		{name: "e", controller: "v2.0.0"},
	}
	want := []string{
		"the syncer of a, c, v1.0.0, is older than the controller, v2.0.0: " +
			"the service replaces it, unless spec.syncer.image names another image; see kubectl synctarget status NAME",
		"the syncer of d, v1.0.0, is older than the controller, v2.0.0: apply its manifests again: kubectl synctarget manifests NAME",
	}
	if diff := cmp.Diff(want, skewWarnings("v2.0.0", installed)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
