package troupe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/link"
	"github.com/troupe-raft/troupe/actors/live/protoremote"
	"github.com/troupe-raft/troupe/internal/certs"
	"github.com/troupe-raft/troupe/persistence"
)

// PeerLink configures the connections to members in other processes.
type PeerLink struct {
	// Listeners accept the connections of peers. There must be at least one. The node closes them.
	Listeners []net.Listener
	// ServerTLS and ClientTLS make peers authenticate each other; PeerTLS makes both. If both are nil,
	// connections are plaintext.
	ServerTLS *tls.Config
	ClientTLS *tls.Config
	// AllowPlaintext permits plaintext on a listener that other hosts can reach. Then everybody who
	// reaches the port can act as a member.
	AllowPlaintext bool
	// MaxConnections bounds the connections that peers and others may have open to the listeners
	// together. Default 128. Each peer needs one, and a second one while it connects again.
	MaxConnections int
	// ProtoRemote uses Proto.Actor's own remote instead of the peer link. It is experimental, and all
	// members must use the same (docs/messages.md).
	ProtoRemote bool
}

// close closes the listeners, after a start that failed. One that is closed already is no error:
// the link closes its own.
func (p *PeerLink) close() error {
	if p == nil {
		return nil
	}
	var failed error
	for _, l := range p.Listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// PeerTLS returns the two TLS configurations of PeerLink from files in PEM: a certificate that is
// valid for server and client authentication, its key, and the authorities that sign the peers'
// certificates. Authentication is mutual (E46). Files that cannot work are reported here; the
// certificate and its key are read again when they change.
func PeerTLS(certFile, keyFile, caFile string) (client, server *tls.Config, err error) {
	return certs.Peer(certFile, keyFile, caFile)
}

// newPeerLink makes the connections to the peers that the configuration asks for.
func newPeerLink(config *Config, identity persistence.Identity) (live.PeerLink, error) {
	switch peers := config.PeerLink; {
	case config.Network != nil:
		return config.Network.local.Link(), nil
	case peers.ProtoRemote:
		return newProtoRemoteLink(peers, identity)
	default:
		return link.New(link.Options{
			Listeners: peers.Listeners, ClusterID: identity.ClusterID,
			Software: softwareName, ClientTLS: peers.ClientTLS, ServerTLS: peers.ServerTLS,
			AllowPlaintext: peers.AllowPlaintext, MaxConnections: peers.MaxConnections,
			MaxCommandBytes: config.Limits.MaxRequestBytes,
		})
	}
}

// newProtoRemoteLink closes the listener and gives its address to Proto.Actor's remote, which opens
// its own listener.
func newProtoRemoteLink(peers *PeerLink, identity persistence.Identity) (live.PeerLink, error) {
	if len(peers.Listeners) != 1 {
		return nil, errors.New("troupe: Proto.Actor's remote listens on one address: give Config.PeerLink exactly one listener")
	}
	listener := peers.Listeners[0]
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("troupe: Proto.Actor's remote listens on TCP only, not on %v", listener.Addr())
	}
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("troupe: giving the peer address to Proto.Actor's remote: %w", err)
	}
	return protoremote.New(protoremote.Options{
		Host: address.IP.String(), Port: address.Port, ClusterID: identity.ClusterID,
		Software:  softwareName,
		ClientTLS: peers.ClientTLS, ServerTLS: peers.ServerTLS, MaxConnections: peers.MaxConnections,
	})
}
