package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

const (
	demoTarget = "demo"
	// interruptTime is how long the plugin may take to end after an interrupt.
	interruptTime = 10 * time.Second
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
	fmt.Println("\nA tenant's workspace, " + workspace + ": the kubectl plugin registers the cluster")
	if err := env.EnsureWorkspace(ctx, framework.DemoWorkspace); err != nil {
		return err
	}
	for i, target := range demoTargets(env) {
		if err := register(ctx, env, target, env.Clusters()[i], demoRegions[i]); err != nil {
			return err
		}
	}
	if err := runWorkload(ctx, env, workspace); err != nil {
		return err
	}
	if err := showStatus(ctx, env, workspace); err != nil {
		return err
	}
	fmt.Printf("\nThe demo took %s.\n", time.Since(begin).Round(time.Second))
	return tryNext(ctx, env, workspace)
}

// register registers a cluster by the plugin, which waits until the SyncTarget is Ready.
func register(ctx context.Context, env *framework.Environment, target, cluster, region string) error {
	args := []string{"join", target, "--cell=region=" + region, "--cluster=" + cluster, "--from-kubeconfig=" + env.ClusterKubeconfig(cluster), "--yes"}
	server, err := env.LoopbackServer(cluster)
	if err != nil {
		return err
	}
	if server != "" {
		// The plugin has to be told that the controller runs on this machine, too.
		args = append(args, "--server-address="+server)
	}
	start := time.Now()
	if err := runPlugin(ctx, env, args...); err != nil {
		fmt.Fprintln(os.Stderr, "The controller's log:", env.LogPath(framework.DefaultService().Name))
		return err
	}
	fmt.Printf("%5.1fs  %s is registered\n", time.Since(start).Seconds(), cluster)
	return nil
}

// showStatus shows the SyncTargets by the plugin. It waits for the conditions first, because the plugin fails if one of them is not
// True, and Deployed is not for a moment after a Namespace was assigned.
func showStatus(ctx context.Context, env *framework.Environment, workspace string) error {
	for _, condition := range []string{"Deployed", "Ready"} {
		if _, err := env.Kubectl(ctx, workspace, "", "wait", "synctargets", "--all", "--for=condition="+condition, "--timeout=60s"); err != nil {
			return err
		}
	}
	fmt.Println()
	return runPlugin(ctx, env, "status")
}

// runPlugin prints a command of the plugin as a user would type it after tryNext's exports, and runs it.
func runPlugin(ctx context.Context, env *framework.Environment, args ...string) error {
	args = append([]string{"synctarget"}, append(args, "--context="+framework.DemoWorkspace)...)
	fmt.Println("$ kubectl " + strings.Join(args, " "))
	bin := filepath.Join(env.Dir, "bin")
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+env.KCPKubeconfig())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// An interrupt, unlike a kill, lets the plugin remove its spinner.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptTime
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl synctarget %s: %w", args[1], err)
	}
	return nil
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

// tryNext prints commands to copy, for a machine without kubectl, too.
func tryNext(ctx context.Context, env *framework.Environment, workspace string) error {
	key, err := env.Kubectl(ctx, workspace, "", "get", "synctarget", demoTarget, "-o=jsonpath={.status.key}")
	if err != nil {
		return err
	}
	down := "make down"
	if dir := os.Getenv("STATE_DIR"); dir != "" {
		down = "STATE_DIR=" + dir + " " + down
	}
	cluster := "kubectl --kubeconfig " + env.ClusterKubeconfig("cluster-1")
	fmt.Print("\nTry next:\n")
	for _, line := range []string{
		"export PATH=" + env.Dir + "/bin:$PATH",
		"export KUBECONFIG=" + env.KCPKubeconfig(),
		"kubectl config use-context demo",
		"kubectl describe synctarget demo",
		"kubectl synctarget status demo",
		"kubectl synctarget explain deployment/web -n shop",
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
