package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncWithoutRights: a syncer that may not list one side of a Namespace, as it finds when it starts, concludes nothing
// from that. When it has its rights again, what was deleted meanwhile goes, and nothing else has changed.
func TestSyncWithoutRights(t *testing.T) {
	t.Parallel()
	own := newOwnService(t, "without-rights")
	n := own.newTenant(t)
	target := n.register("edge-1")
	there, here, both := n.openShop(target, "blind-there"), n.openShop(target, "blind-here"), n.openShop(target, "seeing")
	shops := []*shop{there, here, both}
	before := map[string]map[string]types.UID{}
	for _, s := range shops {
		for _, name := range []string{"stays", "goes"} {
			s.create(s.configMap(name, map[string]string{"a": "1"}))
			s.awaitReport(s.configMap(name, nil), `"ready":"Current"`)
		}
		before[s.namespace] = s.uids()
	}
	// The controller would give the rights back.
	own.stop(t)
	require.NoError(t, there.there.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: there.counterpart, Name: agent.DeploymentName}}))
	grants := here.grants()
	require.NotEmpty(t, grants)
	for _, grant := range grants {
		grant.Finalizers = nil // it is held until the syncer has left
		require.NoError(t, n.Update(t.Context(), &grant))
		require.NoError(t, n.Delete(t.Context(), &grant))
	}
	here.awaitRefused(here.syncerToken(), apierrors.IsForbidden)
	instance := target.Status.Syncer.Instance
	n.killSyncer("edge-1")
	n.eventually("another syncer beats", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		return target.Status.Syncer.Instance != instance, target.Status.Syncer.Instance
	})

	both.create(both.configMap("comes", map[string]string{"a": "1"}))
	both.awaitCopy("comes", map[string]string{"a": "1"})
	for _, s := range shops {
		require.NoError(t, n.Delete(t.Context(), s.configMap("goes", nil)))
	}
	both.awaitNoCopy("goes")
	n.eventually("it is told that something may not be listed", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		for _, r := range target.Status.SyncedResources {
			if r.Resource == "configmaps" {
				return r.State == workloadv1alpha1.ResourceForbidden && strings.Contains(r.Message, "cannot list"), r.Message
			}
		}
		return false, "not listed"
	})
	there.awaitReport(there.configMap("stays", nil), string(workloadv1alpha1.ResourceForbidden), "cannot list")
	both.rest(5*time.Second, nil)
	for _, s := range []*shop{there, here} {
		assert.Equal(t, before[s.namespace], s.uids(), "the copies in %s, at which nobody may look", s.namespace)
		for _, name := range []string{"stays", "goes"} {
			c := s.configMap(name, nil)
			require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(c), c))
			assert.Contains(t, c.Finalizers, workloadv1alpha1.SyncerFinalizer(target.Status.Key), "%s in %s", name, s.namespace)
		}
	}

	own.start(t)
	for _, s := range []*shop{there, here} {
		s.awaitGone(s.configMap("goes", nil))
		s.awaitExactly(map[string]map[string]string{"stays": {"a": "1"}})
		assert.Equal(t, before[s.namespace]["stays"], s.uids()["stays"], "the copy that stays in %s", s.namespace)
		s.awaitReport(s.configMap("stays", nil), `"ready":"Current"`)
	}
}

// TestSyncUnmarked: what the workspace's own policy does not let the syncer hold is not copied, which is told in an Event on the
// object and counted on the SyncTarget; when the policy has gone it is synced.
func TestSyncUnmarked(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	rule := admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "no-finalizers"}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{rule}},
		Validations: []admissionregistrationv1.Validation{{
			Expression: "!object.metadata.name.startsWith('guarded') || !has(object.metadata.finalizers)", Message: "nobody holds what is guarded",
		}},
	}}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: policy.ObjectMeta, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}}
	require.NoError(t, n.Create(t.Context(), policy))
	require.NoError(t, n.Create(t.Context(), binding))
	s := n.openShop(n.register("edge-1"), "shop")
	s.create(s.configMap("guarded-probe", nil))
	n.eventually("the policy is in force", func() (bool, string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/probe"]}}`))
		err := n.Patch(t.Context(), s.configMap("guarded-probe", nil), patch, client.DryRunAll)
		return apierrors.IsInvalid(err), fmt.Sprint(err)
	})
	guarded := s.configMap("guarded", map[string]string{"a": "1"})
	s.create(guarded)
	n.eventually("it is told in an Event", func() (bool, string) {
		var events corev1.EventList
		require.NoError(t, n.List(t.Context(), &events, client.InNamespace("shop")))
		i := slices.IndexFunc(events.Items, func(e corev1.Event) bool { return e.InvolvedObject.UID == guarded.UID && e.Reason == "SyncRefused" })
		return i >= 0 && strings.Contains(events.Items[i].Message, "nobody holds what is guarded"), fmt.Sprint(len(events.Items), i)
	})
	_, err := s.copyOf("guarded")
	assert.True(t, apierrors.IsNotFound(err), "a copy of what is not held: %v", err)
	n.await("edge-1", "Synced", "NotSynced", "configmaps")

	require.NoError(t, n.Delete(t.Context(), binding))
	s.awaitCopy("guarded", map[string]string{"a": "1"})
	n.await("edge-1", "Synced", "Synced")
}
