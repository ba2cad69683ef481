package framework

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBypassProxy(t *testing.T) {
	e := local(t)
	e.state.Network, e.state.KCP = network{N: 213}, kcpPlan{Address: "10.213.0.1", Port: 6443}
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("NO_PROXY", "example.com, localhost")
	require.NoError(t, e.bypassProxy())
	require.Equal(t, "example.com, localhost", os.Getenv("NO_PROXY"), "without a proxy nothing changes")

	t.Setenv("https_proxy", "http://proxy:3128")
	for range 2 { // again is no more
		require.NoError(t, e.bypassProxy())
		const want = "example.com,localhost,127.0.0.1,.svc,.cluster.local,10.213.0.1,10.213.0.0/16"
		require.Equal(t, want, os.Getenv("NO_PROXY"))
		require.Equal(t, want, os.Getenv("no_proxy"))
	}
}
