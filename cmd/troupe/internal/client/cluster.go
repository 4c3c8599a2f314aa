// Package client connects the client commands to a cluster: calls that try one endpoint after the
// other, a watch that continues at another member, and the status of every member. It uses the
// generated stubs of etcd's API, so that the binary contains no second client library.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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

// Read makes a call that changes nothing. It is repeated at the next endpoint when it fails.
func (c *Cluster) Read(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, true, call)
}

// Write makes a call that is sent once, unless a member answers that it has not proposed it: then
// it is sent to the next endpoint.
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
		notProposed := !attemptOver && isNotProposed(ctx, err)
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) && (attemptOver || status.Code(err) == codes.DeadlineExceeded) {
			err = conn.timeoutError(ctx)
		}
		switch {
		case err == nil:
			return nil
		case notProposed || repeatable && (isBroken(err) || attemptOver):
			// This member ended, hangs or has no leader. Another member may respond, or this one later.
			c.drop(conn)
			// An earlier error says more than a timeout.
			if earlier == nil || status.Code(err) != codes.DeadlineExceeded {
				earlier = &TimeoutError{conn.endpoint, err}
			}
			if !sleep(ctx, retryPause) || notProposed && endsWithin(ctx, retryPause) {
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

// attemptContext returns the context of one attempt. That of a read ends after half of the time
// left, so that another member can respond if this one hangs.
func (c *Cluster) attemptContext(ctx context.Context, repeatable bool) (context.Context, context.CancelFunc) {
	deadline, bounded := ctx.Deadline()
	if !repeatable || !bounded || len(c.endpoints) == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

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
