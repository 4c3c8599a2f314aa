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

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
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

// Read makes a call that changes nothing, and that a member without a leader can serve. It is
// repeated at the next endpoint when it fails.
func (c *Cluster) Read(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(ctx, true, call)
}

// ReadWithLeader is Read for a call that needs a leader. A member that knows none refuses it at
// once, and the next endpoint is tried.
func (c *Cluster) ReadWithLeader(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(requireLeader(ctx), true, call)
}

// Write makes a call that is sent once, unless a member answers that it has not proposed it or
// knows no leader: then it is sent to the next endpoint.
func (c *Cluster) Write(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	return c.do(requireLeader(ctx), false, call)
}

// requireLeader adds the metadata by which a member that knows no leader refuses a call at once. It
// would wait for one otherwise, longer than most clients do.
func requireLeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}

func (c *Cluster) do(ctx context.Context, repeatable bool, call func(context.Context, grpc.ClientConnInterface) error) error {
	var earlier error // of an earlier attempt that reached a member
	leaderless := &NoLeaderError{}
	for attempts := 1; ; attempts++ {
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
		notProposed := isNoLeader(err) || !attemptOver && isNotProposed(ctx, err)
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) && (attemptOver || status.Code(err) == codes.DeadlineExceeded) && !isNoLeader(err) {
			err = conn.timeoutError(ctx)
		}
		switch {
		case err == nil:
			return nil
		case notProposed || repeatable && (isBroken(err) || attemptOver):
			// This member ended, hangs or has no leader. Another member may respond, or this one later.
			if isNoLeader(err) {
				conn.explainNoLeader(ctx, leaderless)
				earlier = leaderless
			} else if earlier == nil || status.Code(err) != codes.DeadlineExceeded {
				earlier = &TimeoutError{conn.endpoint, err} // an earlier error says more than a timeout
			}
			c.drop(conn)
			tried := attempts%len(c.endpoints) == 0 // all, since the last pause
			if ctx.Err() != nil || tried && !sleep(ctx, retryPause) || notProposed && endsWithin(ctx, retryPause) {
				return earlier
			}
		case isBroken(err) || attemptOver:
			c.drop(conn)
			return &UnknownOutcomeError{conn.endpoint, err}
		default:
			return &RefusedError{conn.endpoint.String(), err}
		}
	}
}

// attemptContext returns the context of one attempt. That of a read, or to connect, ends after half
// of the time left, so that another member can respond if this one hangs.
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
			attempt, cancel := c.attemptContext(ctx, true)
			conn, err := dial(attempt, c.endpoints[i], c.tls)
			attemptOver := attempt.Err() != nil
			cancel()
			if err == nil {
				c.conn = conn
				return conn, nil
			}
			failed.add(i, err, attemptOver)
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
