package synctarget

import (
	"context"
	"fmt"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

// missingClaims lists what the workspace's APIBinding did not accept of the claims that are not optional, sorted.
func (r *Reconciler) missingClaims(ctx context.Context, s *scope) ([]claims.MissingClaim, error) {
	bindings, err := bindingsOf(ctx, s)
	return claims.Missing(bindings, r.ExportName), err
}

// leasesClaimed tells whether the service may make Leases in the workspace and watch them.
func (r *Reconciler) leasesClaimed(ctx context.Context, s *scope) (bool, error) {
	bindings, err := bindingsOf(ctx, s)
	return err == nil && claims.LeasesAccepted(bindings, r.ExportName), err
}

func bindingsOf(ctx context.Context, s *scope) ([]apisv1alpha2.APIBinding, error) {
	var bindings apisv1alpha2.APIBindingList
	if err := s.cached.List(ctx, &bindings); err != nil {
		return nil, fmt.Errorf("listing the workspace's APIBindings: %w", err)
	}
	return bindings.Items, nil
}
