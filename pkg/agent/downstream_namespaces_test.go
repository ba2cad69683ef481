package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// TestDownstreamNamespaceIsTakenOver: what stands for the same Namespace is taken over, whoever left it; nothing else is.
func TestDownstreamNamespaceIsTakenOver(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*corev1.Namespace)
		fails  bool
	}{
		"ours":              {"", func(*corev1.Namespace) {}, false},
		"of an older UID":   {"Workloads may run in it.", func(n *corev1.Namespace) { n.Labels[workloadv1alpha1.LabelUID] = "older" }, false},
		"left standing":     {"Something of others was in it.", func(n *corev1.Namespace) { n.Labels = nil }, false},
		"of another target": {"", func(n *corev1.Namespace) { n.Labels[workloadv1alpha1.LabelKey] = "fedcba9876543210" }, true},
		"of another source": {"A collision, which is never resolved by force.", func(n *corev1.Namespace) { n.Annotations[workloadv1alpha1.AnnotationNamespace] = "other" }, true},
		"of nobody":         {"", func(n *corev1.Namespace) { n.Labels, n.Annotations = nil, nil }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t), testConfig()
			live := DownstreamNamespace(c, "shop")[0].(*corev1.Namespace)
			tc.change(live)
			if err := s.Create(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			if _, err := Apply(t.Context(), s, DownstreamNamespace(c, "shop"), workloadv1alpha1.FieldOwnerController); (err != nil) != tc.fails {
				t.Errorf("%s\nApply() = %v", tc.reason, err)
			}
		})
	}
}

// labelledConfig is a Config in which the Namespace "shop" of the workspace has these labels.
func labelledConfig(labels map[string]string) Config {
	c := testConfig()
	c.NamespaceLabels = map[string]map[string]string{"shop": labels}
	return c
}

// extraLabels are the labels of the downstream Namespace that not every object of ours has.
func (s *server) extraLabels(t *testing.T) map[string]string {
	t.Helper()
	labels := s.object(t, DownstreamNamespace(testConfig(), "shop")[0]).GetLabels()
	config := testConfig()
	for key := range config.meta("", "").Labels {
		delete(labels, key)
	}
	return labels
}

// TestDownstreamNamespaceRepeatsLabels: it follows the labels of its Namespace by one write each, and keeps those of others.
func TestDownstreamNamespaceRepeatsLabels(t *testing.T) {
	s := newServer(t)
	for _, tc := range []struct {
		name   string
		labels map[string]string
		want   map[string]string
		writes int
	}{
		{"created", map[string]string{"team": "web"}, map[string]string{"namespace.workload.kcp.io/team": "web"}, 2},
		{"at rest", map[string]string{"team": "web"}, map[string]string{"namespace.workload.kcp.io/team": "web"}, 0},
		{"changed", map[string]string{"team": "db"}, map[string]string{"namespace.workload.kcp.io/team": "db"}, 1},
		{"added", map[string]string{"team": "db", "a.com/b": ""}, map[string]string{"namespace.workload.kcp.io/team": "db", "a.com.namespace.workload.kcp.io/b": ""}, 1},
		{"of kcp", map[string]string{"team": "db", "a.com/b": "", "kcp.io/c": "d"}, map[string]string{"namespace.workload.kcp.io/team": "db", "a.com.namespace.workload.kcp.io/b": ""}, 0},
		{"removed", map[string]string{"a.com/b": ""}, map[string]string{"a.com.namespace.workload.kcp.io/b": ""}, 1},
		{"none", nil, map[string]string{}, 1},
	} {
		s.forget()
		mustApply(t, s, DownstreamNamespace(labelledConfig(tc.labels), "shop"))
		if len(s.writes) != tc.writes {
			t.Errorf("%s: writes %q", tc.name, s.writes)
		}
		s.edit(t, DownstreamNamespace(testConfig(), "shop")[0], func(live *unstructured.Unstructured) {
			labels := live.GetLabels()
			labels["theirs"] = "stays"
			live.SetLabels(labels)
		})
		tc.want["theirs"], tc.want[workloadv1alpha1.LabelDownstreamNamespace] = "stays", testKey()
		if diff := cmp.Diff(tc.want, s.extraLabels(t)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.name, diff)
		}
	}
}

// TestOnlyDownstreamNamespacesAreSelected: the label by which copies select Namespaces is on no other object. It is not on
// the Namespace of the syncer either.
func TestOnlyDownstreamNamespacesAreSelected(t *testing.T) {
	for _, object := range append(Downstream(testConfig()), DownstreamNamespace(testConfig(), "shop")...) {
		_, got := object.GetLabels()[workloadv1alpha1.LabelDownstreamNamespace]
		if want := object.GetName() == shop(); got != want {
			t.Errorf("%s: labelled = %t", describe(object), got)
		}
	}
}

// TestCarriedLabelsAreKept: where the labels in the workspace are not known, those downstream stay, and cost no write.
func TestCarriedLabelsAreKept(t *testing.T) {
	s := newServer(t)
	objects := DownstreamNamespace(testConfig(), "shop")
	if err := KeepCarriedLabels(t.Context(), s, objects[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DownstreamNamespace(testConfig(), "shop"), objects); diff != "" {
		t.Errorf("there is none yet: -want +got\n%s", diff)
	}
	mustApply(t, s, DownstreamNamespace(labelledConfig(map[string]string{"team": "web"}), "shop"))
	s.forget()
	if err := KeepCarriedLabels(t.Context(), s, objects[0]); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, objects)
	if got := s.extraLabels(t)["namespace.workload.kcp.io/team"]; got != "web" || len(s.writes) != 0 {
		t.Errorf("the label is %q; writes %q", got, s.writes)
	}
}

// TestOrphanLosesCarriedLabels: nobody updates them any more.
func TestOrphanLosesCarriedLabels(t *testing.T) {
	s, namespaces, _ := furnished(t, "copy")
	mustApply(t, s, DownstreamNamespace(labelledConfig(map[string]string{"team": "web", "example.com/tier": "edge"}), "shop"))
	s.edit(t, DownstreamNamespace(testConfig(), "shop")[0], func(live *unstructured.Unstructured) {
		labels := live.GetLabels()
		labels["theirs"] = "stays"
		live.SetLabels(labels)
	})
	if _, _, err := namespaces.removeAll(t, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"theirs": "stays"}, s.extraLabels(t)); diff != "" {
		t.Errorf("labels: -want +got\n%s", diff)
	}
}

// budgets stand for a custom resource: the fake cannot do with one that its scheme lacks.
var budgets = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

// served is what the physical cluster serves in Namespaces.
var served = []metav1.APIResource{
	{Version: "v1", Name: "configmaps", Kind: "ConfigMap"}, {Version: "v1", Name: "endpoints", Kind: "Endpoints"}, {Version: "v1", Name: "events", Kind: "Event"},
	{Version: "v1", Name: "pods", Kind: "Pod"}, {Version: "v1", Name: "secrets", Kind: "Secret"}, {Version: "v1", Name: "serviceaccounts", Kind: "ServiceAccount"},
	{Group: "apps", Version: "v1", Name: "replicasets", Kind: "ReplicaSet"},
	{Group: "autoscaling", Version: "v2", Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler"},
	{Group: "events.k8s.io", Version: "v1", Name: "events", Kind: "Event"},
	{Group: "policy", Version: "v1", Name: "poddisruptionbudgets", Kind: "PodDisruptionBudget"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Name: "rolebindings", Kind: "RoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Name: "roles", Kind: "Role"},
}

// furnished is a physical cluster with the downstream Namespace of the Namespace "shop" and, in it, these objects: "copy…" is
// ours. What is said of Namespaces that stay is put into said.
func furnished(t *testing.T, names ...string) (s *server, namespaces DownstreamNamespaces, said *[]string) {
	t.Helper()
	s, c := newServer(t), testConfig()
	mustApply(t, s, DownstreamNamespace(c, "shop"))
	for _, name := range names {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		if strings.HasSuffix(name, "budget") {
			object.SetGroupVersionKind(budgets)
		}
		object.SetNamespace(shop())
		object.SetName(name)
		object.SetUID(types.UID("uid of " + name))
		object.SetLabels(map[string]string{"app": "shop"})
		if strings.HasPrefix(name, "copy") {
			object.SetLabels(map[string]string{"app": "shop", workloadv1alpha1.LabelKey: c.key(), workloadv1alpha1.LabelUID: "u"})
			object.SetAnnotations(map[string]string{"note": "mine", workloadv1alpha1.AnnotationSourceUID: "s", workloadv1alpha1.AnnotationAppliedHash: "h"})
		}
		if err := s.raw.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	s.forget()
	said = &[]string{}
	return s, DownstreamNamespaces{Client: s, Key: c.key(), Resources: served, Clean: redact, Left: func(sentence string) { *said = append(*said, sentence) }}, said
}

// redact stands for what takes a kubeconfig's credentials out of a sentence.
func redact(words string) string { return strings.ReplaceAll(words, "s3cret", "[redacted]") }

// removeAll removes all downstream Namespaces.
func (p DownstreamNamespaces) removeAll(t *testing.T, orphan bool) (waiting string, done bool, err error) {
	t.Helper()
	all, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting, _, done, err = p.Remove(t.Context(), all, orphan)
	return waiting, done, err
}

func shop() string { return naming.Namespace(testKey(), "shop") }

// standing is what is left: the Namespace and the objects in it, each with "ours" if it carries a mark.
func (s *server) standing(t *testing.T) []string {
	t.Helper()
	var namespace corev1.Namespace
	if err := s.raw.Get(t.Context(), client.ObjectKey{Name: shop()}, &namespace); err != nil {
		return nil
	}
	left := []string{"Namespace" + marked(&namespace, workloadv1alpha1.LabelKey)}
	if err := s.raw.Get(t.Context(), client.ObjectKey{Namespace: shop(), Name: DeploymentName}, &rbacv1.RoleBinding{}); err == nil {
		left = append(left, "rights")
	}
	for _, gvk := range []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("ConfigMap"), budgets} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := s.raw.List(t.Context(), list, client.InNamespace(shop())); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if object := &list.Items[i]; object.GetLabels()["app"] == "shop" {
				left = append(left, object.GetName()+marked(object, workloadv1alpha1.GroupName+"/"))
			}
		}
	}
	return left
}

func marked(object metav1.Object, prefix string) string {
	for name := range object.GetLabels() {
		if strings.HasPrefix(name, prefix) {
			return " ours"
		}
	}
	for name := range object.GetAnnotations() {
		if strings.HasPrefix(name, prefix) {
			return " ours"
		}
	}
	return ""
}

// TestDownstreamNamespacesRemove: what the syncer has not removed goes, and what is not ours stays.
func TestDownstreamNamespacesRemove(t *testing.T) {
	forbidden := map[string]error{"RoleList": apierrors.NewForbidden(rbacv1.Resource("roles"), "", errInjected)}
	broken := map[string]error{"RoleList": errInjected}
	tests := map[string]struct {
		reason  string
		orphan  bool
		there   []string
		lists   map[string]error
		unknown error
		want    []string
		told    int
	}{
		"all ours":                     {reason: "It goes as a whole.", there: []string{"copy", "copy-budget"}},
		"with another":                 {reason: "Nobody of ours has rights in it.", there: []string{"copy", "copy-budget", "foreign"}, want: []string{"Namespace", "foreign"}, told: 1},
		"with another custom resource": {reason: "What cannot be made anew is not taken either.", there: []string{"copy", "foreign-budget"}, want: []string{"Namespace", "foreign-budget"}, told: 1},
		"orphan": {reason: "A later SyncTarget of the name must not take the copies for its own.", orphan: true, there: []string{"copy", "copy-budget", "foreign"},
			want: []string{"Namespace", "copy", "foreign", "copy-budget"}},
		"orphan alone":             {reason: "It was wanted, so nobody is told.", orphan: true, there: []string{"copy"}, want: []string{"Namespace", "copy"}},
		"what may not be seen":     {reason: "The copies go all the same.", there: []string{"copy"}, lists: forbidden, want: []string{"Namespace"}, told: 1},
		"what cannot be seen":      {reason: "Nothing is left for good yet.", there: []string{"copy"}, lists: broken, want: []string{"Namespace ours", "rights"}},
		"what is not known of":     {reason: "", there: []string{"copy"}, unknown: errInjected, want: []string{"Namespace ours", "rights"}},
		"orphan and not all known": {reason: "A copy may have been missed.", orphan: true, there: []string{"copy"}, unknown: errInjected, want: []string{"Namespace ours", "rights", "copy"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, namespaces, said := furnished(t, tc.there...)
			s.failList, namespaces.Unknown = tc.lists, tc.unknown
			for range 2 {
				_, done, err := namespaces.removeAll(t, tc.orphan)
				if fails := tc.unknown != nil || errors.Is(tc.lists["RoleList"], errInjected); (err != nil) != fails || fails && done {
					t.Fatalf("%s\nRemove() = %t, %v", tc.reason, done, err)
				}
				s.finishNamespaces(t)
			}
			if diff := cmp.Diff(tc.want, s.standing(t)); diff != "" {
				t.Errorf("%s\nleft: -want +got\n%s", tc.reason, diff)
			}
			if len(*said) != tc.told {
				t.Errorf("%s\nsaid %q", tc.reason, *said)
			}
		})
	}
}

// TestAccountOfTheClusterStays: the Pods of others run with it, and would lose their tokens.
func TestAccountOfTheClusterStays(t *testing.T) {
	s, namespaces, _ := furnished(t, "foreign")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: shop(), Name: "default", UID: "account", Labels: map[string]string{workloadv1alpha1.LabelKey: testKey()},
		Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "s"},
	}}
	if err := s.raw.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, _, err := namespaces.removeAll(t, false); err != nil {
		t.Fatal(err)
	}
	if err := s.raw.Get(t.Context(), client.ObjectKeyFromObject(account), account); err != nil || marked(account, workloadv1alpha1.GroupName+"/") != "" {
		t.Errorf("it is %v, %v", account, err)
	}
}

// undeletable fails to delete what has this name.
type undeletable struct {
	client.Client
	name string
}

func (u *undeletable) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	if object.GetName() == u.name {
		return errInjected
	}
	return u.Client.Delete(ctx, object, opts...)
}

// TestOneDownstreamNamespaceKeepsNoOther: where one cannot be removed, the next is.
func TestOneDownstreamNamespaceKeepsNoOther(t *testing.T) {
	s, namespaces, _ := furnished(t, "foreign")
	first := DownstreamNamespace(testConfig(), "zoo")
	mustApply(t, s, first)
	namespaces.Client = &undeletable{Client: s, name: first[0].GetName()}
	if _, _, err := namespaces.removeAll(t, false); !errors.Is(err, errInjected) {
		t.Errorf("Remove() = %v", err)
	}
	if s.object(t, first[0]).GetDeletionTimestamp() != nil {
		t.Fatal("the first is removed")
	}
	if diff := cmp.Diff([]string{"Namespace", "foreign"}, s.standing(t)); diff != "" {
		t.Errorf("left: -want +got\n%s", diff)
	}
}

// TestOrphanKeepsWhatIsNotOurs: of a copy that stays, only our marks go.
func TestOrphanKeepsWhatIsNotOurs(t *testing.T) {
	s, namespaces, _ := furnished(t, "copy")
	if _, _, err := namespaces.removeAll(t, true); err != nil {
		t.Fatal(err)
	}
	var left corev1.ConfigMap
	if err := s.raw.Get(t.Context(), client.ObjectKey{Namespace: shop(), Name: "copy"}, &left); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]string{{"app": "shop"}, {"note": "mine"}}, []map[string]string{left.Labels, left.Annotations}); diff != "" {
		t.Errorf("labels and annotations: -want +got\n%s", diff)
	}
}

// TestDownstreamNamespacesClear: what stands for nothing goes only if it is empty.
func TestDownstreamNamespacesClear(t *testing.T) {
	tests := map[string]struct {
		reason string
		known  bool
		there  []string
		want   []string
	}{
		"empty":        {"", false, nil, nil},
		"known":        {"It stands for something.", true, nil, []string{"Namespace ours", "rights"}},
		"with another": {"It is left to its owner.", false, []string{"foreign"}, []string{"Namespace", "foreign"}},
		"with a copy":  {"Never on silence: its syncer may come back to it.", false, []string{"copy-budget"}, []string{"Namespace ours", "rights", "copy-budget ours"}},
		"with both":    {"", false, []string{"copy", "foreign"}, []string{"Namespace ours", "rights", "copy ours", "foreign"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, namespaces, _ := furnished(t, tc.there...)
			orphans, err := namespaces.Orphans(t.Context(), func(namespace string) bool { return tc.known && namespace == "shop" })
			if err != nil {
				t.Fatal(err)
			}
			for i := range orphans {
				if holds, err := namespaces.RemoveOrphan(t.Context(), &orphans[i]); err != nil || holds != slices.ContainsFunc(tc.there, isCopyName) {
					t.Fatalf("RemoveOrphan() = %t, %v", holds, err)
				}
			}
			s.finishNamespaces(t)
			if diff := cmp.Diff(tc.want, s.standing(t)); diff != "" {
				t.Errorf("%s\nleft: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func isCopyName(name string) bool { return strings.HasPrefix(name, "copy") }

// TestWaitingIsClean: what holds a Namespace is called as its cluster calls it.
func TestWaitingIsClean(t *testing.T) {
	s, namespaces, _ := furnished(t)
	s.edit(t, DownstreamNamespace(testConfig(), "shop")[0], func(live *unstructured.Unstructured) { live.SetFinalizers([]string{"example.com/s3cret"}) })
	waiting, _, err := namespaces.removeAll(t, false)
	if err != nil || !strings.Contains(waiting, "held by finalizer example.com/[redacted]") {
		t.Errorf("Remove() = %q, %v", waiting, err)
	}
}
