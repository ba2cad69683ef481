package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncDown: what is in an assigned Namespace is in the physical cluster, as far as it is the user's to say.
func TestSyncDown(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")

	config := s.configMap("config", map[string]string{"a": "1", "b": "2"})
	s.create(config)
	s.awaitCopy("config", map[string]string{"a": "1", "b": "2"})
	s.awaitReport(config, `"ready":"Current"`)
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "password"}, StringData: map[string]string{"p": "x"}})
	s.eventually("the Secret is there too", func() (bool, string) {
		err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "password"}, &corev1.Secret{})
		return err == nil, fmt.Sprint(err)
	})

	sharesFields(s, config)
	leavesForeign(s)
	letsGo(s, config)
	closesAndOpens(s)
}

// sharesFields: of a copy, the syncer has what the user sets, and leaves the rest to others.
func sharesFields(s *shop, config *corev1.ConfigMap) {
	t := s.t
	t.Log("a field that is removed upstream disappears, one of another owner stays")
	c, err := s.copyOf("config")
	require.NoError(t, err)
	c.Data["theirs"] = "stays"
	require.NoError(t, s.there.Update(t.Context(), c, client.FieldOwner("somebody")))
	change(s.tenant, config, func(c *corev1.ConfigMap) { c.Data = map[string]string{"b": "3"} })
	s.awaitCopy("config", map[string]string{"b": "3", "theirs": "stays"})

	t.Log("a conflict is told by manager and field, and taken over on demand")
	change(s.tenant, config, func(c *corev1.ConfigMap) { c.Data["theirs"] = "mine" })
	s.awaitReport(config, "somebody", "data.theirs", workloadv1alpha1.AnnotationTakeOver)
	c, err = s.copyOf("config")
	require.NoError(t, err)
	assert.Equal(t, "stays", c.Data["theirs"], "nothing is overwritten by force")
	change(s.tenant, config, func(c *corev1.ConfigMap) {
		c.Annotations[workloadv1alpha1.AnnotationTakeOver] = "true"
	})
	s.awaitCopy("config", map[string]string{"b": "3", "theirs": "mine"})
	s.awaitReport(config, `"ready":"Current"`)
}

// leavesForeign: what is in the way is not touched, unless it is handed to this target. "foreign" and "kept" stay.
func leavesForeign(s *shop) {
	t, theirs := s.t, map[string]string{"theirs": "1"}
	s.create(s.configMap("kept", map[string]string{"a": "1"}))
	s.awaitCopy("kept", map[string]string{"a": "1"})

	t.Log("an object that is not ours is left alone, and said to be in the way")
	foreign, handed := s.configMap("foreign", map[string]string{"ours": "1"}), s.configMap("handed", map[string]string{"ours": "1"})
	for _, c := range []*corev1.ConfigMap{foreign, handed} {
		require.NoError(t, s.there.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.counterpart, Name: c.Name}, Data: theirs}))
		s.create(c)
		s.awaitReport(c, "is not a copy", workloadv1alpha1.AnnotationAdopt)
		s.awaitCopy(c.Name, theirs)
		assert.Empty(t, c.Finalizers, "there is no copy to hold %s for", c.Name)
	}

	t.Log("so is somebody's backup, made of a copy with all its marks")
	kept, err := s.copyOf("kept")
	require.NoError(t, err)
	backup := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.counterpart, Name: "backup", Labels: kept.Labels, Annotations: kept.Annotations}, Data: theirs}
	require.NoError(t, s.there.Create(t.Context(), backup))
	restored := s.configMap("backup", map[string]string{"ours": "1"})
	s.create(restored)
	s.awaitReport(restored, "is not a copy")
	require.NoError(t, s.Delete(t.Context(), restored))
	s.awaitGone(restored)
	s.awaitCopy("backup", theirs)
	require.NoError(t, s.there.Delete(t.Context(), backup))

	t.Log("handed to another target it is left alone too; what is deleted by hand comes back")
	before := s.patchCopy("handed", adoption("0000000000000000"))
	require.NoError(t, s.there.Delete(t.Context(), kept))
	// One watch tells of both, in this order: who has seen the second has looked at the first.
	s.eventually("another copy is made", func() (bool, string) {
		again, err := s.copyOf("kept")
		return err == nil && again.UID != kept.UID, fmt.Sprint(err)
	})
	after, err := s.copyOf("handed")
	require.NoError(t, err)
	assert.Equal(t, before.ResourceVersion, after.ResourceVersion, "nothing was written to what is another's: %v", after)
	s.awaitReport(handed, "is not a copy")

	t.Log("handed to us it is taken over as it is, and goes with its source")
	s.patchCopy("handed", adoption(s.target.Status.Key))
	s.awaitCopy("handed", map[string]string{"theirs": "1", "ours": "1"})
	s.awaitReport(handed, `"ready":"Current"`)
	assert.Contains(t, handed.Finalizers, workloadv1alpha1.SyncerFinalizer(s.target.Status.Key))
	after, err = s.copyOf("handed")
	require.NoError(t, err)
	assert.Equal(t, before.UID, after.UID)
	assert.Equal(t, s.target.Status.Key, after.Labels[workloadv1alpha1.LabelKey])
	require.NoError(t, s.Delete(t.Context(), handed))
	s.awaitGone(handed)
	_, err = s.copyOf("handed")
	assert.True(t, apierrors.IsNotFound(err), "it was held until its copy was gone: %v", err)
}

// adoption is the patch that hands an object to the target with a key.
func adoption(key string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, workloadv1alpha1.AnnotationAdopt, key)
}

// letsGo: what is no longer wanted goes, and its object is held no longer, and no less long, than its copy is there.
func letsGo(s *shop, config *corev1.ConfigMap) {
	t := s.t
	t.Log("what is opted out goes, what is deleted goes")
	s.create(s.configMap("deleted", nil))
	s.awaitCopy("deleted", nil)
	change(s.tenant, config, func(c *corev1.ConfigMap) { c.Labels = map[string]string{workloadv1alpha1.LabelSync: "false"} })
	s.awaitNoCopy("config")
	s.eventually("the object that was opted out is free of us", func() (bool, string) {
		require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(config), config))
		return len(config.Finalizers) == 0 && config.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)] == "", fmt.Sprint(config.Finalizers, config.Annotations)
	})
	require.NoError(t, s.Delete(t.Context(), s.configMap("deleted", nil)))
	s.awaitGone(s.configMap("deleted", nil))
	s.awaitNoCopy("deleted")

	t.Log("a copy that cannot go is told, and who holds it")
	const holder = "e2e.example.com/holder"
	held := s.configMap("held", map[string]string{"a": "1"})
	s.create(held)
	s.awaitReport(held, `"ready":"Current"`)
	s.patchCopy("held", fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, holder))
	require.NoError(t, s.Delete(t.Context(), held))
	s.awaitReport(held, "being deleted", holder)
	c, err := s.copyOf("held")
	require.NoError(t, err)
	assert.NotNil(t, c.DeletionTimestamp)
	s.patchCopy("held", `{"metadata":{"finalizers":null}}`)
	s.awaitGone(held)
	_, err = s.copyOf("held")
	assert.True(t, apierrors.IsNotFound(err), "it was held until its copy was gone: %v", err)
}

// closesAndOpens ends the story: what is not ours outlives the Namespace's closing and the target.
func closesAndOpens(s *shop) {
	t, theirs := s.t, map[string]string{"theirs": "1"}
	t.Log("a Namespace that is closed is left, but for what is not ours")
	s.withdraw()
	s.awaitWithdrawn()
	s.awaitNoCopy("kept")
	s.awaitCopy("foreign", theirs)
	s.requireFree()

	t.Log("and can be opened again")
	s.place()
	s.awaitAssigned()
	s.awaitCopy("kept", map[string]string{"a": "1"})
	require.NoError(t, s.Delete(t.Context(), s.target))
	s.awaitGone(s.target)
	requireNothingLeft(t, s.there, s.target.Status.Key)
	s.requireFree()
	s.awaitCopy("foreign", theirs)
	require.NoError(t, s.there.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.counterpart}}))
}
