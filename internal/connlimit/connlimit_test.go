package connlimit

import (
	"net"
	"testing"
)

func TestConnectionsAboveTheLimitAreClosed(t *testing.T) {
	const limit = 2
	rejected := 0
	limiter := New(limit, func(net.Addr) { rejected++ })
	client, server := make([]net.Conn, 0, 5), make(chan net.Conn, 5)
	inner := pipeListener{server}
	for range cap(client) {
		ours, theirs := net.Pipe()
		client = append(client, ours)
		server <- theirs
	}
	close(server)
	one, other := limiter.Listener(inner), limiter.Listener(inner) // the bound is for both together
	first, err := one.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	_ = first.Close() // counts once
	if n := limiter.Open(); n != 1 {
		t.Fatalf("%d connections are open, want 1", n)
	}
	if _, err := one.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Accept(); err == nil {
		t.Error("a connection above the limit was accepted")
	}
	if rejected != 2 || limiter.Open() != limit {
		t.Errorf("%d connections rejected, %d open; want 2 and %d", rejected, limiter.Open(), limit)
	}
	for _, c := range client[3:] {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection above the limit is still open")
		}
	}
}

// pipeListener accepts the connections in a channel.
type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (pipeListener) Close() error   { return nil }
func (pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
