package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// listeners are the open listeners of a server with their TLS configurations.
type listeners struct {
	clients []net.Listener // without TLS: the services add it and choose the protocol in its handshake
	metrics []net.Listener // with TLS
	peers   []net.Listener // without TLS: the link adds it

	opened []openedURL // all of these, for errors

	clientTLS                    *tls.Config
	peerServerTLS, peerClientTLS *tls.Config
}

// openedURL is a URL that this server listens on, and its flag.
type openedURL struct {
	setting string
	url     settings.URL
}

// conflicting returns the URL that this server listens on already and that prevents it from
// listening on u too, or nil if another process does.
func (l *listeners) conflicting(u settings.URL) *openedURL {
	for i, o := range l.opened {
		if o.url.Unix() || u.Unix() {
			if o.url.Unix() && u.Unix() && o.url.Address == u.Address {
				return &l.opened[i]
			}
			continue
		}
		a, err := net.ResolveTCPAddr("tcp", o.url.Address)
		b, other := net.ResolveTCPAddr("tcp", u.Address)
		if err != nil || other != nil || a.Port != b.Port {
			continue
		}
		if a.IP.Equal(b.IP) || o.url.Wildcard() || u.Wildcard() {
			return &l.opened[i]
		}
	}
	return nil
}

func (l *listeners) close() {
	for _, listener := range slices.Concat(l.clients, l.metrics, l.peers) {
		_ = listener.Close()
	}
}

// listen loads the certificates and opens the listeners. Its errors have exit codes.
func (v *server) listen() (_ *listeners, err error) {
	s, l := v.settings, &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	s.ClientTLS.Changed, s.PeerTLS.Changed = v.logCertificate, v.logCertificate
	secured, err := s.ClientTLS.ServerConfig()
	if err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	if s.ListenClient[0].Secure() { // then all client URLs are; secured may be for the metrics alone
		l.clientTLS = secured
	}
	if l.peerServerTLS, err = s.PeerTLS.ServerConfig(); err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	if l.peerClientTLS, err = s.PeerTLS.ClientConfig(); err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	for _, u := range s.ListenClient {
		if err := l.listen(&l.clients, "--listen-client-urls", u, nil); err != nil {
			return nil, err
		}
	}
	for _, u := range s.ListenMetrics {
		var config *tls.Config
		if u.Secure() {
			config = secured.Clone()
			config.NextProtos = []string{"http/1.1"}
		}
		if err := l.listen(&l.metrics, "--listen-metrics-urls", u, config); err != nil {
			return nil, err
		}
	}
	for _, u := range s.ListenPeer {
		if err := l.listen(&l.peers, "--listen-peer-urls", u, nil); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// logCertificate logs that the files of a certificate have changed. Without the warning a renewal
// that failed would show when the previous certificate expires.
func (v *server) logCertificate(certFile string, loaded *tls.Certificate, err error) {
	if err != nil {
		v.log.Warn().Err(err).Str("file", certFile).Str("advice", "correct the certificate and its key, their owner or mode; each handshake reads them again").
			Msg("changed certificate cannot be used, the previous one stays in use")
		return
	}
	v.log.Info().Str("file", certFile).Time("valid_until", loaded.Leaf.NotAfter).Msg("changed certificate is in use")
}

// listen opens a listener, adds TLS unless config is nil, and appends it to list.
func (l *listeners) listen(list *[]net.Listener, setting string, u settings.URL, config *tls.Config) error {
	network := "tcp"
	if u.Unix() {
		network = "unix"
		removeStale(u.Address)
	}
	listener, err := net.Listen(network, u.Address)
	if err == nil && config != nil {
		listener = tls.NewListener(listener, config)
	}
	switch {
	case err == nil:
		*list, l.opened = append(*list, listener), append(l.opened, openedURL{setting, u})
		return nil
	case errors.Is(err, syscall.EADDRINUSE) && l.conflicting(u) != nil:
		other := l.conflicting(u)
		err = fmt.Errorf("%s: %s: this server listens there already, for %s of %s; give each an address or a port of its own",
			setting, u, other.url, other.setting)
	case errors.Is(err, syscall.EADDRINUSE):
		err = fmt.Errorf("%s: %s: address already in use; stop the process that uses it, or choose another port", setting, u)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = fmt.Errorf("%s: %s is not an address of this machine; name one that is, or 0.0.0.0 for all of them", setting, u)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%s: this user may not listen on %s; choose a port from 1024 on, or another path", setting, u)
	default:
		err = fmt.Errorf("%s: cannot listen on %s: %w", setting, u, err)
	}
	return exit.With(exit.Address, err)
}

// removeStale removes the Unix socket of a process that has ended. If a process accepts connections
// on the socket, it stays, and the address is in use.
func removeStale(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return
	}
	_ = os.Remove(path)
}
