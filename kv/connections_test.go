package kv

import (
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// failingListener fails to accept while it has failures left.
type failingListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// A process without free descriptors serves again once there are some, and the log says so once.
func TestAcceptFailureIsLoggedAndRetried(t *testing.T) {
	log := &logBuffer{}
	ts := startServer(t, func(c *ServerConfig) { c.Logger = zerolog.New(log) })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	mustSucceed(t, err)
	l := &failingListener{Listener: inner}
	l.failures.Store(3)
	served := make(chan error, 1)
	go func() { served <- ts.mux.serve(l) }()
	second := &testServer{Server: ts.Server, address: inner.Addr().String()}
	if code, _ := second.get(t, "/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}
	if n := log.count("cannot accept client connections", "too many open files", "raise the limit"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log.text.String())
	}
	ts.mux.stopAccepting()
	mustSucceed(t, <-served)
}

func TestRejectedConnectionsAreLoggedEverLessOften(t *testing.T) {
	log := &logBuffer{}
	ts := startServer(t, func(c *ServerConfig) { c.Logger, c.MaxConnections, c.MaxMetricsConnections = zerolog.New(log), 1, 1 })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	mustSucceed(t, err)
	metrics := ts.LimitMetricsConnections(inner)
	t.Cleanup(func() { _ = metrics.Close() })
	go func() {
		for {
			if _, err := metrics.Accept(); err != nil {
				return
			}
		}
	}()
	for _, c := range []struct{ address, line string }{
		{ts.address, "client connection limit reached"}, {inner.Addr().String(), "metrics connection limit reached"},
	} {
		at := &testServer{Server: ts.Server, address: c.address}
		at.dialRaw(t)
		for range 5 {
			if _, err := at.dialRaw(t).Read(make([]byte, 1)); err == nil {
				t.Error("a connection above the limit is served")
			}
		}
		// The 1st, the 2nd and the 4th of the five.
		if n := log.count(c.line); n != 3 {
			t.Errorf("%d lines with %q:\n%s", n, c.line, log.text.String())
		}
	}
}
