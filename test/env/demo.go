package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

const (
	demoTarget  = "demo"
	demoTimeout = 5 * time.Minute
)

// demoRegions are the cells of the demo's SyncTargets, one for each cluster that is used.
var demoRegions = []string{"local", "remote"}

// demoTargets are the SyncTargets that the demo registers: demo for cluster-1 and, if CLUSTERS asks for a second cluster, demo-2.
func demoTargets(env *framework.Environment) []string {
	targets := []string{demoTarget}
	if o, err := optionsFromEnv(); err == nil && o.Clusters > 1 && len(env.Clusters()) > 1 {
		targets = append(targets, demoTarget+"-2")
	}
	return targets
}

// demo brings everything up and registers cluster-1 from a tenant's workspace, as its user would.
func demo(ctx context.Context, env *framework.Environment) error {
	begin := time.Now()
	if err := printPlan(ctx, env); err != nil {
		return err
	}
	if err := up(ctx, env); err != nil {
		return err
	}
	const workspace = "root:" + framework.DemoWorkspace
	fmt.Println("\nA tenant's workspace, root:demo: binding, Secret, SyncTarget")
	if err := env.EnsureWorkspace(ctx, framework.DemoWorkspace); err != nil {
		return err
	}
	if _, err := env.Kubectl(ctx, workspace, "", "apply", "-k", env.Repo+"/config/samples/binding"); err != nil {
		return err
	}
	if _, err := env.Kubectl(ctx, workspace, "", "wait", "apibinding/workload.kcp.io", "--for=condition=Ready", "--timeout=60s"); err != nil {
		return err
	}
	for i, target := range demoTargets(env) {
		if err := register(ctx, env, workspace, target, env.Clusters()[i], demoRegions[i]); err != nil {
			return err
		}
	}
	if err := runWorkload(ctx, env, workspace); err != nil {
		return err
	}
	fmt.Printf("\nThe demo took %s.\n", time.Since(begin).Round(time.Second))
	return tryNext(ctx, env, workspace)
}

// register registers a cluster and waits until its SyncTarget is Ready.
func register(ctx context.Context, env *framework.Environment, workspace, target, cluster, region string) error {
	secret, err := env.Kubectl(ctx, workspace, "", "create", "secret", "generic", target, "-n=default", "--dry-run=client", "-o=yaml",
		"--from-file=kubeconfig="+env.ClusterKubeconfig(cluster))
	if err != nil {
		return err
	}
	secret = strings.Replace(secret, "metadata:\n", "metadata:\n  labels: {workload.kcp.io/visible: \"true\"}\n", 1)
	if _, err := env.Kubectl(ctx, workspace, secret, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	start := time.Now()
	if _, err := env.Kubectl(ctx, workspace, fmt.Sprintf(demoManifest, target, cluster, region, target), "apply", "-f", "-"); err != nil {
		return err
	}
	return follow(ctx, env, workspace, target, start)
}

// printPlan says what the demo will do and about how long that takes.
func printPlan(ctx context.Context, env *framework.Environment) error {
	o, err := optionsFromEnv()
	if err != nil {
		return err
	}
	plan, err := env.Plan(ctx, o)
	if err != nil {
		return err
	}
	fmt.Println("This starts kcp, a Kubernetes cluster and the controller, and registers the cluster as a SyncTarget:")
	for _, line := range append(plan,
		"kcp and the cluster start: about 1 min",
		"controller and syncer are built and started: a few seconds, 2 min for the first time",
		"the SyncTarget becomes Ready and a Deployment runs: about 15 s",
	) {
		fmt.Println("  - " + line)
	}
	return nil
}

// runWorkload binds the workload APIs, places a Namespace on the SyncTargets and has a Deployment run in the clusters.
func runWorkload(ctx context.Context, env *framework.Environment, workspace string) error {
	fmt.Println("\nA workload: binding of the compute APIs, Namespace, Placement, Deployment")
	start := time.Now()
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"apply", "-k", env.Repo + "/config/samples/compute"}},
		{"", []string{"wait", "apibinding/compute", "--for=condition=Ready", "--timeout=60s"}},
		{fmt.Sprintf(demoPlacement, len(demoTargets(env))), []string{"apply", "-f", "-"}},
		{demoWorkload(env), []string{"apply", "-f", "-"}},
		{"", []string{"-n=shop", "wait", "deployment/web", "--for=condition=Available", "--timeout=120s"}},
		{"", []string{"wait", "placement/shop", "--for=condition=Available", "--timeout=120s"}},
	} {
		if _, err := env.Kubectl(ctx, workspace, step.stdin, step.args...); err != nil {
			return err
		}
	}
	fmt.Printf("%5.1fs  Placement shop is Available\n", time.Since(start).Seconds())
	for _, args := range [][]string{{"get", "placements"}, {"get", "assignments", "-A"}, {"-n=shop", "get", "deployments"}} {
		table, err := env.Kubectl(ctx, workspace, "", args...)
		if err != nil {
			return err
		}
		fmt.Print(table)
	}
	return nil
}

// demoWorkload serves HTTP. A cluster of the user's pulls the image that Kubernetes' own tests use.
func demoWorkload(env *framework.Environment) string {
	if !env.Imports() {
		return fmt.Sprintf(demoManifests, "registry.k8s.io/e2e-test-images/agnhost:2.53", "[netexec, --http-port=8080]")
	}
	return fmt.Sprintf(demoManifests, framework.WebImage, "[]")
}

const demoPlacement = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {app: shop}}
---
apiVersion: workload.kcp.io/v1alpha1
kind: Placement
metadata: {name: shop}
spec:
  namespaceSelector: {matchLabels: {app: shop}}
  numberOfClusters: %d
  spreadConstraints: [{topologyKey: region}]
`

const demoManifests = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: %q, args: %s}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// tryNext shows the SyncTarget and prints commands to copy, for a machine without kubectl, too.
func tryNext(ctx context.Context, env *framework.Environment, workspace string) error {
	table, err := env.Kubectl(ctx, workspace, "", "get", "synctargets", "-o=wide")
	if err != nil {
		return err
	}
	key, err := env.Kubectl(ctx, workspace, "", "get", "synctarget", demoTarget, "-o=jsonpath={.status.key}")
	if err != nil {
		return err
	}
	down := "make down"
	if dir := os.Getenv("STATE_DIR"); dir != "" {
		down = "STATE_DIR=" + dir + " " + down
	}
	cluster := "kubectl --kubeconfig " + env.ClusterKubeconfig("cluster-1")
	fmt.Printf("\n%s\nTry next:\n", table)
	for _, line := range []string{
		"export PATH=" + env.Dir + "/bin:$PATH",
		"export KUBECONFIG=" + env.KCPKubeconfig(),
		"kubectl config use-context demo",
		"kubectl describe synctarget demo",
		"kubectl -n shop scale deployment web --replicas=3",
		cluster + " get pods -A",
		cluster + " -n " + workloadv1alpha1.SyncerNamespace(demoTarget, key) + " delete deployment syncer    # it comes back",
		"kubectl describe placement shop",
		"kubectl delete synctarget demo    # nothing is left on either side",
		down,
	} {
		fmt.Println("  " + line)
	}
	return nil
}

const demoManifest = `apiVersion: workload.kcp.io/v1alpha1
kind: SyncTarget
metadata: {name: %s}
spec:
  cluster: %s
  cells: {region: %s}
  kubeconfigSecretRef: {namespace: default, name: %s}
`

// follow prints each condition as it changes, until Ready is True.
func follow(ctx context.Context, env *framework.Environment, workspace, target string, start time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	said := map[string]string{}
	for {
		out, err := env.Kubectl(ctx, workspace, "", "get", "synctarget", target,
			`-o=jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}`)
		if err != nil && ctx.Err() == nil {
			return err
		}
		conditions := parseConditions(out)
		printChanges(conditions, said, start)
		if isTrue(conditions, "Ready") && isTrue(conditions, "Deployed") {
			fmt.Printf("%5.1fs  SyncTarget %s is Ready\n", time.Since(start).Seconds(), target)
			return nil
		}
		select {
		case <-ctx.Done():
			fmt.Fprintln(os.Stderr, "The controller's log:", env.LogPath(framework.DefaultService().Name))
			return errors.New("SyncTarget " + target + " is not Ready: " + said["Valid"] + "; " + said["Deployed"] + "; " + said["Ready"])
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// condition is what the demo reads of a condition of the SyncTarget.
type condition struct{ kind, status, reason, message string }

// parseConditions reads one condition a line, its fields separated by tabs.
func parseConditions(lines string) []condition {
	var conditions []condition
	for line := range strings.Lines(lines) {
		if fields := strings.SplitN(strings.TrimSpace(line), "\t", 4); len(fields) == 4 {
			conditions = append(conditions, condition{fields[0], fields[1], fields[2], fields[3]})
		}
	}
	return conditions
}

// printChanges prints the conditions that differ from what was said of them last, which it updates.
func printChanges(conditions []condition, said map[string]string, start time.Time) {
	for _, c := range conditions {
		if text := strings.Join([]string{c.status, c.reason, c.message}, " "); said[c.kind] != text {
			said[c.kind] = text
			fmt.Printf("%5.1fs  %-9s %-8s %-18s %s\n", time.Since(start).Seconds(), c.kind, c.status, c.reason, c.message)
		}
	}
}

func isTrue(conditions []condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c condition) bool { return c.kind == kind && c.status == "True" })
}
