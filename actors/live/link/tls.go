package link

import (
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/troupe-raft/troupe/internal/tlshandshake"
)

// loggingCredentials logs failed TLS handshakes of incoming connections, each distinct reason once,
// with the side that refused. gRPC itself does not report them.
type loggingCredentials struct {
	credentials.TransportCredentials
	link *Link
}

func (c *loggingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	connection, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		return connection, info, nil
	}
	failure := tlshandshake.Classify(err)
	if !c.link.failedTLSHandshakes.Allow(uint64(failure.RefusedBy), failure.Reason+failure.Subject) {
		return connection, info, err
	}
	event := failure.AddFields(c.link.log.Error(), raw.RemoteAddr())
	switch failure.RefusedBy {
	case tlshandshake.RemoteSide:
		event.Str("advice", "members need certificates of the same authorities, which name the host of their peer URL").
			Msg("peer refused this member's certificate")
	case tlshandshake.LocalSide:
		event.Str("advice", "peers need https peer URLs, and certificates signed by this member's peer CA file").
			Msg("peer TLS handshake failed")
	default:
		event.Msg("peer closed the connection during the TLS handshake")
	}
	return connection, info, err
}

func (c *loggingCredentials) Clone() credentials.TransportCredentials {
	return &loggingCredentials{c.TransportCredentials.Clone(), c.link}
}
