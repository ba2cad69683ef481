package workspacewatch

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func metadataOf(kind string) client.Object {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

// TestSplit: two controllers may watch the same kind, of which the cache has one informer.
func TestSplit(t *testing.T) {
	required, optional := Split(
		Kind{Object: metadataOf("Namespace")}, Kind{Object: metadataOf("Secret")}, Kind{Object: &corev1.Namespace{}},
		Kind{Object: &coordinationv1.Lease{}, Optional: true},
		Kind{Object: metadataOf("Namespace")}, Kind{Object: &corev1.Namespace{}}, Kind{Object: &coordinationv1.Lease{}, Optional: true},
	)
	names := func(objects []client.Object) (names []string) {
		for _, o := range objects {
			names = append(names, fmt.Sprintf("%T %s", o, o.GetObjectKind().GroupVersionKind().Kind))
		}
		return names
	}
	if diff := cmp.Diff([]string{"*v1.PartialObjectMetadata Namespace", "*v1.PartialObjectMetadata Secret", "*v1.Namespace "}, names(required)); diff != "" {
		t.Errorf("required: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"*v1.Lease "}, names(optional)); diff != "" {
		t.Errorf("optional: -want +got\n%s", diff)
	}
}
