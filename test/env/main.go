// Env starts and stops the local environment: kcp and real Kubernetes clusters, see test/framework.
//
//	go run ./test/env demo|up|down|status|packages|images
//
// Options come from environment variables:
//
//	CLUSTERS             how many clusters, default 1
//	TOOLS                auto, download or build: where kcp and Kubernetes come from
//	KCP_BINARY           a kcp to use
//	PHYSICAL=kind        a cluster by kind in place of one of the environment's own
//	PHYSICAL_KUBECONFIG  an existing cluster in place of one of the environment's own; with it
//	SYNCER_IMAGE           the syncer's image, which that cluster pulls, and
//	KCP_ADDRESS            where its pods reach kcp
//	STATE_DIR            default .local in the repository
//	SYNCTARGET_CACHE     where kcp's and Kubernetes' programs are kept
//	IMAGE_REGISTRY, VERSION, ARCH  of `images`, see images.go
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/synctarget/synctarget/test/framework"
	"github.com/synctarget/synctarget/test/framework/toolchain"
)

// command is one word of the command line.
type command struct {
	help string
	run  func(context.Context, *framework.Environment) error
}

func commands() map[string]command {
	return map[string]command{
		"demo":     {"up, and then bring a SyncTarget to Ready", demo},
		"up":       {"start what does not run yet", up},
		"down":     {"stop everything and remove all but the logs", down},
		"status":   {"say what runs", status},
		"packages": {"install the Debian packages that are missing", packages},
		"images":   {"build the images of a release and push them", images},
	}
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var c command
	if len(args) == 1 {
		c = commands()[args[0]]
	}
	if c.run == nil {
		text := "usage: go run ./test/env <command>"
		for _, name := range []string{"demo", "up", "down", "status", "packages", "images"} {
			text += fmt.Sprintf("\n  %-9s %s", name, commands()[name].help)
		}
		return fmt.Errorf("%s", text)
	}
	env, err := framework.Open(os.Getenv("STATE_DIR"))
	if err != nil {
		return err
	}
	return c.run(ctx, env)
}

func up(ctx context.Context, env *framework.Environment) error {
	o, err := optionsFromEnv()
	if err != nil {
		return err
	}
	if err := env.Up(ctx, o, os.Stdout); err != nil {
		return err
	}
	if err := env.Install(ctx, framework.DefaultService(), os.Stdout); err != nil {
		return err
	}
	// Below bin, beside kubectl, which finds its plugins in the PATH.
	if _, err := env.BuildProgram(ctx, "./cmd/kubectl-synctarget"); err != nil {
		return err
	}
	return installCompute(ctx, env)
}

func down(ctx context.Context, env *framework.Environment) error { return env.Down(ctx, os.Stdout) }

func status(ctx context.Context, env *framework.Environment) error {
	all, err := env.Status(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Println("nothing runs; start it with: go run ./test/env up")
	}
	for _, s := range all {
		fmt.Printf("%-30s %-10s pid %-8d %s\n", s.Name, s.State, s.PID, s.Log)
	}
	return nil
}

func packages(ctx context.Context, _ *framework.Environment) error {
	if os.Geteuid() != 0 {
		return nil // whoever is not root has to see to it
	}
	return framework.EnsurePackages(ctx, os.Stdout)
}

func optionsFromEnv() (framework.Options, error) {
	o := framework.Options{
		KCPBinary:          os.Getenv("KCP_BINARY"),
		PhysicalKubeconfig: os.Getenv("PHYSICAL_KUBECONFIG"),
		KCPAddress:         os.Getenv("KCP_ADDRESS"),
		SyncerImage:        os.Getenv("SYNCER_IMAGE"),
	}
	var err error
	if o.Tools, err = toolchain.ParseMode(os.Getenv("TOOLS")); err != nil {
		return o, err
	}
	switch physical := os.Getenv("PHYSICAL"); physical {
	case "":
	case "kind":
		o.Kind = true
	default:
		return o, fmt.Errorf("PHYSICAL=%q is not kind, the only kind of cluster that is made besides the environment's own", physical)
	}
	if s := os.Getenv("CLUSTERS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return o, fmt.Errorf("CLUSTERS=%q is not a number of clusters", s)
		}
		o.Clusters = n
	}
	return o, nil
}
