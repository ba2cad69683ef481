package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// mayWatch tells whether rules let somebody watch this object by name, and no other of its kind unless they say so.
func mayWatch(rules []rbacv1.PolicyRule, o options.InstalledObject) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, o.Group) && slices.Contains(rule.Resources, o.Resource) && slices.Contains(rule.ResourceNames, o.Name) &&
			cmp.Equal(rule.Verbs, []string{"list", "watch"})
	})
}

// TestEverythingIsObserved: whatever is installed is watched by the controller or by the syncer, which has the right to.
func TestEverythingIsObserved(t *testing.T) {
	c := testConfig()
	var installed []options.InstalledObject
	for _, object := range Downstream(c) {
		gvk := object.GetObjectKind().GroupVersionKind()
		if gvk.Version != "v1" {
			t.Errorf("%s has version %q", describe(object), gvk.Version)
		}
		if gvk.Kind != "Deployment" {
			installed = append(installed, options.InstalledObject{
				Group: gvk.Group, Resource: strings.ToLower(gvk.Kind) + "s", Namespace: object.GetNamespace(), Name: object.GetName(),
			})
		}
	}
	inNoOrder := cmp.Transformer("sort", func(objects []options.InstalledObject) []options.InstalledObject {
		objects = slices.Clone(objects)
		slices.SortFunc(objects, func(a, b options.InstalledObject) int { return strings.Compare(a.Resource+a.Name, b.Resource+b.Name) })
		return objects
	})
	if diff := cmp.Diff(options.Installation(c.namespace()), installed, inNoOrder); diff != "" {
		t.Errorf("installed, but for the Deployment: -observed +installed\n%s", diff)
	}
	for _, object := range installed {
		rules := c.clusterRole().Rules
		if object.Namespace != "" {
			rules = c.role().Rules
		}
		if !mayWatch(rules, object) {
			t.Errorf("the syncer may not watch %v", object)
		}
	}
	binding := DownstreamNamespace(c, "shop")[1]
	if in := options.InstalledIn(binding.GetNamespace()); in.Name != binding.GetName() || !mayWatch(c.downstreamRole().Rules, in) {
		t.Errorf("the syncer may not watch %s", describe(binding))
	}
}

// TestUnobserved: without these rights the syncer has the others.
func TestUnobserved(t *testing.T) {
	c := testConfig()
	with := slices.Concat(c.clusterRole().Rules, c.role().Rules, c.downstreamRole().Rules)
	c.Unobserved = true
	without := slices.Concat(c.clusterRole().Rules, c.role().Rules, c.downstreamRole().Rules)
	if kept := len(with) - len(without); kept != 8 {
		t.Errorf("%d rules are left out, want 8", kept)
	}
	for _, o := range append(options.Installation(c.namespace()), options.InstalledIn("")) {
		if mayWatch(without, o) {
			t.Errorf("the syncer may watch %v", o)
		}
	}
}

// refusing refuses each dry run of a role whose manifest contains these words.
type refusing struct {
	client.Client
	words string
	err   error
}

func (r refusing) Apply(_ context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if options := (&client.ApplyOptions{}).ApplyOptions(opts); len(options.DryRun) == 0 {
		return errors.New("not a dry run")
	}
	if text, err := json.Marshal(object); err != nil || r.words != "" && strings.Contains(string(text), r.words) {
		return r.err
	}
	return nil
}

// TestMayObserve: whether the rights can be given is found without writing.
func TestMayObserve(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "roles"}, "syncer", nil)
	tests := map[string]struct {
		reason string
		words  string
		err    error
		want   bool
		fails  bool
	}{
		"all":                    {"", "", nil, true, false},
		"not in the cluster":     {"", `"clusterrolebindings"`, forbidden, false, false},
		"not in its Namespace":   {"", `"resourceNames":["kcp"]`, forbidden, false, false},
		"not a synced resource":  {"That is another question.", `"configmaps"`, forbidden, true, false},
		"nobody knows just now":  {"", `"clusterroles"`, errInjected, false, true},
		"not in downstream ones": {"", `"rolebindings"`, forbidden, false, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MayObserve(t.Context(), refusing{newServer(t), tc.words, tc.err}, testConfig(), "owner")
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("%s\nMayObserve() = %t, %v, want %t", tc.reason, got, err, tc.want)
			}
		})
	}
}
