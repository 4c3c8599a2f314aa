package link

import (
	"net"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

// dialPort connects without the handshake of a peer.
func dialPort(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	mustSucceed(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// isServed returns whether the server responds on a connection.
func isServed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	mustSucceed(t, conn.SetReadDeadline(time.Now().Add(linktest.Timeout)))
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil
}

func TestE45PeerPortBoundsConnections(t *testing.T) {
	const limit = 8
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) {
		o.MaxConnections = limit
		o.keepaliveInterval = time.Hour // the connections of the test answer no ping
	})
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0")
	var open []net.Conn
	for i := range limit {
		conn := dialPort(t, a.address)
		if !isServed(t, conn) {
			t.Fatalf("connection %d of %d was closed", i+1, limit)
		}
		open = append(open, conn)
	}
	const more = 20
	for i := range more {
		if isServed(t, dialPort(t, a.address)) {
			t.Fatalf("connection %d was accepted, of at most %d", limit+i+1, limit)
		}
	}
	if n := a.link.RejectedConnections(); n != more || a.env.RejectedConnections() != n {
		t.Errorf("%d rejections were counted, want %d", n, more)
	}
	if n := a.log.countLines("peer connection limit reached", `"limit":8`); n != 5 { // the 1st, 2nd, 4th, 8th, 16th
		t.Errorf("%d log lines:\n%v", n, a.log)
	}
	// Peers connect as soon as there is space.
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{b.member()}})
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	for _, conn := range open {
		_ = conn.Close()
	}
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, b.Node, "up 1")
}
