package placement

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestIsGone(t *testing.T) {
	assigned := func(name string) *workloadv1alpha1.Assignment {
		return &workloadv1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{workloadv1alpha1.LabelKey: workloadv1alpha1.Key(testCluster, name)},
			Annotations: map[string]string{workloadv1alpha1.AnnotationSyncTarget: name},
		}}
	}
	rights := func(name string) client.Object {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: workloadv1alpha1.SyncerNamespace(name, workloadv1alpha1.Key(testCluster, name)),
		}}
	}
	another := newNamespace("a")
	another.UID = "another"
	tests := map[string]struct {
		reason  string
		objects []client.Object
		// refused and refusal: the answer to a request that begins so.
		refused string
		refusal error
		want    bool
		fails   bool
	}{
		"there":                               {reason: "The cache lags.", objects: []client.Object{newNamespace("a")}},
		"another":                             {reason: "It was deleted and made anew.", objects: []client.Object{another, rights("edge-1")}, want: true},
		"hidden":                              {reason: "The rights have a finalizer.", objects: []client.Object{rights("edge-1")}},
		"hidden, the other syncer has rights": {objects: []client.Object{rights("edge-2")}},
		"gone":                                {want: true},
		"Namespaces not served": {
			refused: "get Namespace", refusal: &apierrors.StatusError{ErrStatus: metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound}}, fails: true,
		},
		"not found is another object": {refused: "get Namespace", refusal: apierrors.NewNotFound(corev1.Resource("workspaces"), "a"), fails: true},
		"forbidden":                   {refused: "get Namespace", refusal: apierrors.NewForbidden(corev1.Resource("namespaces"), "a", errInjected), fails: true},
		"no answer":                   {refused: "get Namespace", refusal: errInjected, fails: true},
		"rights cannot be read":       {refused: "get RoleBinding", refusal: errInjected, fails: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil, tc.objects...)
			s.refuse = func(request string) error {
				if tc.refused != "" && strings.HasPrefix(request, tc.refused) {
					return tc.refusal
				}
				return nil
			}
			gone, err := isGone(t.Context(), s.Client, &unseen{
				ObjectReference: workloadv1alpha1.ObjectReference{Name: "a", UID: "uid-a"},
				assignments:     []*workloadv1alpha1.Assignment{assigned("edge-1"), assigned("edge-2")},
			})
			if gone != tc.want || (err != nil) != tc.fails {
				t.Errorf("%s\nisGone() = %t, %v", tc.reason, gone, err)
			}
		})
	}
}
