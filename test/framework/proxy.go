package framework

import (
	"os"
	"slices"
	"strings"
)

// bypassProxy keeps this process, and with it every process and kubectl that it starts, from asking the machine's proxy
// for addresses that only this machine has. The controller hands the same list on to its syncers. It does nothing
// where no proxy is set, or before the addresses are chosen: net/http looks at these variables once, so Open calls it.
func (e *Environment) bypassProxy() error {
	if e.state.KCP.Port == 0 || !hasProxy() {
		return nil
	}
	ours := []string{"127.0.0.1", "localhost", ".svc", ".cluster.local", e.state.KCP.Address}
	if e.state.Network != (network{}) {
		ours = append(ours, e.state.Network.prefix().String())
	}
	list := noProxy(os.Getenv("NO_PROXY")+","+os.Getenv("no_proxy"), ours)
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if err := os.Setenv(name, list); err != nil {
			return err
		}
	}
	return nil
}

func hasProxy() bool {
	return slices.ContainsFunc([]string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"},
		func(name string) bool { return os.Getenv(name) != "" })
}

// noProxy adds hosts to a NO_PROXY list, each once.
func noProxy(list string, hosts []string) string {
	var all []string
	for _, host := range append(strings.Split(list, ","), hosts...) {
		if host = strings.TrimSpace(host); host != "" && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return strings.Join(all, ",")
}
