package pcluster

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A pass that runs out of time judges a cluster only if the cluster had a fair part of it.
func TestCallOutOfTime(t *testing.T) {
	silence := func(ctx context.Context) error {
		<-ctx.Done()
		return unreachable("no answer: %s", ctx.Err()) // as answerFilter does
	}
	isSlow := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) && !isAboutCluster(err) }
	isUnreachable := func(err error) bool { return errors.Is(err, ErrUnreachable) }

	for name, test := range map[string]struct {
		reason string
		left   time.Duration // of the pass
		call   func(context.Context) error
		is     func(error) bool
		took   time.Duration
		dead   bool
	}{
		"all the time":  {"", 2 * Budget, silence, isUnreachable, Budget, true},
		"a fair part":   {"", Budget / 2, silence, isUnreachable, Budget / 2, true},
		"the rest":      {"earlier calls used up the pass", Budget/2 - 1, silence, isSlow, Budget/2 - 1, false},
		"refused early": {"the pass had time left", time.Second, func(context.Context) error { return unreachable("refused") }, isUnreachable, 0, true},
		"answered late": {"an answer is one at any time", time.Second, func(ctx context.Context) error {
			<-ctx.Done()
			return &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}}
		}, apierrors.IsForbidden, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clusters, _ := startClusters(t, nil, nil)
				cluster, err := clusters.cluster(testID("a"), tokenKubeconfig("https://edge:6443", nil, "t"))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.left)
				defer cancel()
				began := time.Now()
				read := request{verb: "get", resource: schema.GroupResource{Resource: "namespaces"}, name: "n"}
				if err := newClient(t, cluster).(*liveClient).do(ctx, read, test.call); !test.is(err) {
					t.Errorf("%s: %v", test.reason, err)
				}
				if diff := cmp.Diff(test.took, time.Since(began)); diff != "" {
					t.Errorf("%s: it took, -want +got:\n%s", test.reason, diff)
				}
				if dead := cluster.remembered() != nil; dead != test.dead {
					t.Errorf("%s: dead %t, want %t", test.reason, dead, test.dead)
				}
			})
		})
	}
}
