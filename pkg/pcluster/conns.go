package pcluster

import (
	"context"
	"net"
	"sync"
)

// conns are the open connections to one cluster. A client that is replaced must not leave any behind, and a transport
// closes only those that are idle at that moment.
type conns struct {
	mu     sync.Mutex
	closed bool
	open   map[*conn]struct{}
}

// conn is one of them. It leaves the set when it is closed.
type conn struct {
	net.Conn
	set *conns
}

// dialer dials connections that are in the set.
func (c *conns) dialer(
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		added := &conn{Conn: raw, set: c}
		if !c.add(added) {
			_ = raw.Close()
			return nil, net.ErrClosed
		}
		return added, nil
	}
}

func (c *conns) add(added *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.open == nil {
		c.open = map[*conn]struct{}{}
	}
	c.open[added] = struct{}{}
	return true
}

func (c *conn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// closeAll closes every connection, and every one that is dialled later.
func (c *conns) closeAll() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
}
