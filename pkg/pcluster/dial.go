package pcluster

import (
	"context"
	"net"
	"net/netip"
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

// guard keeps connections away from addresses behind which a tenant has no business: those of this machine and of its
// link, where metadata services live.
type guard struct {
	allowed []netip.Prefix
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
	for _, prefix := range g.allowed {
		if prefix.Contains(addr) {
			return nil
		}
	}
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

// embeddedIPv4 returns the IPv4 address that an IPv6 address is another spelling of: mapped (::ffff:0:0/96),
// compatible (::/96, RFC 4291) or translated (64:ff9b::/96, RFC 6052); otherwise the address itself.
func embeddedIPv4(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() || addr == netip.IPv6Loopback() || addr.IsUnspecified() {
		return addr
	}
	bytes := addr.As16()
	prefix, last := [12]byte(bytes[:12]), [4]byte(bytes[12:])
	if prefix == [12]byte{} || prefix == [12]byte{0x00, 0x64, 0xff, 0x9b} {
		return netip.AddrFrom4(last)
	}
	return addr
}
