// Package client is what the client commands need of a cluster: calls that try one endpoint after the other, a watch that
// goes on where it was when a member dies, and the status of every member. It speaks etcd's API through the generated
// stubs alone, so that the binary does not carry a second client library.
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

// Cluster is a set of endpoints of which any will do.
//
// One connection is in use at a time, the next endpoint is tried when it fails. What may be tried again is decided by
// what is known: a connection that was never made has carried nothing, so anything may be sent over the next one. One that
// broke under a request leaves its outcome open: a read is asked again; a write is not, it may have taken effect.
type Cluster struct {
	endpoints []Endpoint
	tls       *tls.Config

	mu   sync.Mutex
	conn *connection // the one in use, nil: none yet
	next int         // the endpoint to try when there is none
}

const (
	// connectTimeout is how long one endpoint may take before the next is tried.
	connectTimeout = 2 * time.Second
	// pause is the breath taken when all endpoints failed, or the cluster has no leader just now.
	pause = 100 * time.Millisecond

	largestAnswer = 1 << 30
)

// New makes a cluster of endpoints; config is used for those with https and may be nil without any. Nothing is
// connected yet.
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

// UnreachableError is the error of a call for which no endpoint could be connected to.
type UnreachableError struct {
	// Tried holds an endpoint and what came of it each.
	Tried []error
	// Cause is why it was not tried for longer: the context's error.
	Cause error
}

func (e *UnreachableError) Error() string {
	return "no endpoint can be reached: " + oneLine(e.Tried) + "; is the cluster running, and is --endpoints right?"
}

func (e *UnreachableError) Unwrap() error { return e.Cause }

// UnknownOutcomeError is the error of a write that was sent and not answered: the connection broke, the time was over, or the member
// lost its leader with the write under way.
type UnknownOutcomeError struct{ Err error }

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("the answer did not come (%s): the write may or may not have taken effect; look before you repeat it", plainText(e.Err))
}
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// Read makes a call that changes nothing; it is made again at the next endpoint when one fails.
func (c *Cluster) Read(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, true, call)
}

// Write makes a call that is sent once at most.
func (c *Cluster) Write(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, false, call)
}

func (c *Cluster) do(ctx context.Context, repeatable bool, call func(context.Context, grpc.ClientConnInterface) error) error {
	var before error // what the last member that was reached said
	for {
		conn, err := c.connect(ctx)
		if err != nil && before != nil && ctx.Err() != nil {
			return before // that says more than that there was no time left to connect once more
		}
		if err != nil {
			return err
		}
		attempt, cancel := c.attempt(ctx, repeatable)
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
			// This member is gone, hangs, or knows no leader: another may do better, or this one in a moment.
			c.drop(conn)
			// That the time ran out says less than what a member answered before.
			if before == nil || status.Code(err) != codes.DeadlineExceeded {
				before = &TimeoutError{conn.endpoint, err}
			}
			if !sleep(ctx, pause) {
				return before
			}
		case isBroken(err) || attemptOver:
			c.drop(conn)
			return &UnknownOutcomeError{err}
		default:
			return &RefusedError{conn.endpoint.String(), err}
		}
	}
}

// noLeader is what etcd's members say when they know none.
const noLeader = "etcdserver: no leader"

// leaderlessTime is how long a member that did not answer in time is waited for to say that it knows no leader.
const leaderlessTime = 500 * time.Millisecond

// late is the error of a call that was not answered in time, whatever broke it off. The member is asked once more whether it
// was for want of a leader: it waits for one as long as the request may take, so that its own word comes too late.
func (c *connection) timeoutError(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderlessTime)
	defer cancel()
	if answer, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{}); err == nil && answer.GetLeader() == 0 {
		return status.Error(codes.Unavailable, noLeader)
	}
	return status.FromContextError(context.DeadlineExceeded).Err()
}

// TimeoutError is the error of a read that no member answered in time.
type TimeoutError struct {
	Endpoint Endpoint
	Err      error // of the last attempt
}

func (e *TimeoutError) Error() string {
	if plainText(e.Err) == noLeader {
		return "the cluster has no leader: a majority of its members must be running; 'troupe status' shows them"
	}
	return fmt.Sprintf("%s gave no answer in time (%s); --timeout allows for more", e.Endpoint, plainText(e.Err))
}
func (e *TimeoutError) Unwrap() error { return e.Err }

// attempt bounds one attempt: a read leaves time for another member, in case this one hangs.
func (c *Cluster) attempt(ctx context.Context, repeatable bool) (context.Context, context.CancelFunc) {
	deadline, bounded := ctx.Deadline()
	if !repeatable || !bounded || len(c.endpoints) == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// RefusedError is an answer that is an error: the member was reached and says no.
type RefusedError struct {
	Endpoint string
	Err      error
}

func (e *RefusedError) Error() string { return plainText(e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// connect gives the connection in use, or makes one to the next endpoint that can be reached before the context ends.
func (c *Cluster) connect(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	failed := make(failures, len(c.endpoints))
	for {
		for range c.endpoints {
			at := c.next % len(c.endpoints)
			conn, err := dial(ctx, c.endpoints[at], c.tls)
			if err == nil {
				c.conn = conn
				return conn, nil
			}
			failed.add(at, err, ctx.Err() != nil)
			c.next++
		}
		if !sleep(ctx, pause) {
			return nil, &UnreachableError{failed, ctx.Err()}
		}
	}
}

// failures is why each endpoint could not be connected to.
type failures []error

// note takes note of an attempt. One that was cut off by the end of the time says less than one that was not.
func (f failures) add(at int, err error, cutOff bool) {
	if f[at] == nil || !cutOff {
		f[at] = err
	}
}

// drop takes a connection out of use, unless another one took its place meanwhile.
func (c *Cluster) drop(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
		c.next++
	}
	conn.Close()
}

// broken tells whether the connection, the member or the time failed, rather than the request.
func isBroken(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// plain is the text of an error without gRPC's wrapping.
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

// sleep waits; false when the context ended first.
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

// connection is a connection that has been established once.
type connection struct {
	*grpc.ClientConn
	endpoint Endpoint
}

// dial connects to one endpoint, or says why that failed.
func dial(ctx context.Context, e Endpoint, config *tls.Config) (*connection, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: there was no time left to try it", e)
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
		// A member that vanished without a word is found out by pings; the server allows one each 5 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: false}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			conn.Close()
			if why := failure.get(); why != nil {
				return nil, fmt.Errorf("%s: %w", e, why)
			}
			return nil, fmt.Errorf("%s: no answer within %v", e, time.Since(began).Round(time.Millisecond))
		}
	}
	return &connection{conn, e}, nil
}
