package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestSyncOfNamespaceSelectors: what selects Namespaces of the workspace selects their downstream Namespaces, follows their
// labels, and selects nothing else in a cluster that other tenants use too.
func TestSyncOfNamespaceSelectors(t *testing.T) {
	t.Parallel()
	n, neighbour := newTenant(t), newTenant(t)
	n.bindCompute()
	// The neighbour has a Namespace of the same name and label in the same cluster.
	neighbour.openShop(neighbour.register("edge-1"), "front").setLabel("team", "web")
	target := n.register("edge-1")
	front, back := n.openShop(target, "front"), n.openShop(target, "back")
	front.setLabel("team", "web")
	both := []string{front.counterpart, back.counterpart}

	for name, tc := range map[string]struct {
		selector metav1.LabelSelector
		want     []string
	}{
		"by-name":  {metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "front"}}, []string{front.counterpart}},
		"by-label": {metav1.LabelSelector{MatchLabels: map[string]string{"team": "web"}}, []string{front.counterpart}},
		"not-label": {metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "team", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}},
		}}, []string{back.counterpart}},
		"all": {metav1.LabelSelector{}, both},
	} {
		back.create(admitting(back.namespace, name, tc.selector))
		back.awaitAdmitted(name, tc.want)
	}

	t.Log("Pods are kept apart from those of a Namespace that is named")
	back.create(apartFrom(back.namespace, front.namespace))
	web := &appsv1.Deployment{}
	back.eventually("the copy of the Deployment is there", func() (bool, string) {
		err := back.there.Get(t.Context(), client.ObjectKey{Namespace: back.counterpart, Name: "web"}, web)
		return err == nil, fmt.Sprint(err)
	})
	terms := web.Spec.Template.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	require.Len(t, terms, 1)
	assert.Equal(t, []string{front.counterpart}, terms[0].Namespaces)
	assert.Nil(t, terms[0].NamespaceSelector)

	t.Log("the selection follows a label that is changed, removed and added")
	front.setLabel("team", "db")
	back.awaitAdmitted("by-label", nil)
	back.awaitAdmitted("not-label", both)
	back.setLabel("team", "web")
	back.awaitAdmitted("by-label", []string{back.counterpart})
	back.setLabel("team", "")
	back.awaitAdmitted("by-label", nil)
	front.setLabel("team", "web")
	back.awaitAdmitted("by-label", []string{front.counterpart})
	back.awaitAdmitted("by-name", []string{front.counterpart})
	back.awaitAdmitted("all", both)
}

// setLabel changes a label of the Namespace in the workspace; with an empty value the label is removed.
func (s *shop) setLabel(key, value string) {
	s.t.Helper()
	change(s.tenant, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, func(ns *corev1.Namespace) {
		delete(ns.Labels, key)
		if value != "" {
			metav1.SetMetaDataLabel(&ns.ObjectMeta, key, value)
		}
	})
}

// admitting is a NetworkPolicy that admits Namespaces.
func admitting(namespace, name string, selector metav1.LabelSelector) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &selector}}}},
		},
	}
}

// apartFrom is a Deployment whose Pods do not run on a node with Pods of another Namespace.
func apartFrom(namespace, other string) *appsv1.Deployment {
	web := idleDeployment(namespace, "web")
	web.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: web.Spec.Selector, Namespaces: []string{other},
		}},
	}}
	return web
}

// awaitAdmitted waits until the copy of a NetworkPolicy selects just these Namespaces of the physical cluster.
func (s *shop) awaitAdmitted(policy string, want []string) {
	s.t.Helper()
	want = slices.Sorted(slices.Values(want))
	s.eventually(fmt.Sprintf("NetworkPolicy %s admits %q", policy, want), func() (bool, string) {
		got, err := s.admitted(policy)
		return err == nil && slices.Equal(got, want), fmt.Sprint(strings.Join(got, " "), err)
	})
}

// admitted evaluates the copy of a NetworkPolicy as the physical cluster does, and returns the Namespaces that it admits.
func (s *shop) admitted(policy string) ([]string, error) {
	var admits networkingv1.NetworkPolicy
	if err := s.there.Get(s.t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: policy}, &admits); err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(admits.Spec.Ingress[0].From[0].NamespaceSelector)
	if err != nil {
		return nil, err
	}
	var namespaces corev1.NamespaceList
	if err := s.there.List(s.t.Context(), &namespaces); err != nil {
		return nil, err
	}
	var names []string
	for i := range namespaces.Items {
		if selector.Matches(labels.Set(namespaces.Items[i].Labels)) {
			names = append(names, namespaces.Items[i].Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
