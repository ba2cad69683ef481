package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

// TestEarlierRelease: the release before and this one work together, in each pair of controller and syncer. It upgrades the service as
// docs/upgrade.md says, the API first, then the controller, then the syncer, and rolls the controller back. A synced object follows its
// source with each pair, the SyncTarget stays Ready, and in the end nothing is left.
func TestEarlierRelease(t *testing.T) {
	t.Parallel()
	commit, err := os.ReadFile("testdata/earlier/release")
	require.NoError(t, err)
	earlier, err := env.BuildEarlier(t.Context(), strings.TrimSpace(string(commit)))
	if errors.Is(err, framework.ErrNoHistory) {
		t.Skip(err)
	}
	require.NoError(t, err)

	own := &ownService{Service: framework.Service{Workspace: "root:e2e-release", Name: "e2e-release", Args: service.Args}}
	require.NoError(t, env.InstallExportOf(t.Context(), own.Service, earlier.Repo))
	own.process, err = env.ControllerProcess(t.Context(), own.Service)
	require.NoError(t, err)
	current, err := env.SyncerImage(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, earlier.SyncerImage, current)
	// run replaces the controller by that of a release, which installs this syncer.
	run := func(controller, syncer string) {
		t.Helper()
		process := own.process
		process.Binary = controller
		process.Args = append(process.Args[:len(process.Args):len(process.Args)], "--syncer-image="+syncer)
		process.Env = []string{"SYNCTARGET_BUILD=" + controller}
		_, err := env.Start(t.Context(), process)
		require.NoError(t, err)
	}
	run(earlier.Controller, earlier.SyncerImage)
	n := own.newTenant(t)
	target := n.register("edge-1")
	n.await("edge-1", "Deployed", "Deployed")
	since := map[string]string{"edge-1": meta.FindStatusCondition(target.Status.Conditions, "Ready").LastTransitionTime.String()}
	s := n.openShop(target, "shop")
	config := s.configMap("config", map[string]string{"by": "the earlier release"})
	s.create(config)
	s.awaitCopy("config", config.Data)

	require.NoError(t, env.InstallExport(t.Context(), own.Service))
	for _, pair := range []struct{ what, controller, syncer string }{
		{"this controller, the earlier syncer", own.process.Binary, earlier.SyncerImage},
		{"this controller, this syncer", own.process.Binary, current},
		{"rolled back: the earlier controller, this syncer", earlier.Controller, current},
		{"upgraded again", own.process.Binary, current},
	} {
		t.Log(pair.what)
		run(pair.controller, pair.syncer)
		n.eventually("the syncer of this pair is installed", func() (bool, string) {
			image := n.syncerDeployment("edge-1").Spec.Template.Spec.Containers[0].Image
			return image == pair.syncer, image
		})
		n.await("edge-1", "Deployed", "Deployed")
		change(n, config, func(c *corev1.ConfigMap) { c.Data = map[string]string{"by": pair.what} })
		s.awaitCopy("config", map[string]string{"by": pair.what})
		requireReadySince(n, since)
	}
	n.eventually("the syncer tells its token", func() (bool, string) {
		credentials := n.credentials("edge-1")
		return credentials.InUse != "", credentials.InUse
	})
	assert.NotNil(t, n.credentials("edge-1").NextRotation)

	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	s.awaitNoCopy("config")
	requireNothingLeft(t, n, target.Status.Key)
	requireNothingLeft(t, s.there, target.Status.Key)
}

// credentials is status.credentials of a SyncTarget, empty for none.
func (n *tenant) credentials(name string) workloadv1alpha1.CredentialsStatus {
	n.t.Helper()
	var target workloadv1alpha1.SyncTarget
	require.NoError(n.t, n.Get(n.t.Context(), client.ObjectKey{Name: name}, &target))
	if target.Status.Credentials != nil {
		return *target.Status.Credentials
	}
	return workloadv1alpha1.CredentialsStatus{}
}
