package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/troupe-raft/troupe/internal/tlshandshake"
)

// TLSFiles names the files by which peers know each other. Authentication is mutual: a peer without a certificate of the same
// authority can neither be called nor call (E46).
type TLSFiles struct {
	// CertFile and KeyFile are this member's own. The certificate must be good for server and client authentication, and
	// name the host of the peer address. The files are read again when they have changed.
	CertFile, KeyFile string
	// CAFile holds the authorities whose certificates peers must have.
	CAFile string
}

// NewTLS reads the files and returns the configurations for calling and for being called. Whatever would keep two members
// with these files from talking is found here, not at the first connection.
func NewTLS(files TLSFiles) (client, server *tls.Config, err error) {
	if files.CertFile == "" || files.KeyFile == "" || files.CAFile == "" {
		return nil, nil, errors.New("peer TLS needs a certificate, its key and the authorities to trust: give all three files")
	}
	authorities, err := readAuthorities(files.CAFile)
	if err != nil {
		return nil, nil, err
	}
	own := &reloadedCertificate{files: files}
	loaded, err := own.current()
	if err != nil {
		return nil, nil, err
	}
	for _, usage := range []struct {
		of   string
		want x509.ExtKeyUsage
	}{{"server", x509.ExtKeyUsageServerAuth}, {"client", x509.ExtKeyUsageClientAuth}} {
		if err := verifyUsage(loaded, authorities, usage.want); err != nil {
			return nil, nil, fmt.Errorf("peer certificate %s is no good as a %s's for the authorities in %s: %w", files.CertFile, usage.of, files.CAFile, err)
		}
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    authorities,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return own.current()
		},
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientCAs:  authorities,
		ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return own.current()
		},
	}
	return client, server, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read peer authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("peer authorities in %s: no certificate in PEM form found", file)
	}
	return pool, nil
}

func verifyUsage(own *tls.Certificate, authorities *x509.CertPool, usage x509.ExtKeyUsage) error {
	intermediates := x509.NewCertPool()
	for _, raw := range own.Certificate[1:] {
		if c, err := x509.ParseCertificate(raw); err == nil {
			intermediates.AddCert(c)
		}
	}
	_, err := own.Leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// certificate is the own certificate, read again when its file has changed, so that it can be renewed without a restart.
type reloadedCertificate struct {
	files TLSFiles

	mu          sync.Mutex
	loaded      *tls.Certificate // guarded by mu
	fileModTime time.Time        // guarded by mu; of the file that loaded is from
	lastCheck   time.Time        // guarded by mu
}

// current returns the certificate to show. One that cannot be read any more, or only half was replaced, leaves the former.
func (c *reloadedCertificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.loaded != nil && now.Sub(c.lastCheck) < time.Second {
		return c.loaded, nil
	}
	c.lastCheck = now
	info, err := os.Stat(c.files.CertFile)
	if err == nil && c.loaded != nil && info.ModTime().Equal(c.fileModTime) {
		return c.loaded, nil
	}
	fresh, loadErr := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if loadErr != nil || err != nil {
		if c.loaded != nil {
			return c.loaded, nil
		}
		return nil, fmt.Errorf("peer certificate %s with key %s: %w", c.files.CertFile, c.files.KeyFile, errors.Join(loadErr, err))
	}
	c.loaded, c.fileModTime = &fresh, info.ModTime()
	return c.loaded, nil
}

// witnessed says in the log, once a reason, that no connection came about with a caller, and which side refused. gRPC
// keeps it to itself.
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
