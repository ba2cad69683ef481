package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/test/framework"
)

// ownService is an installation of the service for one story, which stops and starts its controller.
type ownService struct {
	framework.Service
	process framework.Process
}

// newOwnService installs the service in a provider workspace of this name and starts a controller for it.
func newOwnService(t *testing.T, name string) *ownService {
	t.Helper()
	s := &ownService{Service: framework.Service{Workspace: "root:e2e-" + name, Name: "e2e-" + name, Args: service.Args}}
	var err error
	s.process, err = env.ControllerProcess(t.Context(), s.Service)
	require.NoError(t, err)
	require.NoError(t, env.InstallExport(t.Context(), s.Service))
	s.start(t)
	return s
}

// newTenant is a tenant that binds this service's API. When the story ends, the controller runs, as the workspace could
// not be deleted otherwise.
func (s *ownService) newTenant(t *testing.T) *tenant {
	t.Helper()
	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) { binding.Spec.Reference.Export.Path = s.Workspace })
	t.Cleanup(func() {
		if _, err := env.Start(context.Background(), s.process); err != nil {
			t.Errorf("the workspace cannot be deleted without its controller: %v", err)
		}
	})
	return n
}

// startServices starts the controllers that an interrupted run has stopped: its tenants cannot be deleted without them.
func startServices(ctx context.Context) error {
	all, err := env.Status(ctx)
	for _, process := range all {
		if strings.HasPrefix(process.Name, "e2e-") && process.State == "dead" {
			err = errors.Join(err, env.Restart(ctx, process.Name))
		}
	}
	return err
}

// stopServices stops all controllers of the suite, when no tenant is left that needs one.
func stopServices(ctx context.Context) error {
	all, err := env.Status(ctx)
	for _, process := range all {
		if strings.HasPrefix(process.Name, "e2e-") {
			err = errors.Join(err, env.Stop(process.Name))
		}
	}
	return err
}

func (s *ownService) start(t *testing.T) {
	t.Helper()
	_, err := env.Start(t.Context(), s.process)
	require.NoError(t, err)
}

func (s *ownService) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, env.Stop(s.Name))
}

// restart starts the controller anew, with flags beside those of newOwnService.
func (s *ownService) restart(t *testing.T, flags ...string) {
	t.Helper()
	s.stop(t)
	process := s.process
	process.Args = append(slices.Clone(s.process.Args), flags...)
	_, err := env.Start(t.Context(), process)
	require.NoError(t, err)
}
