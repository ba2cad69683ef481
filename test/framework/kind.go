package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	name := e.id()
	clusters, err := run(ctx, "kind", "get", "clusters", "--quiet")
	if err != nil {
		return fmt.Errorf("%w; does Docker run?", err)
	}
	if !hasLine(clusters, name) {
		done := p.During("creating the kind cluster %s", name)
		// Its kubeconfig goes to a file of ours, and not into the user's own.
		_, err := run(ctx, "kind", "create", "cluster", "--name", name, "--wait", "3m", "--kubeconfig", os.DevNull)
		done()
		if err != nil {
			return err
		}
	}
	kubeconfig, err := run(ctx, "kind", "get", "kubeconfig", "--name", name)
	if err != nil {
		return err
	}
	file := e.path("kind.kubeconfig")
	if err := writeFile(file, []byte(kubeconfig), 0o600); err != nil {
		return err
	}
	o.PhysicalKubeconfig = file
	if o.KCPAddress == "" && e.state.KCP.Port == 0 {
		const gateways = `{{range .IPAM.Config}}{{.Gateway}}{{"\n"}}{{end}}`
		found, err := run(ctx, "docker", "network", "inspect", "kind", "--format", gateways)
		if err != nil {
			return err
		}
		if o.KCPAddress = firstIPv4(found); o.KCPAddress == "" {
			return fmt.Errorf(`docker's network "kind" has no IPv4 gateway in %q: say with KCP_ADDRESS= where its containers reach this machine`, found)
		}
	}
	e.state.Kind = name
	return nil
}

// deleteKind deletes the kind cluster, if Up created one.
func (e *Environment) deleteKind(ctx context.Context) error {
	if e.state.Kind == "" {
		return nil
	}
	_, err := run(ctx, "kind", "delete", "cluster", "--name", e.state.Kind, "--kubeconfig", os.DevNull)
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
