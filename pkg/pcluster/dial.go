package pcluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	connectTimeout      = 3 * time.Second
	tlsHandshakeTimeout = 5 * time.Second
)

// dialFunc opens a connection; control judges the address after DNS.
type dialFunc func(ctx context.Context, network, address string, control controlFunc) (net.Conn, error)

type controlFunc func(ctx context.Context, network, address string, _ syscall.RawConn) error

// dial connects by TCP. The keep-alives find a connection that died in silence where HTTP/2 pings cannot.
func dial(ctx context.Context, network, address string, control controlFunc) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout:         connectTimeout,
		ControlContext:  control,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return dialer.DialContext(ctx, network, address)
}

// guard keeps connections away from addresses behind which a tenant has no business: those that the operator denies, and
// those of this machine and of its link, where metadata services live. The order of precedence is: denied, allowed, denied
// by default, forbidden by class.
type guard struct {
	denied, allowed, deniedByDefault []netip.Prefix
	// onPrivate is called before a private address is dialled. Nil: nobody has to know.
	onPrivate func()
}

// dialer dials what the guard lets pass. The judgement stands between DNS and connect, on the very address that is
// connected to, so a name that resolves differently the second time gains nothing.
func (g guard) dialer(dial dialFunc) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return dial(ctx, network, address, func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			return g.judge(host, resolved)
		})
	}
}

// judge returns ErrInvalid if host may not be connected to at the resolved address, an IP with a port.
func (g guard) judge(host, resolved string) error {
	target, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return invalid("server host %q does not resolve to an IP address", host)
	}
	addr := target.Addr().WithZone("").Unmap()
	leadsInto := func(prefixes []netip.Prefix) bool {
		return contain(prefixes, addr) || contain(prefixes, embeddedIPv4(addr))
	}
	isAllowed := contain(g.allowed, addr)
	switch {
	case leadsInto(g.denied), !isAllowed && leadsInto(g.deniedByDefault):
		return invalid("this service does not connect to the address of server host %q; an administrator can change that with "+
			"--deny-pcluster-cidr and --allow-pcluster-cidr", host)
	case !isAllowed:
		if err := judgeClass(host, addr); err != nil {
			return err
		}
	}
	if g.onPrivate != nil && isPrivate(addr) {
		g.onPrivate()
	}
	return nil
}

func contain(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// isPrivate reports whether an address belongs to a private network (RFC 1918, RFC 4193) or to a provider's (RFC 6598),
// or leads into one by way of a translator.
func isPrivate(addr netip.Addr) bool {
	addr = embeddedIPv4(addr)
	return addr.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(addr)
}

// judgeClass returns ErrInvalid if host may not be connected to at addr because of what kind of address it is.
func judgeClass(host string, addr netip.Addr) error {
	class := forbiddenClass(addr)
	if class == "" {
		return nil
	}
	const end = "which this service does not dial; an administrator can allow it with --allow-pcluster-cidr"
	if literal, err := netip.ParseAddr(host); err == nil && literal.WithZone("").Unmap() == addr {
		return invalid("server address %s is %s, %s", addr, class, end)
	}
	return invalid("server host %q resolves to %s, %s, %s", host, addr, class, end)
}

// forbiddenClass says what kind of address is not dialled, or "" if it is dialled.
func forbiddenClass(addr netip.Addr) string {
	addr = embeddedIPv4(addr)
	switch {
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case isMetadata(addr):
		return "the address of a metadata service"
	case addr.IsMulticast():
		return "a multicast address"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case addr.IsUnspecified(), addr.Is4() && addr.As4()[0] == 0:
		return "an unspecified address" // the kernel takes it for this machine
	default:
		return ""
	}
}

// isMetadata reports whether a metadata service is at this address of a range that is dialled otherwise. Those at
// 169.254.169.254 are link-local.
func isMetadata(addr netip.Addr) bool {
	return addr == netip.MustParseAddr("fd00:ec2::254") || // Amazon EC2
		addr == netip.MustParseAddr("fd20:ce::254") || // Google Compute Engine
		addr == netip.MustParseAddr("100.100.100.200") || // Alibaba Cloud
		addr == netip.MustParseAddr("168.63.129.16") || // Microsoft Azure, its platform's own address
		addr == netip.MustParseAddr("192.0.0.192") // Oracle Cloud, Classic
}

// embeddedIPv4 returns the IPv4 address that an IPv6 address is another spelling of, or leads to by way of a translator
// or relay; otherwise the address itself.
func embeddedIPv4(addr netip.Addr) netip.Addr {
	addr = addr.Unmap() // ::ffff:0:0/96, mapped
	if !addr.Is6() || addr == netip.IPv6Loopback() || addr.IsUnspecified() {
		return addr
	}
	bytes := addr.As16()
	last := netip.AddrFrom4([4]byte(bytes[12:]))
	switch {
	case [12]byte(bytes[:12]) == [12]byte{}: // ::/96, compatible (RFC 4291)
		return last
	case [12]byte(bytes[:12]) == [12]byte{8: 0xff, 9: 0xff}: // ::ffff:0:0:0/96, translated by SIIT (RFC 2765)
		return last
	case [12]byte(bytes[:12]) == [12]byte{0x00, 0x64, 0xff, 0x9b}: // 64:ff9b::/96, NAT64 (RFC 6052)
		return last
	case [6]byte(bytes[:6]) == [6]byte{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}: // 64:ff9b:1::/48, NAT64 of a network's own (RFC 8215)
		return last
	case [2]byte(bytes[:2]) == [2]byte{0x20, 0x02}: // 2002::/16, 6to4 (RFC 3056)
		return netip.AddrFrom4([4]byte(bytes[2:6]))
	default:
		return addr
	}
}
