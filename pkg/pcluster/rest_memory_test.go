package pcluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// heapInUse is the size of the objects that are in use, in bytes.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // of what a sync.Pool holds, the first one drops only half
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestMemoryAtRest: what a cluster takes beside its connections does not grow with the kinds that a pass asks it for.
func TestMemoryAtRest(t *testing.T) {
	const targets, most = 100, 8 << 10
	clusters, _ := startClusters(t, nil, nil)
	pass := func(name string) {
		t.Helper()
		cluster := clusters.replace(testID(name), mustCluster(t, clusters, testID(name), "t"))
		cluster.answerFilter.next = roundTripper(func(r *http.Request) (*http.Response, error) {
			answer := httptest.NewRecorder()
			refuse(http.StatusNotFound, "NotFound", "not here")(answer, r)
			return answer.Result(), nil
		})
		c := newClient(t, cluster)
		key := client.ObjectKey{Namespace: "n", Name: "x"}
		for _, object := range []client.Object{
			&corev1.ServiceAccount{}, &corev1.Secret{}, &corev1.Pod{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		} {
			gvk, err := apiutil.GVKForObject(object, c.Scheme())
			if err != nil {
				t.Fatal(err)
			}
			generic := &unstructured.Unstructured{}
			generic.SetGroupVersionKind(gvk)
			for _, o := range []client.Object{object, generic} {
				if err := c.Get(t.Context(), key, o); !apierrors.IsNotFound(err) {
					t.Fatalf("Get() = %v, want that it is not found", err)
				}
			}
		}
	}
	pass("first") // for what all have in common
	before := heapInUse()
	for i := range targets {
		pass(fmt.Sprint(i))
	}
	if each := (heapInUse() - before) / targets; each > most {
		t.Errorf("each cluster takes %d bytes, more than %d", each, most)
	}
}
