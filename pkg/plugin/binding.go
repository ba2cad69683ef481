package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/config/samples"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// exportName is the APIExport that serves SyncTargets.
const exportName = workloadv1alpha1.GroupName

// defaultExportPath is the workspace of the export, where the operator of the service has not chosen another.
const defaultExportPath = "root:synctarget"

// sampleBinding is the APIBinding of the samples, to the export in a workspace.
func sampleBinding(exportPath string) (*apisv1alpha2.APIBinding, error) {
	binding := &apisv1alpha2.APIBinding{}
	if err := yaml.UnmarshalStrict(samples.Binding, binding); err != nil {
		return nil, fmt.Errorf("reading the sample of the APIBinding: %w", err)
	}
	binding.Spec.Reference.Export.Path = exportPath
	return binding, nil
}

// findBinding returns the workspace's APIBinding to the export, nil for none.
func findBinding(ctx context.Context, upstream *connection) (*apisv1alpha2.APIBinding, error) {
	var bindings apisv1alpha2.APIBindingList
	if err := upstream.List(ctx, &bindings); isAPIAbsent(err) {
		return nil, usage("use a context of a kcp workspace (--context), or name the workspace: --workspace=root:…", "%s serves no APIBindings, so it is no workspace of kcp", upstream.name)
	} else if err != nil {
		return nil, fmt.Errorf("listing the APIBindings of %s: %w", upstream.name, err)
	}
	for i := range bindings.Items {
		if export := bindings.Items[i].Spec.Reference.Export; export != nil && export.Name == exportName {
			return &bindings.Items[i], nil
		}
	}
	return nil, nil
}

// acceptClaims changes a binding so that it accepts the wanted claims, each with its verbs, and returns those that it did not.
// Selectors and further claims of the binding stay.
func acceptClaims(binding *apisv1alpha2.APIBinding, wanted []apisv1alpha2.AcceptablePermissionClaim) (missing []string) {
	for _, want := range wanted {
		at := slices.IndexFunc(binding.Spec.PermissionClaims, func(have apisv1alpha2.AcceptablePermissionClaim) bool {
			return have.Group == want.Group && have.Resource == want.Resource
		})
		switch {
		case at < 0:
			binding.Spec.PermissionClaims = append(binding.Spec.PermissionClaims, want)
		case accepts(binding.Spec.PermissionClaims[at], want):
			continue
		default:
			claim := &binding.Spec.PermissionClaims[at]
			claim.State, claim.Verbs = want.State, want.Verbs
		}
		missing = append(missing, claimName(want))
	}
	return missing
}

func accepts(have, want apisv1alpha2.AcceptablePermissionClaim) bool {
	return have.State == apisv1alpha2.ClaimAccepted &&
		!slices.ContainsFunc(want.Verbs, func(verb string) bool { return !slices.Contains(have.Verbs, verb) })
}

func claimName(claim apisv1alpha2.AcceptablePermissionClaim) string {
	return strings.TrimSuffix(claim.Resource+"."+claim.Group, ".")
}

// ensureBinding binds the API, after asking, and accepts the claims of the service.
func (p *plugin) ensureBinding(ctx context.Context, w *writer, exportPath string, yes bool, timeout time.Duration) error {
	sample, err := sampleBinding(exportPath)
	if err != nil {
		return err
	}
	found, err := findBinding(ctx, w.connection)
	if err != nil {
		return err
	}
	if found == nil {
		if w.mode == dryRunNone {
			if err := p.confirm(ctx, fmt.Sprintf("%s has no APIBinding to the export %q of %q; with it, the service gets the rights that it claims here (docs/security.md).",
				w.name, exportName, exportPath), yes); err != nil {
				return err
			}
		}
		binding := &apisv1alpha2.APIBinding{}
		binding.Name = sample.Name
		if err := w.ensure(ctx, binding, func() error {
			binding.Spec = sample.Spec
			return nil
		}); err != nil {
			return err
		}
		return p.awaitBinding(ctx, w, binding.Name, timeout)
	}
	wanted := found.DeepCopy()
	missing := acceptClaims(wanted, sample.Spec.PermissionClaims)
	if len(missing) > 0 && w.mode == dryRunNone {
		if err := p.confirm(ctx, fmt.Sprintf("APIBinding %q of %s does not accept what the service needs: %s.", found.Name, w.name, strings.Join(missing, ", ")), yes); err != nil {
			return err
		}
	}
	if err := w.ensure(ctx, found, func() error {
		acceptClaims(found, sample.Spec.PermissionClaims)
		return nil
	}); err != nil {
		return err
	}
	return p.awaitBinding(ctx, w, found.Name, timeout)
}

// awaitBinding waits until the workspace serves SyncTargets.
func (p *plugin) awaitBinding(ctx context.Context, w *writer, name string, timeout time.Duration) error {
	if w.mode != dryRunNone {
		return nil
	}
	next := fmt.Sprintf("see why with: kubectl describe apibinding %s; where the export is in another workspace, name it with --export-path", name)
	return p.poll(ctx, fmt.Sprintf("APIBinding %q", name), timeout, next, func(ctx context.Context) (observation, error) {
		binding := &apisv1alpha2.APIBinding{}
		if err := w.Get(ctx, client.ObjectKey{Name: name}, binding); err != nil {
			return observation{}, err
		}
		if waiting := bindingProblem(binding); waiting != "" {
			return observation{waiting: waiting}, nil
		}
		// kcp serves the API a moment later.
		err := w.List(ctx, &workloadv1alpha1.SyncTargetList{}, client.Limit(1))
		if isAPIAbsent(err) {
			return observation{waiting: "kcp does not serve SyncTargets yet"}, nil
		}
		return observation{done: err == nil}, err
	})
}

// bindingProblem says why a binding is not bound; empty where it is.
func bindingProblem(binding *apisv1alpha2.APIBinding) string {
	if binding.Status.Phase == apisv1alpha2.APIBindingPhaseBound {
		return ""
	}
	for _, condition := range binding.Status.Conditions {
		if condition.Status != "True" && condition.Message != "" {
			return condition.Message
		}
	}
	return "it is not bound yet"
}
