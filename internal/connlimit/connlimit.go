// Package connlimit bounds how many connections a server has open.
package connlimit

import (
	"net"
	"sync/atomic"
)

// Limiter bounds the connections that are open on several listeners together. A connection above
// the limit is closed right after it was accepted, so that clients cannot use up the memory and the
// file descriptors of the process.
type Limiter struct {
	// Refuse, unless it is nil, writes to a connection above the limit why it is closed. It must not
	// block, and is set before a listener accepts.
	Refuse func(net.Conn)

	limit    int64
	onReject func(from net.Addr)
	open     atomic.Int64
}

// New makes a limiter for at most `limit` open connections. It calls onReject for each connection
// above the limit.
func New(limit int, onReject func(from net.Addr)) *Limiter {
	return &Limiter{limit: int64(limit), onReject: onReject}
}

// Listener makes a listener whose connections count. A connection stops to count when it is closed.
func (l *Limiter) Listener(inner net.Listener) net.Listener { return &listener{inner, l} }

// Admit returns a connection that counts until it is closed. Above the limit it closes the given
// one and returns nil. It is for a server that accepts its connections itself.
func (l *Limiter) Admit(inner net.Conn) net.Conn {
	if l.open.Add(1) <= l.limit {
		return &conn{Conn: inner, limiter: l}
	}
	l.open.Add(-1)
	l.onReject(inner.RemoteAddr())
	if l.Refuse != nil {
		l.Refuse(inner)
	}
	_ = inner.Close()
	return nil
}

// Open returns how many connections are open.
func (l *Limiter) Open() int64 { return l.open.Load() }

type listener struct {
	net.Listener
	limiter *Limiter
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.limiter.Admit(inner); admitted != nil {
			return admitted, nil
		}
	}
}

type conn struct {
	net.Conn
	limiter *Limiter
	closed  atomic.Bool
}

func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.limiter.open.Add(-1)
	}
	return c.Conn.Close()
}
