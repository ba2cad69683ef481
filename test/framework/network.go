package framework

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// network is the address plan, all of it below one 10.N.0.0/16:
//
//	10.N.0.0/24       the bridge: .1 the host, .11 … the clusters, .254 the black hole
//	10.N.(16+i).0/24  pods of cluster i
//	10.N.(128+i).0/24 services of cluster i
type network struct {
	N int `json:"n,omitempty"`
}

// maxClusters is what the address plan holds; the machine gives up earlier.
const maxClusters = 99

func (n network) address(third, fourth int) string {
	return fmt.Sprintf("10.%d.%d.%d", n.N, third, fourth)
}

func (n network) host() string             { return n.address(0, 1) }
func (n network) node(i int) string        { return n.address(0, 10+i) }
func (n network) blackHole() string        { return n.address(0, 254) }
func (n network) podCIDR(i int) string     { return n.address(16+i, 0) + "/24" }
func (n network) serviceCIDR(i int) string { return n.address(128+i, 0) + "/24" }
func (n network) serviceIP(i int) string   { return n.address(128+i, 1) }
func (n network) dnsIP(i int) string       { return n.address(128+i, 10) }

func (n network) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n.N), 0, 0}), 16)
}

// Locally administered addresses. The bridge has one of its own because it would otherwise take that of its first port,
// and a change makes the kernel forget even permanent neighbours. The other belongs to nobody.
const (
	bridgeMAC    = "02:00:00:00:00:01"
	blackHoleMAC = "02:00:00:00:00:fe"
)

// chooseNetwork finds a 10.N.0.0/16 that no interface and no route of the machine overlaps, the default route aside.
func chooseNetwork(ctx context.Context) (network, error) {
	var used []netip.Prefix
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return network{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			used = append(used, p.Masked())
		}
	}
	routes, err := run(ctx, "ip", "-4", "route", "show", "table", "all")
	if err != nil {
		return network{}, err
	}
	return firstFree(append(used, parseRoutes(routes)...))
}

func firstFree(used []netip.Prefix) (network, error) {
	const first, last = 213, 249
	for n := first; n <= last; n++ {
		candidate := network{N: n}
		if !slices.ContainsFunc(used, candidate.prefix().Overlaps) {
			return candidate, nil
		}
	}
	return network{}, fmt.Errorf("no free network among 10.%d.0.0/16 … 10.%d.0.0/16", first, last)
}

// parseRoutes picks the destinations from `ip route`; "default" and the types of routes are no prefixes and fall out.
func parseRoutes(routes string) []netip.Prefix {
	var found []netip.Prefix
	for line := range strings.Lines(routes) {
		for _, word := range strings.Fields(line)[:min(2, len(strings.Fields(line)))] {
			if p, err := netip.ParsePrefix(word); err == nil {
				found = append(found, p)
			} else if a, err := netip.ParseAddr(word); err == nil {
				found = append(found, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return found
}

// ensureBridge makes the bridge that carries the environment's addresses, if it is not there.
func (e *Environment) ensureBridge(ctx context.Context) error {
	bridge, net := e.id(), e.state.Network
	if _, err := os.Stat("/sys/class/net/" + bridge); err != nil {
		if _, err := run(ctx, "ip", "link", "add", bridge, "address", bridgeMAC, "type", "bridge"); err != nil {
			return err
		}
	}
	return runAll(ctx,
		[]string{"ip", "addr", "replace", net.host() + "/24", "dev", bridge},
		[]string{"ip", "link", "set", bridge, "up"},
		// A neighbour that is known and never answers: connections to it hang. An address that is merely unused would
		// fail with EHOSTUNREACH after three seconds.
		[]string{"ip", "neigh", "replace", net.blackHole(), "lladdr", blackHoleMAC, "nud", "permanent", "dev", bridge},
	)
}

func (e *Environment) deleteBridge(ctx context.Context) error {
	if _, err := os.Stat("/sys/class/net/" + e.id()); err != nil {
		return nil
	}
	_, err := run(ctx, "ip", "link", "delete", e.id())
	return err
}

// netns is the file that holds a cluster's network namespace. It is not in /run/netns, where `ip netns` keeps its own,
// because that would leave a mount behind.
func (e *Environment) netns(c clusterPlan) string { return e.path("clusters", c.Name, "netns") }

// ensureNetns makes the network namespace of a cluster and wires it to the bridge.
func (e *Environment) ensureNetns(ctx context.Context, c clusterPlan) error {
	file, bridge, net := e.netns(c), e.id(), e.state.Network
	outer := fmt.Sprintf("%s-%d", bridge, c.Index)
	if !isMounted(file) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		if _, err := run(ctx, "unshare", "--net="+file, "true"); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/sys/class/net/" + outer); err != nil {
		if _, err := run(ctx, "ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", file); err != nil {
			return err
		}
	}
	in := []string{"nsenter", "--net=" + file, "--"}
	inside := func(args ...string) []string { return append(append([]string{}, in...), args...) }
	return runAll(ctx,
		[]string{"ip", "link", "set", outer, "master", bridge, "up"},
		inside("ip", "link", "set", "lo", "up"),
		inside("ip", "addr", "replace", net.node(c.Index)+"/24", "dev", "eth0"),
		inside("ip", "link", "set", "eth0", "up"),
		// Only the environment's own addresses are routed, so pods get nowhere else.
		inside("ip", "route", "replace", net.prefix().String(), "via", net.host()),
		inside("ip", "neigh", "replace", net.blackHole(), "lladdr", blackHoleMAC, "nud", "permanent", "dev", "eth0"),
		// Both settings belong to the namespace, not to the machine. Bridged packets must pass iptables so that a pod
		// reaches a pod beside it through a service.
		inside("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
		inside("sh", "-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 1 > $f"),
		// The host may reach pods by their own addresses.
		[]string{"ip", "route", "replace", net.podCIDR(c.Index), "via", net.node(c.Index), "dev", bridge},
	)
}

// run returns what a command prints; what it complains about is in the error.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			stderr = exit.Stderr
		}
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(stderr)))
	}
	return string(out), nil
}

func runAll(ctx context.Context, commands ...[]string) error {
	for _, c := range commands {
		if _, err := run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}
