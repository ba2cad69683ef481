package synctarget

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func namedSecret(name string, finalizers ...string) *corev1.Secret {
	secret := newSecret()
	secret.Name, secret.Finalizers = name, finalizers
	return secret
}

func TestHoldSecret(t *testing.T) {
	const other = "workload.kcp.io/synctarget-0000000000000000"
	ours := workloadv1alpha1.SyncTargetFinalizer(testKey())
	tests := map[string]struct {
		reason  string
		secrets []*corev1.Secret
		pull    bool
		want    map[string][]string
		writes  []string
	}{
		"not held": {
			"", []*corev1.Secret{namedSecret("edge-1")}, false,
			map[string][]string{"edge-1": {ours}}, []string{`patch Secret "default/edge-1"`},
		},
		"held": {
			"At rest nothing is written.", []*corev1.Secret{namedSecret("edge-1", ours)}, false,
			map[string][]string{"edge-1": {ours}}, nil,
		},
		"held by another target": {
			"Its hold stays.", []*corev1.Secret{namedSecret("edge-1", other, "somebody/else")}, false,
			map[string][]string{"edge-1": {other, "somebody/else", ours}}, []string{`patch Secret "default/edge-1"`},
		},
		"referenced before": {
			"The reference was changed.", []*corev1.Secret{namedSecret("edge-1"), namedSecret("before", other, ours)}, false,
			map[string][]string{"edge-1": {ours}, "before": {other}}, []string{`patch Secret "default/edge-1"`, `patch Secret "default/before"`},
		},
		"held by others only": {
			"They are none of our business.", []*corev1.Secret{namedSecret("edge-1", ours), namedSecret("before", other)}, false,
			map[string][]string{"edge-1": {ours}, "before": {other}}, nil,
		},
		"pull mode": {
			"No Secret is needed.", []*corev1.Secret{namedSecret("edge-1", ours)}, true,
			map[string][]string{"edge-1": {}}, []string{`patch Secret "default/edge-1"`},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var objects []client.Object
			for _, secret := range tc.secrets {
				objects = append(objects, secret)
			}
			target := newTarget()
			if tc.pull {
				pull(target)
			}
			w := newWorld(t, target, objects...)
			if err := w.r.ensureSecretFinalizer(t.Context(), w.scope()); err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, secret := range tc.secrets {
				got[secret.Name] = w.finalizers(secret.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nfinalizers: -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.writes, w.kcp.writes); diff != "" {
				t.Errorf("%s\nwrites: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestHoldLeavesTheToken(t *testing.T) {
	w := usual(t)
	w.ready()
	if err := w.r.ensureSecretFinalizer(t.Context(), w.scope()); err != nil {
		t.Fatal(err)
	}
	if len(w.kcp.writes) != 0 {
		t.Errorf("the identity's own hold was touched: %q", w.kcp.writes)
	}
}

func TestHoldOnASecretBeingDeleted(t *testing.T) {
	secret := namedSecret("edge-1", "somebody/else")
	now := metav1.Now()
	secret.DeletionTimestamp = &now
	w := newWorld(t, newTarget(), secret)
	if err := w.r.ensureSecretFinalizer(t.Context(), w.scope()); err != nil {
		t.Fatal(err)
	}
	if len(w.kcp.writes) != 0 {
		t.Errorf("an API server refuses new finalizers on it: %q", w.kcp.writes)
	}
}

// TestHoldLosesARace: another target that refers to the same Secret was faster. That is no fault to report.
func TestHoldLosesARace(t *testing.T) {
	w := usual(t)
	raced := false
	w.kcp.refuse = func(request string) error {
		if !strings.HasPrefix(request, `patch Secret "default/edge-1"`) || raced {
			return nil
		}
		raced = true
		secret := namedSecret("edge-1", workloadv1alpha1.SyncTargetFinalizer("0000000000000000"))
		return w.kcp.raw.Update(context.Background(), secret)
	}
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False RollingOut") {
		t.Errorf("Deployed = %s", got)
	}
	want := []string{workloadv1alpha1.SyncTargetFinalizer("0000000000000000"), workloadv1alpha1.SyncTargetFinalizer(testKey())}
	if diff := cmp.Diff(want, w.finalizers("edge-1")); diff != "" {
		t.Errorf("finalizers: -want +got\n%s", diff)
	}
	if slices.ContainsFunc(w.events.events, func(e string) bool { return strings.HasPrefix(e, "Warning") }) {
		t.Errorf("Events: %q", w.events.events)
	}
}

// TestReleaseWithAStaleCache: a hold that the cache does not show yet must not outlive the target.
func TestReleaseWithAStaleCache(t *testing.T) {
	w := usual(t)
	w.ready()
	w.cache.reader = &blind{w.kcp.raw}
	w.delete()
	w.finish()
	w.clean("with a stale cache")
}

// blind is a cache that has not seen any Secret's finalizers yet.
type blind struct{ client.Reader }

func (b *blind) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*metav1.PartialObjectMetadataList); ok {
		return nil
	}
	return b.Reader.List(ctx, list, opts...)
}

func TestReleaseOfWhatIsGone(t *testing.T) {
	w := newWorld(t, newTarget(), namedSecret("edge-1", workloadv1alpha1.SyncTargetFinalizer(testKey())))
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "patch Secret") {
			return notFound("secrets", "edge-1")
		}
		return nil
	}
	result, err := w.r.releaseSecret(t.Context(), w.scope())
	if err != nil || result.progress != done {
		t.Errorf("releaseSecret() = %+v, %v", result, err)
	}
	w.kcp.refuse = func(string) error { return apierrors.NewForbidden(corev1.Resource("secrets"), "edge-1", errInjected) }
	if _, err := w.r.releaseSecret(t.Context(), w.scope()); err == nil {
		t.Error("a refusal is success")
	}
}

func (w *world) scope() *scope {
	w.t.Helper()
	target := w.target()
	return &scope{clusterName: testCluster, target: target, key: testKey(), cached: w.cache.GetCache(), upstream: w.kcp.Client}
}

func (w *world) finalizers(secretName string) []string {
	w.t.Helper()
	var secret corev1.Secret
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: secretName}, &secret); err != nil {
		w.t.Fatal(err)
	}
	return append([]string{}, secret.Finalizers...)
}
