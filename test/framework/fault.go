package framework

import (
	"context"
	"fmt"
	"syscall"
)

// BlackHole is an address to which connections hang, from the host as from nodes and pods.
func (e *Environment) BlackHole() string { return e.state.Network.blackHole() }

// Pause freezes a process: connections to it are accepted by the kernel and then hang.
func (e *Environment) Pause(name string) error { return e.signal(name, syscall.SIGSTOP) }

// Resume lets a paused process run on.
func (e *Environment) Resume(name string) error { return e.signal(name, syscall.SIGCONT) }

func (e *Environment) signal(name string, sig syscall.Signal) error {
	r, err := e.readRecord(name)
	if err != nil {
		return fmt.Errorf("process %q was never started: %w", name, err)
	}
	if !r.Identity.alive() {
		return fmt.Errorf("process %q does not run", name)
	}
	return r.Identity.signal(sig)
}

// Partition cuts a cluster's node off from everything outside of it: packets vanish both ways, so connections hang.
// Pods and API server still see each other. It holds until Heal.
func (e *Environment) Partition(ctx context.Context, cluster string) error {
	if err := e.Heal(ctx, cluster); err != nil { // never twice the same rule
		return err
	}
	for _, rule := range partitionRules {
		if err := e.iptables(ctx, cluster, "-I", rule); err != nil {
			return err
		}
	}
	return nil
}

// Heal ends a Partition; without one it does nothing.
func (e *Environment) Heal(ctx context.Context, cluster string) error {
	for _, rule := range partitionRules {
		for e.iptables(ctx, cluster, "-C", rule) == nil {
			if err := e.iptables(ctx, cluster, "-D", rule); err != nil {
				return err
			}
		}
	}
	return nil
}

// partitionRules drop what comes in from the bridge and what goes out to it; the rules lie in the cluster's namespace.
var partitionRules = [][]string{
	{"INPUT", "-i", "eth0", "-j", "DROP"},
	{"OUTPUT", "-o", "eth0", "-j", "DROP"},
	{"FORWARD", "-i", "eth0", "-j", "DROP"},
	{"FORWARD", "-o", "eth0", "-j", "DROP"},
}

func (e *Environment) iptables(ctx context.Context, cluster, action string, rule []string) error {
	file := e.path("clusters", cluster, "netns")
	_, err := run(ctx, "nsenter", append([]string{"--net=" + file, "--", "iptables", "-w", action}, rule...)...)
	return err
}
