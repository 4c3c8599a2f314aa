// Package certs loads what TLS needs from files, and says in one line what is wrong with them: which file, what about it,
// what to do. The errors of the standard library come after the connection failed, at the other end, and name no file.
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

// Error is a file that TLS cannot work with.
type Error struct {
	File   string
	What   string
	Advice string
}

func (e *Error) Error() string {
	line := e.File + ": " + e.What
	if e.Advice != "" {
		line += "; " + e.Advice
	}
	return line
}

// Protocol is which TLS is spoken. Zero values are Go's choice.
type Protocol struct {
	Lowest, Highest uint16
	CipherSuites    []uint16
}

func (p Protocol) config() *tls.Config {
	lowest := p.Lowest
	if lowest == 0 {
		lowest = tls.VersionTLS12
	}
	return &tls.Config{MinVersion: lowest, MaxVersion: p.Highest, CipherSuites: p.CipherSuites}
}

// Server is one side that is served under TLS: the client URLs or the peer URL.
type Server struct {
	Enabled           bool
	CertFile, KeyFile string
	// CAFile holds who signs the certificates of those who connect; AskClients makes them show one.
	CAFile     string
	AskClients bool
	// Auto makes a certificate in AutoDir for Hosts where no files are given. It encrypts and proves nothing: who
	// connects cannot check it.
	Auto      bool
	AutoDir   string
	AutoYears uint
	Hosts     []string
	Protocol  Protocol
	// Mutual: the certificate is shown both when called and when calling, to others that have the same CA, and who call
	// CalledAs, a host, which it must therefore name.
	Mutual   bool
	CalledAs string
}

// Listening makes the configuration of the listening side, having checked every file. Nil when TLS is not spoken.
//
// Certificate and key are read again whenever the files change: a renewed certificate is taken up by the next handshake,
// without a restart.
func (s Server) Listening() (*tls.Config, error) {
	if !s.Enabled {
		return nil, nil
	}
	pair, err := s.pair()
	if err != nil {
		return nil, err
	}
	config := s.Protocol.config()
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current() }
	config.NextProtos = []string{"h2", "http/1.1"}
	if s.AskClients && !s.Auto {
		if config.ClientCAs, err = Pool(s.CAFile); err != nil {
			return nil, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// Dialing makes the configuration with which a member connects to others that are set up the same way: it shows the
// same certificate that it serves with, and trusts the same CA. Nil when TLS is not spoken.
func (s Server) Dialing() (*tls.Config, error) {
	if !s.Enabled {
		return nil, nil
	}
	pair, err := s.pair()
	if err != nil {
		return nil, err
	}
	config := s.Protocol.config()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.current() }
	switch {
	case s.Auto:
		// Each member made its own certificate, so there is nothing to check it against.
		config.InsecureSkipVerify = true
	case s.CAFile != "":
		if config.RootCAs, err = Pool(s.CAFile); err != nil {
			return nil, err
		}
	}
	return config, nil
}

func (s Server) pair() (*pair, error) {
	certFile, keyFile := s.CertFile, s.KeyFile
	if s.Auto {
		var err error
		if certFile, keyFile, err = selfSigned(s.AutoDir, s.Hosts, s.AutoYears); err != nil {
			return nil, err
		}
	}
	pair, err := loadPair(certFile, keyFile)
	switch {
	case err != nil || s.Auto:
		return pair, err
	case !s.Mutual:
		return pair, s.canServe(pair.last.Leaf)
	}
	if s.CAFile != "" {
		err = s.convinces(pair.last)
	}
	if err == nil && s.CalledAs != "" {
		err = s.names(pair.last.Leaf)
	}
	return pair, err
}

// canServe refuses a certificate that says of itself that no client must take it from a server.
func (s Server) canServe(own *x509.Certificate) error {
	serves := func(u x509.ExtKeyUsage) bool { return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny }
	if len(own.ExtKeyUsage) == 0 && len(own.UnknownExtKeyUsage) == 0 || slices.ContainsFunc(own.ExtKeyUsage, serves) {
		return nil
	}
	return &Error{s.CertFile, "is not for server authentication, so that every client would refuse it", "have it signed for server authentication"}
}

// names sees to it that the certificate holds the host by which others call: they would hang up at once.
func (s Server) names(own *x509.Certificate) error {
	if own.VerifyHostname(s.CalledAs) == nil {
		return nil
	}
	held := slices.Clone(own.DNSNames)
	for _, ip := range own.IPAddresses {
		held = append(held, ip.String())
	}
	if len(held) == 0 {
		held = []string{"nobody"} // a common name alone counts for nothing any more
	}
	return &Error{s.CertFile, fmt.Sprintf("is for %s, and others call this member %s, so that they would all refuse it", strings.Join(held, ", "), s.CalledAs),
		"have that host among its alternative names"}
}

// convinces sees to it that members with the same files would let each other in: what is wrong is told here and once,
// rather than at each connection and at the other end.
func (s Server) convinces(own *tls.Certificate) error {
	authorities, err := Pool(s.CAFile)
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, raw := range own.Certificate[1:] {
		if one, err := x509.ParseCertificate(raw); err == nil {
			between.AddCert(one)
		}
	}
	for _, role := range []struct {
		name  string
		usage x509.ExtKeyUsage
	}{{"server", x509.ExtKeyUsageServerAuth}, {"client", x509.ExtKeyUsageClientAuth}} {
		_, err := own.Leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{role.usage}})
		if err != nil {
			return &Error{s.CertFile, fmt.Sprintf("is no good as a %s's for members that trust %s: %s", role.name, s.CAFile, strings.TrimPrefix(err.Error(), "x509: ")),
				"have it signed by that CA, for server and client authentication"}
		}
	}
	return nil
}

// Client is how a client command connects.
type Client struct {
	CAFile, CertFile, KeyFile string
	// SkipVerify takes any certificate of the server's.
	SkipVerify bool
}

// Config makes the configuration of a client. Without any file the system's CAs are trusted.
func (c Client) Config() (*tls.Config, error) {
	config := Protocol{}.config()
	config.InsecureSkipVerify = c.SkipVerify
	if c.CAFile != "" {
		pool, err := Pool(c.CAFile)
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
		pair, err := loadPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.current() }
	}
	return config, nil
}

// Pool reads the CAs of a file.
func Pool(file string) (*x509.CertPool, error) {
	found, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, one := range found {
		if !one.IsCA {
			return nil, &Error{file, fmt.Sprintf("holds %q, which is not a CA", one.Subject), "name the certificate of the CA that signed the others"}
		}
		pool.AddCert(one)
	}
	return pool, nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{file, "holds a certificate that cannot be read: " + err.Error(), ""}
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, &Error{file, "holds no certificate", "it must be PEM, with -----BEGIN CERTIFICATE-----"}
	}
	return found, nil
}

func read(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, &Error{file, "does not exist", "check the path"}
	case errors.Is(err, os.ErrPermission):
		return nil, &Error{file, "may not be read by this user", "change its owner or mode"}
	case err != nil:
		return nil, &Error{file, "cannot be read: " + err.Error(), ""}
	}
	return text, nil
}

// inForce sees to it that a certificate is neither expired nor of the future.
func inForce(file string, c *x509.Certificate) error {
	now := time.Now()
	if now.After(c.NotAfter) {
		return &Error{file, "expired on " + c.NotAfter.UTC().Format(time.DateTime) + " UTC", "renew it"}
	}
	if now.Before(c.NotBefore) {
		return &Error{file, "is not valid before " + c.NotBefore.UTC().Format(time.DateTime) + " UTC", "check this machine's clock"}
	}
	return nil
}
