package framework

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// errNoKind says what to do where kind is asked for and is not there.
var errNoKind = errors.New("PHYSICAL=kind needs kind and Docker: install them (https://kind.sigs.k8s.io), or run this as root without PHYSICAL, or give a cluster with PHYSICAL_KUBECONFIG=<file>")

// ensureKind creates a kind cluster, unless it is there, and gives its kubeconfig to the options as the physical cluster.
// kcp listens where the nodes reach this machine: at the gateway of Docker's network "kind".
func (e *Environment) ensureKind(ctx context.Context, o *Options, p *progress.Reporter) error {
	for _, program := range []string{"kind", "docker"} {
		if _, err := exec.LookPath(program); err != nil {
			return errNoKind
		}
	}
	name, file := e.id(), e.kindKubeconfig()
	exists, err := kindHas(ctx, name)
	if err != nil {
		return err
	}
	e.state.Kind = name // Down deletes it, whatever becomes of this Up
	if err := e.save(); err != nil {
		return err
	}
	if !exists {
		if err := e.createKind(ctx, name, p); err != nil {
			return err
		}
	}
	kubeconfig, err := run(ctx, "kind", "get", "kubeconfig", "--name", name)
	if err != nil {
		return err
	}
	if err := writeFile(file, []byte(kubeconfig), 0o600); err != nil {
		return err
	}
	o.PhysicalKubeconfig = file
	if o.KCPAddress == "" && e.state.KCP.Port == 0 {
		o.KCPAddress, err = kindGateway(ctx)
	}
	return err
}

// createKind creates a kind cluster and loads WebImage into it.
func (e *Environment) createKind(ctx context.Context, name string, p *progress.Reporter) error {
	done := p.During("creating the kind cluster %s", name)
	_, err := run(ctx, "kind", "create", "cluster", "--name", name, "--wait", "3m", "--kubeconfig", e.kindKubeconfig())
	done()
	if err != nil {
		return err
	}
	web, err := e.BuildProgram(ctx, "./test/framework/web")
	if err != nil {
		return err
	}
	return e.loadIntoKind(ctx, WebImage, web)
}

// kindGateway is the IPv4 address at which kind's containers reach this machine.
func kindGateway(ctx context.Context) (string, error) {
	const gateways = `{{range .IPAM.Config}}{{.Gateway}}{{"\n"}}{{end}}`
	found, err := run(ctx, "docker", "network", "inspect", "kind", "--format", gateways)
	if err != nil {
		return "", err
	}
	address := firstIPv4(found)
	if address == "" {
		return "", fmt.Errorf(`docker's network "kind" has no IPv4 gateway in %q: say with KCP_ADDRESS= where its containers reach this machine`, found)
	}
	return address, nil
}

// kindKubeconfig is given to each call of kind, which would otherwise change the user's own kubeconfig.
func (e *Environment) kindKubeconfig() string { return e.path("kind.kubeconfig") }

func kindHas(ctx context.Context, name string) (bool, error) {
	clusters, err := run(ctx, "kind", "get", "clusters", "--quiet")
	if err != nil {
		return false, fmt.Errorf("%w; does Docker run?", err)
	}
	return hasLine(clusters, name), nil
}

// loadIntoKind packs a binary into an image and loads it into the nodes.
func (e *Environment) loadIntoKind(ctx context.Context, image, binary string) error {
	archive, err := e.BuildImage(ctx, image, binary)
	if err != nil {
		return err
	}
	return e.Import(ctx, archive)
}

// deleteKind deletes the kind cluster, if Up created one and it is still there.
func (e *Environment) deleteKind(ctx context.Context) error {
	if e.state.Kind == "" {
		return nil
	}
	exists, err := kindHas(ctx, e.state.Kind)
	if err != nil || !exists {
		return err
	}
	_, err = run(ctx, "kind", "delete", "cluster", "--name", e.state.Kind, "--kubeconfig", e.kindKubeconfig())
	return err
}

func hasLine(text, want string) bool {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == want {
			return true
		}
	}
	return false
}

// firstIPv4 returns the first line that looks like an IPv4 address, or nothing.
func firstIPv4(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.Count(line, ".") == 3 {
			return line
		}
	}
	return ""
}
