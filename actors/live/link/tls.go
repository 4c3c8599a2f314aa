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

func (w *loggingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	connection, info, err := w.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		return connection, info, nil
	}
	failure := tlshandshake.Classify(err)
	if !w.link.failedTLSHandshakes.Allow(uint64(failure.RefusedBy), failure.Reason+failure.Subject) {
		return connection, info, err
	}
	line := failure.AddFields(w.link.log.Error(), raw.RemoteAddr())
	switch failure.RefusedBy {
	case tlshandshake.RemoteSide:
		line.Msg("the caller refused this member's certificate; members need certificates of the same authorities, which name the host of their peer URL")
	case tlshandshake.LocalSide:
		line.Msg("refused a connection: no TLS of a peer; peers need certificates of the authorities in this member's peer CA file, and https peer URLs")
	default:
		line.Msg("a caller hung up in the middle of the TLS handshake")
	}
	return connection, info, err
}

func (w *loggingCredentials) Clone() credentials.TransportCredentials {
	return &loggingCredentials{w.TransportCredentials.Clone(), w.link}
}
