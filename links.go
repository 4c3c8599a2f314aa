package troupe

import (
	"crypto/tls"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/link"
	"github.com/troupe-raft/troupe/persistence"
)

// PeerTLS makes the two TLS configurations of Peers from files in PEM: a certificate that serves both as a server's and
// as a client's, its key, and the authorities by which peers are known.
func PeerTLS(certFile, keyFile, caFile string) (client, server *tls.Config, err error) {
	return link.NewTLS(link.TLS{CertFile: certFile, KeyFile: keyFile, CAFile: caFile})
}

// newLink makes what joins the node to its peers.
func newLink(config *Config, identity persistence.Identity) (live.Link, error) {
	if config.Network != nil {
		return config.Network.Link(), nil
	}
	return link.New(link.Options{
		Listeners: config.Peers.Listeners, ClusterID: identity.ClusterID, StorageID: identity.StorageID[:], Software: createdBy,
		ClientTLS: config.Peers.ClientTLS, ServerTLS: config.Peers.ServerTLS, AllowPlaintext: config.Peers.AllowPlaintext,
	})
}
