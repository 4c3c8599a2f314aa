package protoremote

import (
	"encoding/binary"
	"errors"
	"io"
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

// http2Start is what a client sends first: the preface, and settings that change nothing.
const http2Start = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// isServed returns whether the server responds on a connection.
func isServed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(linktest.Timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2Start)); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil
}

func TestE45RemotePortBoundsConnections(t *testing.T) {
	const limit, more = 4, 5
	port := freePort(t)
	a := newNodeFixture(t, 1, 2, port, func(o *Options) {
		// The connections of the test answer no ping, open no stream, and may wait for a processor.
		o.MaxConnections, o.keepaliveInterval, o.handshakeTimeout, o.idleTimeout = limit, time.Hour, time.Hour, time.Hour
	})
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

// A caller that answers pings and opens no stream loses its place.
func TestIdleConnectionToTheRemotePortIsClosed(t *testing.T) {
	port := freePort(t)
	newNodeFixture(t, 1, 2, port, func(o *Options) {
		o.idleTimeout, o.keepaliveInterval = 50*time.Millisecond, time.Second
	})
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(linktest.Timeout)); err != nil {
		t.Fatal(err)
	}
	const ping, ack = 6, 1 // a type and a flag of HTTP/2 frames
	_, err = conn.Write([]byte(http2Start))
	pings := 0
	for frame := make([]byte, 9+1<<14); err == nil; {
		if _, err = io.ReadFull(conn, frame[:9]); err != nil {
			break
		}
		end := 9 + int(binary.BigEndian.Uint32(frame)>>8)
		if _, err = io.ReadFull(conn, frame[9:end]); err == nil && frame[3] == ping && frame[4] != ack {
			if pings++; pings > 5 { // one before the end, and one of the keepalive if the processor is busy
				t.Fatalf("the connection was open for %d intervals of the keepalive", pings)
			}
			frame[4] = ack
			_, err = conn.Write(frame[:end])
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stayed open")
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
