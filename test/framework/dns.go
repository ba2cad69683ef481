package framework

import (
	"bytes"
	"context"
	_ "embed" // for dns.yaml
	"fmt"
	"text/template"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/framework/toolchain"
)

// dnsManifest is CoreDNS as kubeadm installs it, without what this network does not need: it forwards no queries, since
// pods reach nothing outside of the environment.
//
//go:embed dns.yaml
var dnsManifest string

// ensureDNS runs CoreDNS in a cluster, so that pods find Services by name, and waits until it serves.
func (e *Environment) ensureDNS(ctx context.Context, c clusterPlan, p *progress.Reporter) error {
	binary, err := c.programs.Path(ctx, toolchain.CoreDNS)
	if err != nil {
		return err
	}
	build, err := hashOf(binary)
	if err != nil {
		return err
	}
	image := "synctarget.local/coredns:" + build
	if err := e.ensureImage(ctx, c.Name, image, binary); err != nil {
		return err
	}
	manifest, err := renderDNS(image, e.state.Network.dnsIP(c.Index))
	if err != nil {
		return err
	}
	if err := e.linkKubectl(ctx, c.programs); err != nil {
		return err
	}
	if _, err := e.ClusterKubectl(ctx, c.Name, manifest, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	if _, err := e.ClusterKubectl(ctx, c.Name, "", "-n=kube-system", "rollout", "status", "deployment/coredns", "--timeout=100s"); err != nil {
		return fmt.Errorf("%s: waiting for DNS: %w", c.Name, err)
	}
	p.Say("%s: CoreDNS serves at %s", c.Name, e.state.Network.dnsIP(c.Index))
	return nil
}

func renderDNS(image, address string) (string, error) {
	var out bytes.Buffer
	parsed, err := template.New("dns").Parse(dnsManifest)
	if err != nil {
		return "", err
	}
	err = parsed.Execute(&out, map[string]string{"Image": image, "Address": address})
	return out.String(), err
}
