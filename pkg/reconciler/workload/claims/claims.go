// Package claims knows which permission claims the service needs, and what the APIBinding of a workspace does not accept of them.
package claims

import (
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

// Needed are the verbs that the service needs, by resource. config/kcp/claims.yaml
// asks for them and says why; a test holds the two together.
var Needed = map[schema.GroupResource][]string{
	{Resource: "namespaces"}:      {"get", "list", "watch", "create", "patch", "delete"},
	{Resource: "serviceaccounts"}: {"get", "create", "patch", "delete"},
	{Resource: "secrets"}:         {"get", "list", "watch", "create", "patch", "delete"},
	{Resource: "events"}:          {"create", "patch"},
	LeaseResource:                 {"get", "list", "watch", "create", "patch", "delete"},
	{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}:        {"get", "create", "patch", "delete"},
	{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}: {"get", "create", "patch", "delete"},
	{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}:        {"get", "create", "patch", "delete"},
}

// LeaseResource are the Leases by which syncers send their heartbeats.
var LeaseResource = schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}

// optional are the claims that the service can do without, and what is lost without each.
var optional = map[schema.GroupResource]string{
	{Resource: "events"}: "changes of conditions and moves of Namespaces are not recorded as Events, nor what a deletion has left behind",
	LeaseResource:        "syncers write their heartbeats to the status of their SyncTargets instead of a Lease, which costs kcp more",
}

func isOptional(resource schema.GroupResource) bool { return optional[resource] != "" }

const everyVerb = "*"

// MissingClaim is a permission claim that does not give the service what it needs.
type MissingClaim struct {
	resource schema.GroupResource
	// verbs are missing; all of them where the claim is not accepted.
	verbs []string
	cause claimCause
}

// claimCause is why verbs of a claim are missing. Of several claims the greatest is told.
type claimCause int

const (
	// claimNotAccepted: the APIBinding does not accept the claim.
	claimNotAccepted claimCause = iota
	// verbsNotAccepted: it accepts other verbs.
	verbsNotAccepted
	// verbsNotExported: it accepts these verbs, but the APIExport does not ask for them.
	verbsNotExported
	// wildcardAccepted: it accepts "*", which kcp does not count as any verb that the APIExport names.
	wildcardAccepted
)

// String names the resource, and the verbs where others are granted.
func (m MissingClaim) String() string {
	if m.cause == claimNotAccepted {
		return m.resource.String()
	}
	return fmt.Sprintf("%s (%s)", m.resource, strings.Join(m.verbs, ", "))
}

// Lost says what is lost without an optional claim; empty for a claim that is needed.
func (m MissingClaim) Lost() string { return optional[m.resource] }

// Names returns the claims in words.
func Names(claims []MissingClaim) string {
	var all []string
	for _, claim := range claims {
		all = append(all, claim.String())
	}
	return strings.Join(all, ", ")
}

// Message says what to do about the claims of a binding to an export.
func Message(exportName string, missing []MissingClaim) string {
	cause := claimNotAccepted
	for _, m := range missing {
		cause = max(cause, m.cause)
	}
	switch cause {
	case wildcardAccepted:
		return fmt.Sprintf("permission claims of the APIBinding to %q do not name the verbs that are needed: %s; name them in the APIBinding's spec.permissionClaims, "+
			"in apis.kcp.io/v1alpha2: kcp grants only verbs that APIExport and APIBinding both name, and does not treat \"*\", which v1alpha1 always means, as a wildcard",
			exportName, Names(missing))
	case verbsNotExported:
		return fmt.Sprintf("the APIExport %q does not ask for all permission claims that are needed: %s; its operator has to apply the APIExport of this version, and then accept them in the APIBinding",
			exportName, Names(missing))
	}
	return fmt.Sprintf("permission claims of the APIBinding to %q are not accepted: %s; accept them in the APIBinding's spec.permissionClaims", exportName, Names(missing))
}

// Missing returns what the APIBindings of a workspace to an export do not accept of the claims that are not optional, sorted.
func Missing(bindings []apisv1alpha2.APIBinding, exportName string) []MissingClaim {
	return missingWhere(false, bindings, exportName)
}

// MissingOptional returns what they do not accept of the optional claims, sorted.
func MissingOptional(bindings []apisv1alpha2.APIBinding, exportName string) []MissingClaim {
	return missingWhere(true, bindings, exportName)
}

// missingWhere returns what is not accepted of the claims that are, or are not, optional.
func missingWhere(isOptionalClaim bool, bindings []apisv1alpha2.APIBinding, exportName string) []MissingClaim {
	var missing []MissingClaim
	for resource, needed := range Needed {
		if isOptional(resource) != isOptionalClaim {
			continue
		}
		if m := missingOf(resource, needed, bindings, exportName); len(m.verbs) > 0 {
			missing = append(missing, m)
		}
	}
	slices.SortFunc(missing, func(a, b MissingClaim) int { return strings.Compare(a.String(), b.String()) })
	return missing
}

// LeasesAccepted tells whether the service may make Leases in the workspace and watch them.
func LeasesAccepted(bindings []apisv1alpha2.APIBinding, exportName string) bool {
	return len(missingOf(LeaseResource, Needed[LeaseResource], bindings, exportName).verbs) == 0
}

// missingOf decides what the bindings to an export do not give of the needed verbs on a resource.
func missingOf(resource schema.GroupResource, needed []string, bindings []apisv1alpha2.APIBinding, exportName string) MissingClaim {
	m := MissingClaim{resource: resource, verbs: slices.Clone(needed)}
	for i := range bindings {
		binding := &bindings[i]
		if export := binding.Spec.Reference.Export; export == nil || export.Name != exportName {
			continue
		}
		for _, claim := range binding.Spec.PermissionClaims {
			if claim.State != apisv1alpha2.ClaimAccepted || claim.Group != resource.Group || claim.Resource != resource.Resource {
				continue
			}
			granted := grantedVerbs(claim.Verbs, exportedVerbs(binding, claim.PermissionClaim, needed))
			m.verbs = slices.DeleteFunc(m.verbs, func(verb string) bool {
				return slices.Contains(granted, verb) || slices.Contains(granted, everyVerb)
			})
			m.cause = causeOf(m.verbs, claim.Verbs)
		}
	}
	return m
}

// causeOf decides why verbs are missing of a claim that is accepted for others.
func causeOf(missing, accepted []string) claimCause {
	switch {
	case slices.Contains(accepted, everyVerb):
		return wildcardAccepted
	case slices.ContainsFunc(missing, func(verb string) bool { return slices.Contains(accepted, verb) }):
		return verbsNotExported
	}
	return verbsNotAccepted
}

// exportedVerbs are the verbs that the export asks for by a claim, as kcp has written them into the binding. Before it has,
// they are those that are needed.
func exportedVerbs(binding *apisv1alpha2.APIBinding, claim apisv1alpha2.PermissionClaim, needed []string) []string {
	for _, exported := range binding.Status.ExportPermissionClaims {
		if exported.EqualGRI(claim) {
			return exported.Verbs
		}
	}
	return needed
}

// grantedVerbs are those that kcp grants: it compares the verbs as words, so "*" is granted where both sides say "*", and
// stands for no other. See boundAPIAuthorizer in kcp's pkg/virtual/apiexport/authorizer.
func grantedVerbs(accepted, exported []string) []string {
	return slices.DeleteFunc(slices.Clone(accepted), func(verb string) bool { return !slices.Contains(exported, verb) })
}
