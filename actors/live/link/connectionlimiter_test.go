package link

import (
	"net"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// stranger connects as somebody who is no peer.
func dialPort(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// kept tells whether the port speaks to a connection: it greets first, as an HTTP/2 server does.
func isServed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil
}

func TestE45ConnectionsOfThePeerPortAreBounded(t *testing.T) {
	const limit = 8
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.maxConnections = limit })
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
			t.Fatalf("connection %d was taken, of at most %d", limit+i+1, limit)
		}
	}
	if n := a.link.RejectedConnections(); n != more || a.env.RejectedConnections() != n {
		t.Errorf("%d rejections were counted of %d", n, more)
	}
	if n := a.log.countLines("peer port has as many connections as it may", `"limit":8`); n != 5 { // the 1st, 2nd, 4th, 8th, 16th
		t.Errorf("told %d times:\n%v", n, a.log)
	}
	// Peers get in as soon as there is room.
	a.env.SetPeers([]*messages.Member{b.member()})
	b.env.SetPeers([]*messages.Member{a.member()})
	for _, conn := range open {
		_ = conn.Close()
	}
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
}
