// Package certs makes TLS configurations from files. It checks every file at the start and reports
// a fault in one line that names the file, the fault and the remedy. Without these checks the fault
// would show as a failed handshake, often only at the other end, in an error that names no file.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Error reports a file that cannot be used for TLS.
type Error struct {
	File    string
	Problem string
	Advice  string
}

func (e *Error) Error() string {
	line := e.File + ": " + e.Problem
	if e.Advice != "" {
		line += "; " + e.Advice
	}
	return line
}

// Protocol limits the TLS versions (as in crypto/tls; MinVersion 0 means TLS 1.2, MaxVersion 0
// means the newest) and the cipher suites. An empty list of cipher suites means Go's default.
type Protocol struct {
	MinVersion, MaxVersion uint16
	CipherSuites           []uint16
}

func (p Protocol) config() *tls.Config {
	lowest := p.MinVersion
	if lowest == 0 {
		lowest = tls.VersionTLS12
	}
	return &tls.Config{MinVersion: lowest, MaxVersion: p.MaxVersion, CipherSuites: p.CipherSuites}
}

// Server describes one set of URLs that is served with TLS: those of the clients, or those of the
// peers.
type Server struct {
	// Enabled false means plaintext: ServerConfig and ClientConfig return nil.
	Enabled bool
	// CertFile and KeyFile hold the certificate and its key, in PEM.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile hold the certificate that ClientConfig presents. Empty means
	// CertFile and KeyFile.
	ClientCertFile, ClientKeyFile string
	// CAFile holds the authorities that sign the other side's certificates.
	CAFile string
	// RequireClientCert refuses connections without a certificate signed by an authority of CAFile.
	RequireClientCert bool
	// SelfSigned makes a certificate for Hosts in SelfSignedDir, valid for SelfSignedYears (0 means
	// 1), where no files are given. It encrypts and does not authenticate.
	SelfSigned      bool
	SelfSignedDir   string
	SelfSignedYears uint
	Hosts           []string
	Protocol        Protocol
	// Mutual means that the certificates authenticate this side as a server and as a client, to
	// members that have the same CAFile.
	Mutual bool
	// AdvertisedHost is the host name or address under which the other members connect. Where it is
	// not empty, the certificate must name it.
	AdvertisedHost string

	// Changed is called in a handshake after a certificate or its key has changed on the disk: with
	// the certificate that is in use from then on, or with the *Error for which the previous one stays
	// in use. It may be nil.
	Changed func(certFile string, loaded *tls.Certificate, err error)

	// pinned accepts certificates in CAFile that are not a CA's: each admits its owner alone.
	pinned bool
}

// ServerConfig checks the files and returns the configuration for accepting connections, or nil if
// TLS is not enabled. An error about a file is an *Error.
//
// The configuration reads certificate and key again when one of the two files changes, so that a
// renewed certificate is used from the next handshake on.
func (s Server) ServerConfig() (*tls.Config, error) {
	if !s.Enabled {
		return nil, nil
	}
	pair, err := s.load()
	if err != nil {
		return nil, err
	}
	config := s.Protocol.config()
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current() }
	config.NextProtos = []string{"h2", "http/1.1"}
	if s.RequireClientCert && !s.SelfSigned {
		if config.ClientCAs, err = loadPool(s.CAFile, s.pinned); err != nil {
			return nil, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// Peer returns the client and server configurations for links between members, with mutual
// authentication: each side needs a certificate of the same authorities (E46). The certificate must
// be valid for server and client authentication. caFile may also hold the peers' own certificates,
// without an authority. An error about a file is an *Error.
func Peer(certFile, keyFile, caFile string) (client, server *tls.Config, err error) {
	if certFile == "" || keyFile == "" || caFile == "" {
		return nil, nil, errors.New("peer TLS needs three files: a certificate, its key and the authorities to trust")
	}
	s := Server{
		Enabled: true, CertFile: certFile, KeyFile: keyFile, CAFile: caFile,
		RequireClientCert: true, Mutual: true, pinned: true,
	}
	if client, err = s.ClientConfig(); err != nil {
		return nil, nil, err
	}
	server, err = s.ServerConfig()
	return client, server, err
}

// ClientConfig checks the files and returns the configuration with which a member connects to other
// members: it presents the certificate of ClientCertFile, or else that of ServerConfig, and trusts
// the authorities of CAFile. It returns nil if TLS is not enabled. An error about a file is an
// *Error.
func (s Server) ClientConfig() (*tls.Config, error) {
	if !s.Enabled {
		return nil, nil
	}
	load := Server.loadClient
	if s.ClientCertFile == "" || s.SelfSigned {
		load, s.Changed = Server.load, nil // the reloader of ServerConfig reports the same files
	}
	pair, err := load(s)
	if err != nil {
		return nil, err
	}
	config := s.Protocol.config()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.current() }
	switch {
	case s.SelfSigned:
		// Each member makes its own certificate: no authority could vouch for it.
		config.InsecureSkipVerify = true
	case s.CAFile != "":
		if config.RootCAs, err = loadPool(s.CAFile, s.pinned); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// load returns the reloader of the files, after the checks that apply to this side.
func (s Server) load() (*reloader, error) {
	certFile, keyFile := s.CertFile, s.KeyFile
	if s.SelfSigned {
		var err error
		if certFile, keyFile, err = loadOrMakeSelfSigned(s.SelfSignedDir, s.Hosts, s.SelfSignedYears); err != nil {
			return nil, err
		}
	}
	pair, err := newReloader(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	pair.changed = s.Changed
	switch {
	case s.SelfSigned:
		return pair, nil
	case !s.Mutual:
		return pair, s.checkServerUsage(pair.loaded.Leaf)
	}
	if s.CAFile != "" {
		roles := []certificateRole{serverRole, clientRole}
		if s.ClientCertFile != "" {
			roles = roles[:1]
		}
		err = s.checkTrusted(s.CertFile, pair.loaded, roles...)
	}
	if err == nil && s.AdvertisedHost != "" {
		err = s.checkHost(pair.loaded.Leaf)
	}
	return pair, err
}

// loadClient returns the reloader of ClientCertFile and ClientKeyFile.
func (s Server) loadClient() (*reloader, error) {
	pair, err := newReloader(s.ClientCertFile, s.ClientKeyFile)
	if err != nil {
		return nil, err
	}
	pair.changed = s.Changed
	if s.CAFile != "" {
		err = s.checkTrusted(s.ClientCertFile, pair.loaded, clientRole)
	}
	return pair, err
}

// checkServerUsage rejects a certificate whose extended key usage excludes server authentication.
func (s Server) checkServerUsage(own *x509.Certificate) error {
	serves := func(u x509.ExtKeyUsage) bool { return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny }
	if len(own.ExtKeyUsage) == 0 && len(own.UnknownExtKeyUsage) == 0 || slices.ContainsFunc(own.ExtKeyUsage, serves) {
		return nil
	}
	return &Error{s.CertFile, "is not valid for server authentication: every client would refuse it",
		"request a certificate for server authentication"}
}

// checkHost rejects a certificate that does not name the host under which members connect.
func (s Server) checkHost(own *x509.Certificate) error {
	if own.VerifyHostname(s.AdvertisedHost) == nil {
		return nil
	}
	names := slices.Clone(own.DNSNames)
	for _, ip := range own.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"no host"} // clients ignore the common name
	}
	return &Error{s.CertFile,
		fmt.Sprintf("is for %s, but members connect to %s: they would refuse it",
			strings.Join(names, ", "), s.AdvertisedHost),
		"add that host to its subject alternative names"}
}

// certificateRole is what a certificate authenticates.
type certificateRole struct {
	name  string
	usage x509.ExtKeyUsage
}

var (
	serverRole = certificateRole{"server", x509.ExtKeyUsageServerAuth}
	clientRole = certificateRole{"client", x509.ExtKeyUsageClientAuth}
)

// checkTrusted rejects a certificate that members with the same CAFile would refuse in one of the
// roles.
func (s Server) checkTrusted(file string, own *tls.Certificate, roles ...certificateRole) error {
	authorities, err := loadPool(s.CAFile, s.pinned)
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, raw := range own.Certificate[1:] {
		if certificate, err := x509.ParseCertificate(raw); err == nil {
			intermediates.AddCert(certificate)
		}
	}
	for _, role := range roles {
		_, err := own.Leaf.Verify(x509.VerifyOptions{
			Roots: authorities, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{role.usage},
		})
		if err != nil {
			return &Error{file,
				fmt.Sprintf("is not valid as a %s certificate for members that trust %s: %s",
					role.name, s.CAFile, strings.TrimPrefix(err.Error(), "x509: ")),
				"have it signed by that CA, for " + rolesText(roles) + " authentication"}
		}
	}
	return nil
}

func rolesText(roles []certificateRole) string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = role.name
	}
	return strings.Join(names, " and ")
}

// Client describes how a command connects to a server. All files are optional.
type Client struct {
	CAFile, CertFile, KeyFile string
	// SkipVerify accepts any certificate of the server.
	SkipVerify bool
}

// Config checks the files and returns the configuration. Without a CAFile the authorities of the
// operating system are trusted.
func (c Client) Config() (*tls.Config, error) {
	config := Protocol{}.config()
	config.InsecureSkipVerify = c.SkipVerify
	if c.CAFile != "" {
		pool, err := loadPool(c.CAFile, false)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	switch {
	case c.CertFile == "" && c.KeyFile == "":
	case c.CertFile == "":
		return nil, &Error{c.KeyFile, "is a key without a certificate", "name the certificate with --cert"}
	case c.KeyFile == "":
		return nil, &Error{c.CertFile, "is a certificate without a key", "name the key with --key"}
	default:
		pair, err := newReloader(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.current() }
	}
	return config, nil
}

// loadPool reads the certificates of authorities from a PEM file. pinned accepts other certificates
// too.
func loadPool(file string, pinned bool) (*x509.CertPool, error) {
	certificates, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		if !certificate.IsCA && !pinned {
			return nil, &Error{file, fmt.Sprintf("holds %q, which is not a CA", certificate.Subject),
				"name the file with the CA that signed the certificates"}
		}
		pool.AddCert(certificate)
	}
	return pool, nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{file, "holds a certificate that cannot be parsed: " + err.Error(), ""}
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, &Error{file, "holds no certificate", "it must be PEM, with -----BEGIN CERTIFICATE-----"}
	}
	return certificates, nil
}

func readFile(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, &Error{file, "does not exist", "check the path"}
	case errors.Is(err, os.ErrPermission):
		return nil, &Error{file, "cannot be read by this user", "change its owner or mode"}
	case err != nil:
		return nil, &Error{file, "cannot be read: " + err.Error(), ""}
	}
	return text, nil
}

// checkValidity rejects a certificate outside its period of validity.
func checkValidity(file string, c *x509.Certificate) error {
	now := time.Now()
	if now.After(c.NotAfter) {
		return &Error{file, "expired on " + c.NotAfter.UTC().Format(time.DateTime) + " UTC", "renew it"}
	}
	if now.Before(c.NotBefore) {
		return &Error{file, "is not valid before " + c.NotBefore.UTC().Format(time.DateTime) + " UTC", "check this machine's clock"}
	}
	return nil
}
