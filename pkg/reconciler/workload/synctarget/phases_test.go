package synctarget

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestPipeline(t *testing.T) {
	const (
		valid, namespaces, deployed, health = workloadv1alpha1.ConditionValid, "", workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady
	)
	wrongSpec := blocked(workloadv1alpha1.ReasonValidationFailed, "cluster reference is required")
	wrongSecret := blocked(workloadv1alpha1.ReasonValidationFailed, `Secret "default/edge-1" is not found`)
	good := map[string]verdict{
		valid:    passed(workloadv1alpha1.ReasonValid, "SyncTarget validation passed"),
		deployed: passed(workloadv1alpha1.ReasonDeployed, "Syncer deployment successful"),
		health:   passed(workloadv1alpha1.ReasonReady, "Syncer is healthy and ready"),
	}
	errValid, errNamespaces, errDeploy, errHealth := errors.New("valid"), errors.New("namespaces"), errors.New("deploy"), errors.New("health")
	tests := map[string]struct {
		reason string
		found  map[string]verdict
		errs   map[string]error
		want   map[string]string
		ran    []string
		err    error
		// measured: deploy is, although it did not run.
		measured bool
	}{
		"all well": {
			"", nil, nil,
			map[string]string{
				valid: "True Valid: SyncTarget validation passed", deployed: "True Deployed: Syncer deployment successful", health: "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, deployed, health}, nil, false,
		},
		"wrong spec": {
			"Nothing can be said of a target that cannot be understood.", map[string]verdict{valid: wrongSpec}, nil,
			map[string]string{
				valid:    "False ValidationFailed: cluster reference is required",
				deployed: "Unknown ValidationFailed: Waiting for the condition Valid: cluster reference is required",
				health:   "False ValidationFailed: cluster reference is required",
			},
			[]string{valid, namespaces}, nil, false,
		},
		"wrong Secret": {
			"The syncer lives without it.", map[string]verdict{valid: wrongSecret}, nil,
			map[string]string{
				valid:    `False ValidationFailed: Secret "default/edge-1" is not found`,
				deployed: `Unknown ValidationFailed: Waiting for the condition Valid: Secret "default/edge-1" is not found`,
				health:   "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, health}, nil, false,
		},
		"kcp does not answer validate": {
			"Nothing is known of Valid, and the syncer lives.", nil, map[string]error{valid: errValid},
			map[string]string{
				valid: "False ValidationFailed: kcp does not answer just now; it is asked again", deployed: "Unknown ValidationFailed: Waiting for the condition Valid: kcp does not answer just now; it is asked again", health: "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, health}, errValid, false,
		},
		"kcp does not answer deploy": {
			"", nil, map[string]error{deployed: errDeploy},
			map[string]string{
				valid: "True Valid: SyncTarget validation passed", deployed: "False DeploymentFailed: kcp does not answer just now; it is asked again", health: "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, deployed, health}, errDeploy, false,
		},
		"kcp does not answer for the Namespaces": {
			"Nothing is installed that does not follow from them.", nil, map[string]error{namespaces: errNamespaces},
			map[string]string{
				valid: "True Valid: SyncTarget validation passed", deployed: "False DeploymentFailed: kcp does not answer just now; it is asked again", health: "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, health}, errNamespaces, true,
		},
		"wrong Secret, and kcp does not answer for the Namespaces": {
			"It is retried, and the Secret is what the user has to mend.", map[string]verdict{valid: wrongSecret}, map[string]error{namespaces: errNamespaces},
			map[string]string{
				valid:    `False ValidationFailed: Secret "default/edge-1" is not found`,
				deployed: `Unknown ValidationFailed: Waiting for the condition Valid: Secret "default/edge-1" is not found`,
				health:   "True Ready: Syncer is healthy and ready",
			},
			[]string{valid, namespaces, health}, errNamespaces, false,
		},
		"two errors": {
			"The first is retried; the other will be met again.", nil, map[string]error{deployed: errDeploy, health: errHealth},
			map[string]string{
				valid: "True Valid: SyncTarget validation passed", deployed: "False DeploymentFailed: kcp does not answer just now; it is asked again", health: "Unknown HealthCheckFailed: health",
			},
			[]string{valid, namespaces, deployed, health}, errDeploy, false,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var ran []string
			r, err := New(Config{ExportName: "e", SyncerImage: "i", KcpURL: "u", Kcp: &rest.Config{}, Metrics: newTestMetrics()})
			if err != nil {
				t.Fatal(err)
			}
			phases := r.phases()
			for i := range phases {
				condition := phases[i].condition
				phases[i].run = func(_ context.Context, _ *scope, f *findings) (verdict, error) {
					ran = append(ran, condition)
					f.facts.specInvalid = f.facts.specInvalid || tc.found[condition] == wrongSpec
					if v, ok := tc.found[condition]; ok {
						return v, tc.errs[condition]
					}
					return good[condition], tc.errs[condition]
				}
			}
			var observed []string
			p := pipeline{phases: phases, now: time.Now, observe: func(condition string, _ time.Duration, _ verdict, _ error) { observed = append(observed, condition) }}
			verdicts, _, err := p.run(t.Context(), &scope{target: newTarget()})
			got := map[string]string{}
			for condition, v := range verdicts {
				got[condition] = words(v)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nrun(): -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.ran, ran); diff != "" {
				t.Errorf("%s\nphases that ran: -want +got\n%s", tc.reason, diff)
			}
			if slices.Contains(observed, namespaces) || slices.Contains(observed, deployed) != (slices.Contains(ran, deployed) || tc.measured) {
				t.Errorf("%s\nphases that were measured: %q", tc.reason, observed)
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("%s\nerror = %v, want %v", tc.reason, err, tc.err)
			}
		})
	}
}

func TestSoonest(t *testing.T) {
	tests := map[string]struct {
		verdicts map[string]verdict
		want     time.Duration
	}{
		"none":     {nil, 0},
		"never":    {map[string]verdict{"a": {}, "b": {}}, 0},
		"one":      {map[string]verdict{"a": {}, "b": verdict{}.after(time.Minute)}, time.Minute},
		"the next": {map[string]verdict{"a": verdict{}.after(time.Hour), "b": verdict{}.after(time.Minute), "c": {}}, time.Minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := nextPass(tc.verdicts); got != tc.want {
				t.Errorf("nextPass() = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestBlockedTakesMessagesLiterally(t *testing.T) {
	// A verdict built from another's message must not read its percent signs.
	v, held := unlessSpecIsWrong(verdict{message: "100%s"}, findings{facts: facts{specInvalid: true}})
	if !held || v.message != "100%s" {
		t.Errorf("unlessSpecIsWrong() = %+v, %t", v, held)
	}
}
