package kv

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/internal/connlimit"
)

// portMux shares the client port between gRPC and HTTP/1.1. It accepts a connection, makes the TLS
// handshake, reads the first bytes and passes the connection to one of two listeners. The
// connection then belongs to that server alone. (gRPC through net/http, the usual way to share a
// port under TLS, costs about twice the CPU.)
//
// With TLS, ALPN selects the protocol: HTTP/1.1 for a client that offers it, gRPC for one that
// offers h2 alone, as gRPC clients do. Without TLS the first bytes do: every HTTP/2 connection
// starts with the same preface, and no HTTP/1.1 request does.
//
// A connection that sends nothing, or garbage, is closed after firstByteTimeout.
type portMux struct {
	tlsConfig        *tls.Config // nil: no TLS
	firstByteTimeout time.Duration
	connections      *connlimit.Limiter

	grpc, http *handoffListener
	// acceptFailed is called when a listener could not accept a connection.
	acceptFailed func(err error)
	// handshakeFailed is called for each TLS handshake that failed.
	handshakeFailed func(from net.Addr, why error)

	mu        sync.Mutex
	listeners []net.Listener        // guarded by mu
	sniffing  map[net.Conn]struct{} // guarded by mu; not passed to a listener yet
	closed    bool                  // guarded by mu
	sniffers  sync.WaitGroup
	closing   context.Context // canceled by close
	cancel    context.CancelCauseFunc
}

// http2PrefaceStart is the start of the HTTP/2 connection preface (RFC 9113 §3.4).
const http2PrefaceStart = "PRI "

func newPortMux(tlsConfig *tls.Config, firstByteTimeout time.Duration, connections *connlimit.Limiter, handshakeFailed func(net.Addr, error)) *portMux {
	m := &portMux{
		firstByteTimeout: firstByteTimeout, connections: connections, handshakeFailed: handshakeFailed,
		acceptFailed: func(error) {},
		grpc:         newHandoffListener(), http: newHandoffListener(),
		sniffing: map[net.Conn]struct{}{},
	}
	m.closing, m.cancel = context.WithCancelCause(context.Background())
	if tlsConfig != nil {
		m.tlsConfig = tlsConfig.Clone()
		m.tlsConfig.NextProtos = []string{"h2", "http/1.1"}
		m.tlsConfig.GetConfigForClient = m.alpnConfig(tlsConfig)
	}
	return m
}

// alpnConfig returns a GetConfigForClient that offers, by ALPN, the one protocol selected for the
// client.
func (m *portMux) alpnConfig(given *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	offering := func(from *tls.Config, protocol string) *tls.Config {
		c := from.Clone()
		c.NextProtos = []string{protocol}
		c.GetConfigForClient = nil
		return c
	}
	grpcConfig, httpConfig := offering(given, "h2"), offering(given, "http/1.1")
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		protocol := "http/1.1"
		if slices.Contains(hello.SupportedProtos, "h2") && !slices.Contains(hello.SupportedProtos, "http/1.1") {
			protocol = "h2"
		}
		if given.GetConfigForClient != nil {
			own, err := given.GetConfigForClient(hello)
			if err != nil || own != nil {
				if own != nil {
					own = offering(own, protocol)
				}
				return own, err
			}
		}
		if protocol == "h2" {
			return grpcConfig, nil
		}
		return httpConfig, nil
	}
}

// serve accepts connections of one listener until it is closed.
func (m *portMux) serve(l net.Listener) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errors.Join(net.ErrClosed, l.Close())
	}
	m.listeners = append(m.listeners, l)
	m.mu.Unlock()
	limited := m.connections.Listener(l)
	pause := time.Duration(0)
	for {
		conn, err := limited.Accept()
		if err != nil {
			if m.closing.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, for example: retry, since other connections will be closed.
			m.acceptFailed(err)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
				continue
			case <-m.closing.Done():
				return nil
			}
		}
		pause = 0
		m.startSniffing(&portConn{Conn: conn})
	}
}

func (m *portMux) startSniffing(conn *portConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		_ = conn.Close()
		return
	}
	accepted := conn.Conn
	m.sniffing[accepted] = struct{}{}
	m.sniffers.Add(1)
	go m.sniff(conn, accepted)
}

// sniff passes a connection to the listener of its protocol. Until then it owns conn, and close may
// close accepted.
func (m *portMux) sniff(conn *portConn, accepted net.Conn) {
	defer m.sniffers.Done()
	to, err := m.route(conn)
	m.mu.Lock()
	delete(m.sniffing, accepted)
	m.mu.Unlock()
	if err != nil || !to.deliver(conn) {
		_ = conn.Close()
	}
}

// route makes the TLS handshake and selects the listener.
func (m *portMux) route(conn *portConn) (*handoffListener, error) {
	if err := conn.SetDeadline(time.Now().Add(m.firstByteTimeout)); err != nil {
		return nil, err
	}
	if m.tlsConfig != nil {
		secured := tls.Server(conn.Conn, m.tlsConfig)
		if err := secured.HandshakeContext(m.closing); err != nil {
			if m.closing.Err() == nil {
				m.handshakeFailed(conn.RemoteAddr(), err)
			}
			return nil, err
		}
		conn.Conn, conn.tls = secured, secured
	}
	to := m.http
	if conn.tls != nil && conn.tls.ConnectionState().NegotiatedProtocol == "h2" {
		to = m.grpc
	} else {
		start := make([]byte, len(http2PrefaceStart))
		for n := 0; n < len(start); {
			got, err := conn.Conn.Read(start[n:])
			n += got
			conn.unread = start[:n]
			if string(conn.unread) != http2PrefaceStart[:n] {
				break // HTTP/1.1, or garbage that the HTTP server refuses
			}
			if err != nil {
				return nil, err
			}
		}
		if string(conn.unread) == http2PrefaceStart {
			to = m.grpc
		}
	}
	return to, conn.SetDeadline(time.Time{})
}

// stopAccepting closes the listeners, not the connections.
func (m *portMux) stopAccepting() {
	m.mu.Lock()
	listeners := m.listeners
	m.listeners, m.closed = nil, true
	m.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
}

// close closes the connections that no server has yet; the servers close theirs.
func (m *portMux) close() {
	m.stopAccepting()
	m.cancel(net.ErrClosed)
	m.mu.Lock()
	for accepted := range m.sniffing {
		_ = accepted.Close()
	}
	m.mu.Unlock()
	_ = m.grpc.Close()
	_ = m.http.Close()
	m.sniffers.Wait()
}

// portConn is a connection whose first bytes were read. unread belongs to the reader: the sniffer,
// then the server.
type portConn struct {
	net.Conn
	tls    *tls.Conn // nil without TLS; the same as Conn otherwise
	unread []byte

	reservations connReservations
}

func (c *portConn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *portConn) Close() error {
	c.reservations.releaseAll()
	return c.Conn.Close()
}

// handoffListener is the listener of a server that gets its connections from portMux.
type handoffListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandoffListener() *handoffListener {
	return &handoffListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// deliver passes a connection to Accept; it returns false if the listener is closed.
func (l *handoffListener) deliver(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

func (l *handoffListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *handoffListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *handoffListener) Addr() net.Addr { return handoffAddr{} }

type handoffAddr struct{}

func (handoffAddr) Network() string { return "handoff" }
func (handoffAddr) String() string  { return "client port" }

var _ io.Reader = (*portConn)(nil)
