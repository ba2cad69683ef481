package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// installedVersion is what is installed for a SyncTarget.
type installedVersion struct {
	name string
	// controller and syncer are their versions; empty if they are not known.
	controller, syncer string
	isPull             bool
}

// skew is how a version compares with another one.
type skew int

const (
	sameVersion skew = iota
	// otherVersion: they differ, and neither is known to be the older one.
	otherVersion
	olderVersion
	newerVersion
)

// skewOf compares versions by their first three numbers. What follows them, as in v0.2.0-14-gb7aa81b, names no order: a build after
// v0.2.0 would be taken for one before it.
func skewOf(this, other string) skew {
	if this == other {
		return sameVersion
	}
	a, errA := version.ParseGeneric(this)
	b, errB := version.ParseGeneric(other)
	switch {
	case errA != nil || errB != nil || a.EqualTo(b):
		return otherVersion
	case a.LessThan(b):
		return olderVersion
	}
	return newerVersion
}

// words compare two versions in a sentence.
func (s skew) words() string {
	return map[skew]string{olderVersion: "older than", newerVersion: "newer than", otherVersion: "different from"}[s]
}

// skewWarnings say which versions differ, and what to do about it: the plugin's from those of the controller, and those of the
// syncers from the one of the controller that has installed them, or else from the plugin's.
func skewWarnings(plugin string, installed []installedVersion) []string {
	var controllers []string
	pairs := map[installedVersion][]string{}
	for _, i := range installed {
		if i.controller != "" && !slices.Contains(controllers, i.controller) {
			controllers = append(controllers, i.controller)
		}
		if i.syncer != "" {
			pair := installedVersion{controller: i.controller, syncer: i.syncer, isPull: i.isPull && i.controller != ""}
			pairs[pair] = append(pairs[pair], i.name)
		}
	}
	slices.Sort(controllers)
	var out []string
	for _, controller := range controllers {
		out = append(out, pluginWarning(plugin, controller)...)
	}
	for _, pair := range sortedPairs(pairs) {
		out = append(out, syncerWarning(plugin, pair, pairs[pair])...)
	}
	return out
}

func sortedPairs(pairs map[installedVersion][]string) []installedVersion {
	var out []installedVersion
	for pair := range pairs {
		out = append(out, pair)
	}
	slices.SortFunc(out, func(a, b installedVersion) int { return cmp.Compare(pairs[a][0], pairs[b][0]) })
	return out
}

func pluginWarning(plugin, controller string) []string {
	found := skewOf(plugin, controller)
	next := "use the plugin of the release that is installed"
	switch found {
	case sameVersion:
		return nil
	case newerVersion:
		next += ", or ask the operator of the service to upgrade"
	}
	return []string{fmt.Sprintf("this plugin, %s, is %s the controller, %s: %s", plugin, found.words(), controller, next)}
}

// syncerWarning is about the SyncTargets with these names, of which all is the same.
func syncerWarning(plugin string, at installedVersion, names []string) []string {
	if at.controller == "" {
		if found := skewOf(at.syncer, plugin); found != sameVersion {
			return []string{fmt.Sprintf("the syncers of version %s are %s this plugin, %s: use the plugin of the release that is installed",
				at.syncer, found.words(), plugin)}
		}
		return nil
	}
	found := skewOf(at.syncer, at.controller)
	if found == sameVersion {
		return nil
	}
	next := "the service replaces it, unless spec.syncer.image names another image; see kubectl synctarget status NAME"
	if at.isPull {
		next = "apply its manifests again: kubectl synctarget manifests NAME"
	}
	return []string{fmt.Sprintf("the syncer of %s, %s, is %s the controller, %s: %s",
		strings.Join(names, ", "), at.syncer, found.words(), at.controller, next)}
}
