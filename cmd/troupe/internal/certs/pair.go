package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"sync"
	"time"
)

// pair is a certificate with its key, kept up to date with its files. A renewal that went wrong (half written, not
// matching) leaves the last good one in use: a server that works does not stop over files.
type pair struct {
	certFile, keyFile string

	mu      sync.Mutex
	last    *tls.Certificate
	changed [2]time.Time // when the two files last changed
}

func loadPair(certFile, keyFile string) (*pair, error) {
	p := &pair{certFile: certFile, keyFile: keyFile, changed: stamps(certFile, keyFile)}
	one, err := load(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	p.last = one
	return p, nil
}

func (p *pair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := stamps(p.certFile, p.keyFile); now != p.changed {
		if renewed, err := load(p.certFile, p.keyFile); err == nil {
			p.last, p.changed = renewed, now
		}
	}
	return p.last, nil
}

func stamps(files ...string) (at [2]time.Time) {
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			at[i] = info.ModTime()
		}
	}
	return at
}

func load(certFile, keyFile string) (*tls.Certificate, error) {
	found, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	if err := inForce(certFile, found[0]); err != nil {
		return nil, err
	}
	certText, err := read(certFile)
	if err != nil {
		return nil, err
	}
	keyText, err := read(keyFile)
	if err != nil {
		return nil, err
	}
	one, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, explain(certFile, keyFile, err)
	}
	if one.Leaf == nil {
		one.Leaf, _ = x509.ParseCertificate(one.Certificate[0])
	}
	return &one, nil
}

// explain puts what tls.X509KeyPair found into words that name the file at fault.
func explain(certFile, keyFile string, err error) error {
	text := strings.TrimPrefix(err.Error(), "tls: ")
	switch {
	case strings.Contains(text, "does not match") || strings.Contains(text, "type does not match"):
		return &Error{keyFile, "is not the key of the certificate in " + certFile, "name the two files that were made together"}
	case strings.Contains(text, "PEM") || strings.Contains(text, "private key"):
		return &Error{keyFile, "holds no private key that can be read", "it must be PEM and not encrypted with a password"}
	}
	return &Error{certFile, "cannot be used: " + text, ""}
}
