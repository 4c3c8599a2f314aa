package kv

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// readAll reads until the other side closes the connection, or resets it.
func readAll(conn net.Conn) string {
	text, _ := io.ReadAll(conn)
	return string(text)
}

// A TLS client above the limit gets an alert that says that its certificate is not the reason, on
// the client port and on a listener for metrics, whose handshake is net/http's.
func TestTLSClientAboveTheLimitGetsAnAlert(t *testing.T) {
	certificate, pool := selfSigned(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	ts := startServer(t, func(c *ServerConfig) { c.MaxConnections, c.MaxMetricsConnections, c.TLS = 1, 1, config })
	inner, err := tls.Listen("tcp", "127.0.0.1:0", config)
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
	for _, address := range []string{ts.address, inner.Addr().String()} {
		at := &testServer{Server: ts.Server, address: address}
		at.dialRaw(t)
		err := tls.Client(at.dialRaw(t), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}).HandshakeContext(testContext(t))
		var remote *net.OpError
		if !errors.As(err, &remote) || remote.Op != "remote error" || !strings.HasSuffix(err.Error(), "internal error") {
			t.Errorf("the handshake: %v", err)
		}
	}
}

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
	for _, c := range []struct{ address, line, text string }{
		{ts.address, "client connection limit reached", "--max-connections or the limit of open files"},
		{inner.Addr().String(), "metrics connection limit reached", "listeners for metrics"},
	} {
		at := &testServer{Server: ts.Server, address: c.address}
		at.dialRaw(t)
		for range 5 {
			if text := readAll(at.dialRaw(t)); !strings.HasPrefix(text, "HTTP/1.1 503 ") || !strings.Contains(text, c.text) {
				t.Errorf("a connection above the limit received %q", text)
			}
		}
		// The 1st, the 2nd and the 4th of the five.
		if n := log.count(c.line); n != 3 {
			t.Errorf("%d lines with %q:\n%s", n, c.line, log.text.String())
		}
	}
}
