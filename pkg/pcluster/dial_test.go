package pcluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGuard(t *testing.T) {
	const end = ", which this service does not dial; an administrator can allow it with --allow-pcluster-cidr"
	for name, test := range map[string]struct {
		reason         string
		allowed        []string
		host, resolved string
		want           string // "" if it may be dialled
	}{
		"public":          {host: "edge.example.com", resolved: "93.184.216.34:6443"},
		"public IPv6":     {host: "edge.example.com", resolved: "[2606:2800:220:1::1]:6443"},
		"private":         {reason: "where clusters live", host: "10.0.0.1", resolved: "10.0.0.1:6443"},
		"private 172":     {host: "172.16.0.1", resolved: "172.16.0.1:6443"},
		"private 192":     {host: "192.168.0.1", resolved: "192.168.0.1:6443"},
		"unique local":    {host: "fd00::1", resolved: "[fd00::1]:6443"},
		"private, mapped": {host: "x", resolved: "[::ffff:10.0.0.1]:6443"},
		"NAT64":           {reason: "a public address behind a translator", host: "x", resolved: "[64:ff9b::5db8:d822]:6443"},

		"local NAT64":     {host: "x", resolved: "[64:ff9b:1::5db8:d822]:6443"},
		"6to4":            {reason: "the last bytes are no IPv4 address", host: "x", resolved: "[2002:5db8:d822::7f00:1]:6443"},
		"SIIT":            {host: "x", resolved: "[::ffff:0:5db8:d822]:6443"},
		"beside metadata": {host: "x", resolved: "[fd00:ec2::255]:6443"},

		"loopback":              {host: "x", resolved: "127.0.0.1:6443", want: `server host "x" resolves to 127.0.0.1, a loopback address` + end},
		"loopback literal":      {host: "127.0.0.1", resolved: "127.0.0.1:6443", want: `server address 127.0.0.1 is a loopback address` + end},
		"loopback net":          {reason: "all of 127/8", host: "x", resolved: "127.9.9.9:6443", want: `server host "x" resolves to 127.9.9.9, a loopback address` + end},
		"loopback IPv6":         {host: "x", resolved: "[::1]:6443", want: `server host "x" resolves to ::1, a loopback address` + end},
		"loopback, mapped":      {host: "x", resolved: "[::ffff:127.0.0.1]:6443", want: `server host "x" resolves to 127.0.0.1, a loopback address` + end},
		"mapped literal":        {host: "::ffff:127.0.0.1", resolved: "[::ffff:127.0.0.1]:6443", want: `server address 127.0.0.1 is a loopback address` + end},
		"loopback, compat":      {host: "x", resolved: "[::7f00:1]:6443", want: `server host "x" resolves to ::7f00:1, a loopback address` + end},
		"loopback, NAT64":       {host: "x", resolved: "[64:ff9b::7f00:1]:6443", want: `server host "x" resolves to 64:ff9b::7f00:1, a loopback address` + end},
		"number as host":        {reason: "getaddrinfo takes it for 127.0.0.1", host: "2130706433", resolved: "127.0.0.1:6443", want: `server host "2130706433" resolves to 127.0.0.1, a loopback address` + end},
		"metadata service":      {host: "x", resolved: "169.254.169.254:443", want: `server host "x" resolves to 169.254.169.254, a link-local address` + end},
		"metadata, mapped":      {host: "x", resolved: "[::ffff:169.254.169.254]:443", want: `server host "x" resolves to 169.254.169.254, a link-local address` + end},
		"loopback, local NAT64": {reason: "RFC 8215", host: "x", resolved: "[64:ff9b:1::7f00:1]:6443", want: `server host "x" resolves to 64:ff9b:1::7f00:1, a loopback address` + end},
		"metadata, local NAT64": {reason: "with any prefix of it", host: "x", resolved: "[64:ff9b:1:2:3:4:a9fe:a9fe]:80", want: `server host "x" resolves to 64:ff9b:1:2:3:4:a9fe:a9fe, a link-local address` + end},
		"loopback, 6to4":        {host: "x", resolved: "[2002:7f00:1::5]:6443", want: `server host "x" resolves to 2002:7f00:1::5, a loopback address` + end},
		"loopback, SIIT":        {host: "x", resolved: "[::ffff:0:7f00:1]:6443", want: `server host "x" resolves to ::ffff:0:7f00:1, a loopback address` + end},
		"metadata IPv6, AWS":    {host: "x", resolved: "[fd00:ec2::254]:80", want: `server host "x" resolves to fd00:ec2::254, the address of a metadata service` + end},
		"metadata, Alibaba":     {host: "x", resolved: "100.100.100.200:80", want: `server host "x" resolves to 100.100.100.200, the address of a metadata service` + end},
		"metadata, Azure":       {host: "168.63.129.16", resolved: "168.63.129.16:80", want: `server address 168.63.129.16 is the address of a metadata service` + end},
		"metadata, Oracle":      {host: "x", resolved: "192.0.0.192:80", want: `server host "x" resolves to 192.0.0.192, the address of a metadata service` + end},
		"metadata IPv6, Google": {host: "fd20:ce::254", resolved: "[fd20:ce::254]:80", want: `server address fd20:ce::254 is the address of a metadata service` + end},
		"link-local IPv6":       {host: "x", resolved: "[fe80::1]:443", want: `server host "x" resolves to fe80::1, a link-local address` + end},
		"link-local, zone":      {host: "fe80::1%eth0", resolved: "[fe80::1%eth0]:443", want: `server address fe80::1 is a link-local address` + end},
		"unspecified":           {host: "x", resolved: "0.0.0.0:443", want: `server host "x" resolves to 0.0.0.0, an unspecified address` + end},
		"this network":          {host: "x", resolved: "0.1.2.3:443", want: `server host "x" resolves to 0.1.2.3, an unspecified address` + end},
		"unspecified IPv6":      {host: "x", resolved: "[::]:443", want: `server host "x" resolves to ::, an unspecified address` + end},
		"unspecified mapped":    {host: "x", resolved: "[::ffff:0.0.0.0]:443", want: `server host "x" resolves to 0.0.0.0, an unspecified address` + end},
		"multicast":             {host: "x", resolved: "224.0.0.1:443", want: `server host "x" resolves to 224.0.0.1, a multicast address` + end},
		"multicast IPv6":        {host: "x", resolved: "[ff02::1]:443", want: `server host "x" resolves to ff02::1, a multicast address` + end},
		"multicast, global":     {host: "x", resolved: "[ff0e::1]:443", want: `server host "x" resolves to ff0e::1, a multicast address` + end},
		"broadcast":             {host: "x", resolved: "255.255.255.255:443", want: `server host "x" resolves to 255.255.255.255, the broadcast address` + end},
		"not an address":        {host: "x", resolved: "x:443", want: `server host "x" does not resolve to an IP address`},

		"allowed":           {allowed: []string{"127.0.0.0/8"}, host: "x", resolved: "127.0.0.1:6443"},
		"allowed, mapped":   {allowed: []string{"127.0.0.0/8"}, host: "x", resolved: "[::ffff:127.0.0.1]:6443"},
		"second is allowed": {allowed: []string{"10.0.0.0/8", "fe80::/10"}, host: "x", resolved: "[fe80::1%eth0]:443"},
		"metadata allowed":  {allowed: []string{"fd00:ec2::/32"}, host: "x", resolved: "[fd00:ec2::254]:80"},
		"another allowed":   {allowed: []string{"127.0.0.1/32"}, host: "x", resolved: "127.0.0.2:6443", want: `server host "x" resolves to 127.0.0.2, a loopback address` + end},
	} {
		t.Run(name, func(t *testing.T) {
			var g guard
			for _, prefix := range test.allowed {
				g.allowed = append(g.allowed, netip.MustParsePrefix(prefix))
			}
			got := ""
			if err := g.judge(test.host, test.resolved); err != nil {
				got = err.Error()
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("judge() = %v, want ErrInvalid", err)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
		})
	}
}

// What the operator denies is never dialled, and the sentence says neither the address nor the range: it would answer a
// scanner's question.
func TestGuardDenies(t *testing.T) {
	const denied = `this service does not connect to the address of server host "x"; an administrator can change that with --deny-pcluster-cidr and --allow-pcluster-cidr`
	prefixes := func(list ...string) (parsed []netip.Prefix) {
		for _, cidr := range list {
			parsed = append(parsed, netip.MustParsePrefix(cidr))
		}
		return parsed
	}
	for name, test := range map[string]struct {
		reason   string
		guard    guard
		resolved string
		want     string
	}{
		"denied":            {"", guard{denied: prefixes("10.0.0.0/8")}, "10.1.2.3:6443", denied},
		"second is denied":  {"", guard{denied: prefixes("192.0.2.0/24", "2001:db8::/32")}, "[2001:db8::1]:6443", denied},
		"another is denied": {"", guard{denied: prefixes("10.0.0.0/16")}, "10.1.2.3:6443", ""},
		"mapped":            {"an IPv6 spelling of the same address", guard{denied: prefixes("10.0.0.0/8")}, "[::ffff:10.1.2.3]:6443", denied},
		"NAT64":             {"an IPv6 address that leads to it", guard{denied: prefixes("10.0.0.0/8")}, "[64:ff9b::a01:203]:6443", denied},
		"IPv6 range":        {"", guard{denied: prefixes("64:ff9b::/96")}, "[64:ff9b::5db8:d822]:6443", denied},
		"zone":              {"", guard{denied: prefixes("fd00::/8")}, "[fd00::1%eth0]:6443", denied},
		"denied and allowed": {
			"what an operator denies wins", guard{denied: prefixes("10.0.0.0/8"), allowed: prefixes("10.1.0.0/16")}, "10.1.2.3:6443", denied,
		},
		"denied by default": {"", guard{deniedByDefault: prefixes("10.96.0.1/32")}, "10.96.0.1:443", denied},
		"denied by default, NAT64": {
			"", guard{deniedByDefault: prefixes("10.96.0.1/32")}, "[64:ff9b::a60:1]:443", denied,
		},
		"denied by default and allowed": {
			"what an operator allows wins over a default",
			guard{deniedByDefault: prefixes("10.96.0.1/32"), allowed: prefixes("10.96.0.0/12")}, "10.96.0.1:443", "",
		},
		"denied in every way": {
			"", guard{denied: prefixes("10.96.0.1/32"), deniedByDefault: prefixes("10.96.0.1/32"), allowed: prefixes("10.96.0.0/12")}, "10.96.0.1:443", denied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.guard.judge("x", test.resolved)
			if diff := cmp.Diff(test.want, errorText(err)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("judge() = %v, want ErrInvalid", err)
			}
		})
	}
}

func TestIsPrivate(t *testing.T) {
	for address, want := range map[string]bool{
		"10.0.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "100.64.0.1": true, "100.127.255.255": true, "fd00::1": true,
		"64:ff9b::a00:1": true, "::ffff:10.0.0.1": true,
		"93.184.216.34": false, "100.63.255.255": false, "100.128.0.0": false, "2606:2800:220:1::1": false, "64:ff9b::5db8:d822": false,
		"127.0.0.1": false, // dialled only where an operator allows it
	} {
		if got := isPrivate(netip.MustParseAddr(address)); got != want {
			t.Errorf("isPrivate(%s) = %t, want %t", address, got, want)
		}
	}
}

// The real dialer resolves the name, and nothing is connected to.
func TestDialJudgesWhatItConnectsTo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	accepted := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
			accepted <- struct{}{}
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", "::"} {
		conn, err := guard{}.dialer(dial)(context.Background(), "tcp", net.JoinHostPort(host, port))
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("dialling %s: %v, want ErrInvalid", host, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	select {
	case <-accepted:
		t.Fatal("a connection was made")
	default:
	}

	denied := guard{allowed: loopback(), denied: loopback()}
	if _, err := denied.dialer(dial)(context.Background(), "tcp", net.JoinHostPort("localhost", port)); !errors.Is(err, ErrInvalid) {
		t.Errorf("dialling a denied address: %v, want ErrInvalid", err)
	}
	select {
	case <-accepted:
		t.Fatal("a connection to a denied address was made")
	default:
	}

	conn, err := guard{allowed: loopback()}.dialer(dial)(context.Background(), "tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatalf("dialling an allowed address: %v", err)
	}
	_ = conn.Close()
	await(t, "the connection", accepted)
}

// Connections that close leave the set; what is dialled after the end is closed at once.
func TestConns(t *testing.T) {
	set := &conns{}
	dialPipe := set.dialer(func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		return ours, nil
	})
	one, err := dialPipe(context.Background(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	two, err := dialPipe(context.Background(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	_ = one.Close()
	if got := len(set.open); got != 1 {
		t.Errorf("%d connections in the set, want 1", got)
	}
	set.closeAll()
	if _, err := two.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing to a connection of a closed set: %v", err)
	}
	if _, err := dialPipe(context.Background(), "tcp", "x"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialling in a closed set: %v, want net.ErrClosed", err)
	}
}
