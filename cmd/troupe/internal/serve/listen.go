package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// listeners are the addresses that the server has, and the TLS that is spoken on them.
type listeners struct {
	clients []net.Listener // TLS is up to the services: they choose by what is offered in its handshake
	metrics []net.Listener // TLS is inside
	peers   []net.Listener // TLS is up to the link

	clientTLS                    *tls.Config
	peerServerTLS, peerClientTLS *tls.Config
}

func (l *listeners) close() {
	for _, some := range [][]net.Listener{l.clients, l.metrics, l.peers} {
		for _, one := range some {
			_ = one.Close()
		}
	}
}

// listen loads the certificates and takes the addresses.
func (v *server) listen() (_ *listeners, err error) {
	s, l := v.settings, &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	secured, err := s.ClientTLS.ServerConfig()
	if err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	if s.ListenClient[0].Secure() { // and so are the others; the metrics may be it alone
		l.clientTLS = secured
	}
	if l.peerServerTLS, err = s.PeerTLS.ServerConfig(); err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	if l.peerClientTLS, err = s.PeerTLS.ClientConfig(); err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	for _, u := range s.ListenClient {
		one, err := listen("--listen-client-urls", u)
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, one)
	}
	for _, u := range s.ListenMetrics {
		one, err := listen("--listen-metrics-urls", u)
		if err != nil {
			return nil, err
		}
		if u.Secure() {
			config := secured.Clone()
			config.NextProtos = []string{"http/1.1"}
			one = tls.NewListener(one, config)
		}
		l.metrics = append(l.metrics, one)
	}
	for _, u := range s.ListenPeer {
		one, err := listen("--listen-peer-urls", u)
		if err != nil {
			return nil, err
		}
		l.peers = append(l.peers, one)
	}
	return l, nil
}

func listen(setting string, u settings.URL) (net.Listener, error) {
	network := "tcp"
	if u.Unix() {
		network = "unix"
		removeStale(u.Address)
	}
	l, err := net.Listen(network, u.Address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		err = fmt.Errorf("%s: %s: address already in use; stop the process that has it, or choose another port", setting, u)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = fmt.Errorf("%s: %s is no address of this machine; name one that is, or 0.0.0.0 for all of them", setting, u)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%s: %s may not be listened on by this user; choose a port from 1024 on, or another path", setting, u)
	default:
		err = fmt.Errorf("%s: cannot listen on %s: %w", setting, u, err)
	}
	return nil, exit.With(exit.Address, err)
}

// removeStale removes the socket of a process that is gone: nobody answers on it. One that is answered stays, and the
// address counts as in use.
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

func hasIdentity(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, "identity.json"))
	return err == nil
}
