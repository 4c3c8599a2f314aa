package protoremote

import (
	"errors"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/internal/connlimit"
)

// isServed returns whether the server responds on a connection.
func isServed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(linktest.Timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil
}

func TestE45RemotePortBoundsConnections(t *testing.T) {
	const limit, more = 4, 5
	port := freePort(t)
	a := newNodeFixture(t, 1, 2, port, func(o *Options) { o.MaxConnections = limit })
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	var open []net.Conn
	for i := range limit {
		conn := dial()
		if !isServed(t, conn) {
			t.Fatalf("connection %d of %d was closed", i+1, limit)
		}
		open = append(open, conn)
	}
	for i := range more {
		if isServed(t, dial()) {
			t.Fatalf("connection %d was accepted, of at most %d", limit+i+1, limit)
		}
	}
	if n := a.env.RejectedConnections(); n != more {
		t.Errorf("%d rejections were counted, want %d", n, more)
	}
	// A place is free once a connection is closed.
	_ = open[0].Close()
	for deadline := time.Now().Add(linktest.Timeout); !isServed(t, dial()); {
		if time.Now().After(deadline) {
			t.Fatal("no connection is accepted after one was closed")
		}
	}
}

// A caller that says nothing loses its place.
func TestSilentConnectionToTheRemotePortIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the handshake's timeout")
	}
	port := freePort(t)
	newNodeFixture(t, 1, 2, port)
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * handshakeTimeout)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 100); err == nil; {
		_, err = conn.Read(buf) // the settings, and then the end
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is open long after the handshake's timeout")
	}
}

// refusingCredentials refuse every handshake.
type refusingCredentials struct {
	credentials.TransportCredentials
}

func (refusingCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("refused")
}

func TestFailedHandshakeFreesItsPlace(t *testing.T) {
	limiter := connlimit.New(1, func(net.Addr) { t.Error("a connection was rejected") })
	c := &limitedCredentials{refusingCredentials{insecure.NewCredentials()}, limiter}
	for range 3 {
		ours, theirs := net.Pipe()
		if _, _, err := c.ServerHandshake(theirs); err == nil {
			t.Fatal("no error")
		}
		_ = ours.Close()
	}
	if n := limiter.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}
