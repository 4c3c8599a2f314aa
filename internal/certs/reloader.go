package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"sync"
	"time"
)

// reloader holds a certificate with its key and reads them again when a file changes. Where the
// changed files cannot be used (half written, not matching), the previous certificate stays in use.
type reloader struct {
	certFile, keyFile string

	mu       sync.Mutex
	loaded   *tls.Certificate
	modTimes [2]time.Time // modification times of the files of loaded
}

func newReloader(certFile, keyFile string) (*reloader, error) {
	p := &reloader{certFile: certFile, keyFile: keyFile, modTimes: modTimes(certFile, keyFile)}
	one, err := loadKeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	p.loaded = one
	return p, nil
}

func (p *reloader) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := modTimes(p.certFile, p.keyFile); now != p.modTimes {
		if renewed, err := loadKeyPair(p.certFile, p.keyFile); err == nil {
			p.loaded, p.modTimes = renewed, now
		}
	}
	return p.loaded, nil
}

func modTimes(files ...string) (at [2]time.Time) {
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			at[i] = info.ModTime()
		}
	}
	return at
}

func loadKeyPair(certFile, keyFile string) (*tls.Certificate, error) {
	found, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	if err := checkValidity(certFile, found[0]); err != nil {
		return nil, err
	}
	certText, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	keyText, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	one, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, describeKeyPairError(certFile, keyFile, err)
	}
	if one.Leaf == nil {
		one.Leaf, _ = x509.ParseCertificate(one.Certificate[0])
	}
	return &one, nil
}

// describeKeyPairError names the file at fault for an error of tls.X509KeyPair.
func describeKeyPairError(certFile, keyFile string, err error) error {
	text := strings.TrimPrefix(err.Error(), "tls: ")
	switch {
	case strings.Contains(text, "does not match") || strings.Contains(text, "type does not match"):
		return &Error{keyFile, "is not the key of the certificate in " + certFile, "name the key that belongs to it"}
	case strings.Contains(text, "PEM") || strings.Contains(text, "private key"):
		return &Error{keyFile, "holds no private key that can be read", "it must be PEM, without a password"}
	}
	return &Error{certFile, "cannot be used: " + text, ""}
}
