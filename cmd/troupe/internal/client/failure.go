package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// lastFailure keeps what gRPC does not tell: why a connection did not come about.
type lastFailure struct {
	mu  sync.Mutex
	err error
}

// set takes note of a failure. What gRPC began anew meanwhile, and gave up because the connection was closed, is none.
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

// recordingCredentials notes why a handshake failed, or what was heard in place of the server's first words.
type recordingCredentials struct {
	credentials.TransportCredentials
	secure  bool
	failure *lastFailure
}

func (w *recordingCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.failure.set(explainConnectError(err, w.secure))
		return conn, info, err
	}
	return &firstBytesConn{Conn: conn, secure: w.secure, failure: w.failure}, info, nil
}

func (w *recordingCredentials) Clone() credentials.TransportCredentials {
	return &recordingCredentials{w.TransportCredentials.Clone(), w.secure, w.failure}
}

// listening is a connection whose server has not said a word yet. In TLS 1.3 a client has shaken hands before the server has
// looked at its certificate: what comes in place of the first words is the refusal.
type firstBytesConn struct {
	net.Conn
	secure  bool
	failure *lastFailure
	heard   atomic.Bool
}

func (l *firstBytesConn) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err != nil && !l.heard.Load() {
		l.failure.set(explainConnectError(err, l.secure))
	}
	if n > 0 {
		l.heard.Store(true)
	}
	return n, err
}

// Write that fails has come after the server's refusal, which is there to be read.
func (l *firstBytesConn) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err != nil && !l.heard.Load() {
		_ = l.SetReadDeadline(time.Now().Add(refusalTime))
		_, _ = l.Read(make([]byte, 1))
	}
	return n, err
}

// refusalTime is how long the refusal of a connection that broke is waited for.
const refusalTime = 200 * time.Millisecond

// explain adds to an error of a connection's first moments what it comes from, where that is known.
func explainConnectError(err error, secure bool) error {
	var op *net.OpError
	var record tls.RecordHeaderError
	hungUp := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("the server refused this client's certificate, or misses one: %w; give --cert and --key of an authority that it trusts", op.Err)
	case errors.As(err, &record):
		return fmt.Errorf("%w: no TLS is spoken there; write http:// before the endpoint", err)
	case hungUp && !secure:
		return fmt.Errorf("it hung up without a word (%w): if it speaks TLS, write https:// before the endpoint", err)
	case hungUp:
		return fmt.Errorf("it hung up without a word (%w)", err)
	}
	return err
}
