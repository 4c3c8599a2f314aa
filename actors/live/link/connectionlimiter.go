package link

import (
	"net"
	"sync/atomic"
)

// door bounds the connections of the peer port, of all listeners together. Whoever comes above the limit is closed at once:
// a member needs one connection of each peer, and strangers that hold connections open, each worth a window of memory,
// must not cost it more than so many.
type connectionLimiter struct {
	limit    int64
	open     atomic.Int64
	rejected atomic.Uint64
	// full is told of the rejections 1, 2, 4, 8 and so on.
	onReject func(from net.Addr, rejected uint64)
}

// limitedListener is a listener behind the door.
type limitedListener struct {
	net.Listener
	limiter *connectionLimiter
}

func (l *limitedListener) Accept() (net.Conn, error) {
	d := l.limiter
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if d.open.Add(1) <= d.limit {
			return &limitedConn{Conn: conn, limiter: d}, nil
		}
		d.open.Add(-1)
		if n := d.rejected.Add(1); n&(n-1) == 0 {
			d.onReject(conn.RemoteAddr(), n)
		}
		_ = conn.Close()
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	limiter *connectionLimiter
	closed  atomic.Bool
}

func (c *limitedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.limiter.open.Add(-1)
	}
	return c.Conn.Close()
}
