package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

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
			if state == connectivity.TransientFailure {
				return nil, fmt.Errorf("%s: %w", e, unsuitable("the server there speaks no gRPC; name a client URL of a member in --endpoints"))
			}
			return nil, fmt.Errorf("%s: no connection within %v", e, time.Since(began).Round(time.Millisecond))
		}
	}
	return &connection{conn, e}, nil
}

// leaderCheckTimeout limits the request of ownStatus.
const leaderCheckTimeout = 500 * time.Millisecond

// ownStatus requests the status of the connection's member, also when ctx has ended, and without
// the metadata of ctx: one that requires a leader is refused without one.
func (c *connection) ownStatus(ctx context.Context) (*pb.StatusResponse, error) {
	ctx = metadata.NewOutgoingContext(context.WithoutCancel(ctx), metadata.MD{})
	ctx, cancel := context.WithTimeout(ctx, leaderCheckTimeout)
	defer cancel()
	return pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{})
}

// timeoutError returns the error of a call that got no response in time. It asks the member for its
// status to find out whether it has no leader: such a member waits for a leader, for some seconds,
// so that its own error may arrive too late, and does not say so.
func (c *connection) timeoutError(ctx context.Context) error {
	if response, err := c.ownStatus(ctx); err == nil && response.GetLeader() == 0 {
		return status.Error(codes.Unavailable, noLeader)
	}
	return status.FromContextError(context.DeadlineExceeded).Err()
}

// explainNoLeader adds the connection's member to those that know no leader, with the reason if the
// member reports one. Each member is asked for it once.
func (c *connection) explainNoLeader(ctx context.Context, e *NoLeaderError) {
	if slices.Contains(e.Asked, c.endpoint) {
		return
	}
	response, err := c.ownStatus(ctx)
	if e.add(c.endpoint); err == nil {
		e.addStatus(c.endpoint, response)
	}
}
