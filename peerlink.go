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

// PeerTLS returns the two TLS configurations of PeerLink from files in PEM: a certificate that is
// valid for server and client authentication, its key, and the authorities that sign the peers'
// certificates. Authentication is mutual (E46). Files that cannot work are reported here; the
// certificate and its key are read again when they change.
func PeerTLS(certFile, keyFile, caFile string) (client, server *tls.Config, err error) {
	return certs.Peer(certFile, keyFile, caFile)
}

// newPeerLink makes what joins the node to its peers.
func newPeerLink(config *Config, identity persistence.Identity) (live.PeerLink, error) {
	if config.Network != nil {
		return config.Network.Link(), nil
	}
	if config.PeerLink.ProtoRemote {
		return newProtoRemoteLink(config, identity)
	}
	return link.New(link.Options{
		Listeners: config.PeerLink.Listeners, ClusterID: identity.ClusterID, StorageID: identity.StorageID[:], Software: softwareName,
		ClientTLS: config.PeerLink.ClientTLS, ServerTLS: config.PeerLink.ServerTLS, AllowPlaintext: config.PeerLink.AllowPlaintext,
	})
}

// newProtoRemoteLink hands the listener's address over to Proto.Actor's remote, which only listens for itself.
func newProtoRemoteLink(config *Config, identity persistence.Identity) (live.PeerLink, error) {
	if len(config.PeerLink.Listeners) != 1 {
		return nil, errors.New("troupe: Proto.Actor's remote listens on one address: give Config.Peers exactly one listener")
	}
	listener := config.PeerLink.Listeners[0]
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("troupe: Proto.Actor's remote listens on TCP only, not on %v", listener.Addr())
	}
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("troupe: giving the peer address to Proto.Actor's remote: %w", err)
	}
	return protoremote.New(protoremote.Options{
		Host: address.IP.String(), Port: address.Port, ClusterID: identity.ClusterID, StorageID: identity.StorageID[:],
		Software: softwareName, ClientTLS: config.PeerLink.ClientTLS, ServerTLS: config.PeerLink.ServerTLS,
	})
}
