package framework

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFirstFree(t *testing.T) {
	tests := map[string]struct {
		reason string
		used   []string
		want   int
	}{
		"nothing used":     {"the first will do", nil, 213},
		"inside":           {"a part of it is taken", []string{"10.213.7.0/24"}, 214},
		"around":           {"a neighbour that reaches over it", []string{"10.212.0.0/14"}, 216},
		"unrelated":        {"others do not matter", []string{"192.168.0.0/16", "fd00::/8"}, 213},
		"a single address": {"as a route to one host", []string{"10.213.0.1/32", "10.214.0.0/16"}, 215},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var used []netip.Prefix
			for _, u := range tc.used {
				used = append(used, netip.MustParsePrefix(u))
			}
			got, err := firstFree(used)
			require.NoError(t, err)
			require.Equal(t, tc.want, got.N, tc.reason)
		})
	}
	_, err := firstFree([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	require.ErrorContains(t, err, "no free network")
}

func TestParseRoutes(t *testing.T) {
	const routes = `default via 192.0.2.1 dev eth0
10.213.17.0/24 via 10.213.0.11 dev st-1
local 127.0.0.0/8 dev lo table local proto kernel
local 192.0.2.2 dev eth0 table local

`
	var got []string
	for _, p := range parseRoutes(routes) {
		got = append(got, p.String())
	}
	require.Equal(t, []string{"10.213.17.0/24", "127.0.0.0/8", "192.0.2.2/32"}, got)
}

func TestFreePorts(t *testing.T) {
	first, err := freePorts(24000, 2, "127.0.0.1")
	require.NoError(t, err)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(first[0])).String())
	require.NoError(t, err)
	defer taken.Close()

	second, err := freePorts(24000, 2, "127.0.0.1")
	require.NoError(t, err)
	require.NotContains(t, second, first[0])

	_, err = freePorts(32767, 2, "127.0.0.1")
	require.Error(t, err, "not from the range of outgoing connections")
}
