// Package client connects the client commands to a cluster: calls that try one endpoint after the
// other, a watch that continues at another member, and the status of every member. It uses the
// generated stubs of etcd's API, so that the binary contains no second client library.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Cluster is a set of endpoints of one cluster.
//
// It uses one connection at a time and tries the next endpoint when that fails. A request that was
// not sent, because no connection was made, is always sent to the next endpoint. A request whose
// connection broke has an unknown outcome: a read is repeated; a write is not, because it may have
// taken effect.
type Cluster struct {
	endpoints []Endpoint
	tls       *tls.Config

	mu   sync.Mutex
	conn *connection // nil until a connection is made
	next int         // the endpoint to try when conn is nil, modulo their number
}

const (
	// connectTimeout limits the time to connect to one endpoint before the next is tried.
	connectTimeout = 2 * time.Second
	// retryPause is the time between two attempts when all endpoints failed or have no leader.
	retryPause = 100 * time.Millisecond

	maxResponseBytes = 1 << 30
)

// New returns a cluster of endpoints without connecting to any. config is for the endpoints with
// TLS; nil means Go's defaults.
func New(endpoints []Endpoint, config *tls.Config) *Cluster {
	return &Cluster{endpoints: endpoints, tls: config}
}

// Close closes the connection in use.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// UnreachableError is the error of a call when the connection to every endpoint failed.
type UnreachableError struct {
	// Tried holds an error for each endpoint, which names it.
	Tried []error
	// Cause is the context's error.
	Cause error
}

func (e *UnreachableError) Error() string {
	return "no endpoint can be reached: " + oneLine(e.Tried) + "; is the cluster running, and is --endpoints right?"
}

func (e *UnreachableError) Unwrap() error { return e.Cause }

// UnknownOutcomeError is the error of a write that was sent and got no response: the connection
// broke, the timeout passed, or the member lost its leader meanwhile.
type UnknownOutcomeError struct{ Err error }

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("no response (%s): the write may or may not have taken effect; read the key before you repeat the write", plainText(e.Err))
}
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// Read makes a call that changes nothing. It is repeated at the next endpoint when it fails.
func (c *Cluster) Read(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, true, call)
}

// Write makes a call that is sent at most once.
func (c *Cluster) Write(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, false, call)
}

func (c *Cluster) do(ctx context.Context, repeatable bool, call func(context.Context, grpc.ClientConnInterface) error) error {
	var earlier error // of an earlier attempt that reached a member
	for {
		conn, err := c.connect(ctx)
		if err != nil && earlier != nil && ctx.Err() != nil {
			return earlier // it says more than that no time was left to connect again
		}
		if err != nil {
			return err
		}
		attempt, cancel := c.attemptContext(ctx, repeatable)
		err = call(attempt, conn)
		attemptOver := attempt.Err() != nil
		cancel()
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) && (attemptOver || status.Code(err) == codes.DeadlineExceeded) {
			err = conn.timeoutError(ctx)
		}
		switch {
		case err == nil:
			return nil
		case repeatable && (isBroken(err) || attemptOver):
			// This member ended, hangs or has no leader. Another member may respond, or this one later.
			c.drop(conn)
			// An earlier error says more than a timeout.
			if earlier == nil || status.Code(err) != codes.DeadlineExceeded {
				earlier = &TimeoutError{conn.endpoint, err}
			}
			if !sleep(ctx, retryPause) {
				return earlier
			}
		case isBroken(err) || attemptOver:
			c.drop(conn)
			return &UnknownOutcomeError{err}
		default:
			return &RefusedError{conn.endpoint.String(), err}
		}
	}
}

// noLeader is the text of etcd's error of a member without a leader.
const noLeader = "etcdserver: no leader"

// leaderCheckTimeout limits the status request of timeoutError.
const leaderCheckTimeout = 500 * time.Millisecond

// timeoutError returns the error of a call that got no response in time. It asks the member for its
// status to find out whether it has no leader: such a member waits for a leader until the request's
// deadline, so that its own error would arrive too late.
func (c *connection) timeoutError(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderCheckTimeout)
	defer cancel()
	if response, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{}); err == nil && response.GetLeader() == 0 {
		return status.Error(codes.Unavailable, noLeader)
	}
	return status.FromContextError(context.DeadlineExceeded).Err()
}

// TimeoutError is the error of a read to which no member responded in time.
type TimeoutError struct {
	Endpoint Endpoint
	Err      error // of the last attempt
}

func (e *TimeoutError) Error() string {
	if plainText(e.Err) == noLeader {
		return "the cluster has no leader: a majority of its members must be running; 'troupe status' shows them"
	}
	return fmt.Sprintf("%s did not respond in time (%s); --timeout allows more time", e.Endpoint, plainText(e.Err))
}
func (e *TimeoutError) Unwrap() error { return e.Err }

// attemptContext returns the context of one attempt. That of a read ends after half of the time
// left, so that another member can respond if this one hangs.
func (c *Cluster) attemptContext(ctx context.Context, repeatable bool) (context.Context, context.CancelFunc) {
	deadline, bounded := ctx.Deadline()
	if !repeatable || !bounded || len(c.endpoints) == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// RefusedError is the error with which a member responded to a request.
type RefusedError struct {
	Endpoint string
	Err      error
}

func (e *RefusedError) Error() string { return plainText(e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// connect returns the current connection, or makes one to the first endpoint that can be reached
// before the context ends.
func (c *Cluster) connect(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	failed := make(failures, len(c.endpoints))
	for {
		for range c.endpoints {
			i := c.next % len(c.endpoints)
			conn, err := dial(ctx, c.endpoints[i], c.tls)
			if err == nil {
				c.conn = conn
				return conn, nil
			}
			failed.add(i, err, ctx.Err() != nil)
			c.next++
		}
		if !sleep(ctx, retryPause) {
			return nil, &UnreachableError{failed, ctx.Err()}
		}
	}
}

// failures holds the error of each endpoint.
type failures []error

// add records the error of an attempt. An attempt that the context ended says less than one that
// failed by itself, and does not replace it.
func (f failures) add(endpoint int, err error, contextEnded bool) {
	if f[endpoint] == nil || !contextEnded {
		f[endpoint] = err
	}
}

// drop closes a connection. If it is the current one, the next call tries the next endpoint.
func (c *Cluster) drop(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
		c.next++
	}
	conn.Close()
}

// isBroken reports whether the connection or the member failed, or the deadline passed, rather than
// the request.
func isBroken(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// plainText returns the text of an error without gRPC's prefix.
func plainText(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

func oneLine(errs []error) string {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = plainText(err)
	}
	return strings.Join(texts, "; ")
}

// sleep waits and returns true, or returns false when the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connection is an established connection to an endpoint.
type connection struct {
	*grpc.ClientConn
	endpoint Endpoint
}

// dial connects to an endpoint. An error names the endpoint.
func dial(ctx context.Context, e Endpoint, config *tls.Config) (*connection, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: no time left to connect", e)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	failure := &lastFailure{}
	creds := insecure.NewCredentials()
	if e.Secure {
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		creds = credentials.NewTLS(config)
	}
	authority := e.Address
	if e.Unix {
		authority = "localhost"
	}
	conn, err := grpc.NewClient("passthrough:///"+e.Address, grpc.WithAuthority(authority),
		grpc.WithTransportCredentials(&recordingCredentials{creds, e.Secure, failure}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, e.network(), address)
			failure.set(err)
			return c, err
		}),
		// Pings detect a member that vanished silently; the server allows one in 5 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: false}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponseBytes)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			conn.Close()
			if err := failure.get(); err != nil {
				return nil, fmt.Errorf("%s: %w", e, err)
			}
			return nil, fmt.Errorf("%s: no connection within %v", e, time.Since(began).Round(time.Millisecond))
		}
	}
	return &connection{conn, e}, nil
}
