package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// lastFailure holds the reason why a connection failed, which gRPC does not return.
type lastFailure struct {
	mu  sync.Mutex
	err error
}

// set records a failure. It ignores the error of an attempt that gRPC gave up because the
// connection was closed.
func (f *lastFailure) set(err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *lastFailure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// recordingCredentials records why a TLS handshake, or the first read after it, failed.
type recordingCredentials struct {
	credentials.TransportCredentials
	secure  bool
	failure *lastFailure
}

func (c *recordingCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.failure.set(explainConnectError(err, c.secure))
		return conn, info, err
	}
	return &firstReadConn{Conn: conn, secure: c.secure, failure: c.failure}, info, nil
}

func (c *recordingCredentials) Clone() credentials.TransportCredentials {
	return &recordingCredentials{c.TransportCredentials.Clone(), c.secure, c.failure}
}

// firstReadConn is a connection that records why it failed before the first byte arrived. In
// TLS 1.3 the client's handshake ends before the server has checked the client's certificate: the
// server's alert then arrives instead of the first byte.
type firstReadConn struct {
	net.Conn
	secure   bool
	failure  *lastFailure
	reading  sync.Mutex  // held until what was read is recorded
	received atomic.Bool // a byte arrived
}

func (c *firstReadConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.Conn.Read(p)
	if err != nil && !c.received.Load() {
		c.failure.set(explainConnectError(err, c.secure))
	}
	if n > 0 && !c.received.Swap(true) && bytes.HasPrefix(p[:n], []byte("HTTP/1.")) {
		c.failure.set(explainHTTP(p[:n]))
	}
	return n, err
}

// Write reads the server's alert, or its refusal in HTTP, when the write fails: the server sent it
// before it closed the connection. A concurrent Read may have it, and records it before Write ends.
func (c *firstReadConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.received.Load() {
		_ = c.SetReadDeadline(time.Now().Add(alertTimeout))
		_, _ = c.Read(make([]byte, 512))
	}
	return n, err
}

// alertTimeout limits the wait for the server's alert on a broken connection.
const alertTimeout = 200 * time.Millisecond

// explainHTTP returns the error for a server that answers in HTTP/1.1.
func explainHTTP(start []byte) error {
	if bytes.HasPrefix(start, []byte("HTTP/1.1 503 ")) {
		return unsuitable("the server answers 503 (Service Unavailable): %s, or a proxy before it reaches no member", tooManyConnections)
	}
	return unsuitable("the server answers in HTTP/1.1, which is not the client port of a member; it may be its metrics port: name a client URL in --endpoints")
}

// tooManyConnections is the likely cause when a server refuses a connection without another reason.
const tooManyConnections = "it has as many connections as --max-connections or its open files allow (close some, or use other members too)"

// explainConnectError adds the likely cause and advice to an error of a new connection.
func explainConnectError(err error, secure bool) error {
	var op *net.OpError
	var record tls.RecordHeaderError
	closed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return explainAlert(op.Err)
	case errors.As(err, &record):
		return unsuitable("%w: the server does not use TLS there; write http:// before the endpoint", err)
	case closed && !secure:
		return unsuitable("the server closed the connection (%w): if it uses TLS there, write https:// before the endpoint; "+
			"else it is stopping, or %s", err, tooManyConnections)
	case closed:
		return unsuitable("the server closed the connection before the TLS handshake was complete (%w): it is stopping, or %s", err, tooManyConnections)
	}
	return explainCertificateError(err)
}

// explainAlert adds the likely cause and advice to a TLS alert of the server. crypto/tls has no
// type for it; the texts are its own.
func explainAlert(alert error) error {
	switch text := alert.Error(); {
	case strings.HasSuffix(text, "internal error"):
		return unsuitable("the server cannot serve the connection (%w): %s, or its certificate cannot be used", alert, tooManyConnections)
	case strings.HasSuffix(text, "protocol version not supported"), strings.HasSuffix(text, "handshake failure"):
		return unsuitable("the server supports none of this client's versions and cipher suites of TLS (%w); "+
			"see --tls-min-version, --tls-max-version and --cipher-suites of the server", alert)
	}
	return unsuitable("the server refused this client's certificate, or requires one: %w; give --cert and --key of an authority that the server trusts", alert)
}

// explainCertificateError adds advice to the error of a server's certificate.
func explainCertificateError(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return unsuitable("%w; give the file of the authority that signed it with --cacert", err)
	case errors.As(err, &host):
		return unsuitable("%w; name the server in --endpoints as its certificate does", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return unsuitable("%w; renew the server's certificate, or correct this machine's clock", err)
	case errors.As(err, &invalid):
		return unsuitable("%w; give the server a certificate for server authentication", err)
	}
	return err
}
