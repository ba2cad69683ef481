package synctarget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// standIn makes the syncer's token one that kcp refuses, as it does the service itself so many times. What it strips then is
// recorded.
func (w *world) standIn(refusals int) *[]string {
	w.t.Helper()
	stripped := new([]string)
	w.r.ownUser.review = func(context.Context, *rest.Config) (authenticationv1.UserInfo, error) {
		return authenticationv1.UserInfo{Username: "synctarget"}, nil
	}
	w.r.stripWith = func(_ context.Context, _ agent.Config, as *rest.Config, namespace string) error {
		if as.BearerToken == w.kcp.token {
			return fmt.Errorf("listing configmaps: %w", apierrors.NewUnauthorized("Unauthorized"))
		}
		if as.Host != "https://kcp.example.com/clusters/"+testCluster || !w.admitted() || !w.granted(namespace) {
			w.t.Errorf("stripped at %s by a ClusterRoleBinding: %t, by a RoleBinding: %t", as.Host, w.admitted(), w.granted(namespace))
		}
		if refusals--; refusals >= 0 {
			return fmt.Errorf("finding out about configmaps: %w", apierrors.NewForbidden(corev1.Resource("configmaps"), "", errInjected))
		}
		*stripped = append(*stripped, namespace)
		return nil
	}
	return stripped
}

// TestDeletionStandsInForTheSyncer: where its token is no longer good, the service strips with rights of its own, and gives
// them back; at the deadline and after it, too.
func TestDeletionStandsInForTheSyncer(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
	}{
		"refused": {"", func(_ *testing.T, w *world) { w.clock.Step(threshold) }},
		"gone": {"Somebody has deleted it by force.", func(t *testing.T, w *world) {
			var secret corev1.Secret
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}, &secret); err != nil {
				t.Fatal(err)
			}
			secret.Finalizers = nil
			if err := w.kcp.raw.Update(t.Context(), &secret); err != nil {
				t.Fatal(err)
			}
			if err := w.kcp.raw.Delete(t.Context(), &secret); err != nil {
				t.Fatal(err)
			}
		}},
		"abandoned": {"Who does not wait gets this all the same.", abandon},
		"at the deadline": {"", func(_ *testing.T, w *world) {
			w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline))
		}},
		"by a controller that comes back late": {"What it begins, it has time for.", func(_ *testing.T, w *world) {
			w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline + time.Hour))
			w.restart()
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.delete()
			w.pass()
			tc.arrange(t, w)
			stripped := w.standIn(1)
			if got := w.pass().RequeueAfter; got != time.Second || w.gone() || len(*stripped) != 0 {
				t.Errorf("%s\nRequeueAfter = %s, gone = %t, stripped %q before kcp can know", tc.reason, got, w.gone(), *stripped)
			}
			if got, want := w.condition(workloadv1alpha1.ConditionDeployed), "False Removing: Waiting for kcp to admit the service in the place of the syncer, whose token is no longer good"; got != want {
				t.Errorf("Deployed = %s, want %s", got, want)
			}
			w.pass()
			if diff := cmp.Diff([]string{"shop"}, *stripped); diff != "" || w.granted("shop") || w.admitted() {
				t.Errorf("%s\nstripped -want +got\n%s\ngranted = %t, admitted = %t", tc.reason, diff, w.granted("shop"), w.admitted())
			}
			for range 5 {
				if !w.gone() {
					w.pass()
				}
			}
			if said := strings.Join(w.events.events, "\n"); !w.gone() || strings.Contains(said, workloadv1alpha1.ReasonAbandoned) {
				t.Errorf("%s\ngone = %t, Events: %s", tc.reason, w.gone(), said)
			}
		})
	}
}

// TestStandingInEnds: what the service cannot do, or what somebody undoes all the time, keeps no deletion from its end, and
// leaves no right behind.
func TestStandingInEnds(t *testing.T) {
	tests := map[string]struct {
		reason string
		undone bool
		want   string
	}{
		"refused": {"", false, `False RemovalFailed: The syncer is gone, and its finalizer "` + workloadv1alpha1.SyncerFinalizer(testKey()) + `" cannot be taken off the objects in Namespace "shop": finding out about configmaps: configmaps is forbidden: `},
		"undone":  {"", true, "False Removing: Waiting for kcp to admit the service in the place of the syncer"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.delete()
			w.pass()
			w.clock.Step(threshold)
			w.standIn(1000)
			pass := func() {
				if tc.undone {
					if err := agent.Dismiss(t.Context(), w.kcp.Client, testName, testKey()); err != nil {
						t.Fatal(err)
					}
				}
				w.pass()
			}
			pass()
			w.clock.Step(issuing + time.Second)
			pass()
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, tc.want) || !w.admitted() {
				t.Errorf("%s\nDeployed = %s, want %s; admitted = %t", tc.reason, got, tc.want, w.admitted())
			}
			w.clock.SetTime(w.target().DeletionTimestamp.Add(deadline + completionTime))
			for range 5 {
				if !w.gone() {
					pass()
				}
			}
			said := strings.Join(w.events.events, "\n")
			if want := `Deletion step abandoned after 15m0s. May be left behind: finalizer "` + workloadv1alpha1.SyncerFinalizer(testKey()) + `" on the objects in Namespace shop of the workspace. `; !strings.Contains(said, want) {
				t.Errorf("said %s, want %s", said, want)
			}
			if !w.gone() || w.granted("shop") || w.admitted() {
				t.Errorf("gone = %t, granted = %t, admitted = %t", w.gone(), w.granted("shop"), w.admitted())
			}
		})
	}
}

// admitted tells whether anybody beside the syncer is let into the workspace.
func (w *world) admitted() bool {
	w.t.Helper()
	return slices.Contains(w.kcp.names(w.t), fmt.Sprintf("ClusterRoleBinding %q", testNamespace()+":access"))
}
