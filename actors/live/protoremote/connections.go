package protoremote

import (
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/troupe-raft/troupe/internal/connlimit"
)

// limitedCredentials bounds how many connections the remote has open. Proto.Actor opens its
// listener itself, so a connection can be counted and refused only where gRPC hands it to the
// transport's credentials, right after it was accepted and before anything is read from it.
type limitedCredentials struct {
	credentials.TransportCredentials
	limiter *connlimit.Limiter
}

var errTooManyConnections = errors.New("too many connections are open")

// ServerHandshake implements credentials.TransportCredentials.
func (c *limitedCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	admitted := c.limiter.Admit(raw)
	if admitted == nil {
		return nil, nil, errTooManyConnections
	}
	conn, info, err := c.TransportCredentials.ServerHandshake(admitted)
	if err != nil {
		_ = admitted.Close() // gRPC closes raw, which does not count
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (c *limitedCredentials) Clone() credentials.TransportCredentials {
	return &limitedCredentials{c.TransportCredentials.Clone(), c.limiter}
}

func (l *Link) rejectConnection(from net.Addr) {
	if rejected, allow := l.rejected.Add(); allow {
		l.log.Error().Stringer("remote", from).Uint64("rejected", rejected).Int("limit", l.options.MaxConnections).
			Str("advice", "each peer needs one connection; keep other clients away from the peer port").
			Msg("peer connection limit reached")
	}
}

// RejectedConnections counts the connections that were closed because too many were open.
func (l *Link) RejectedConnections() uint64 { return l.rejected.Count() }
