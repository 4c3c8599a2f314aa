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
	// changed is called when the files have changed, with the error if they cannot be used. It may be
	// nil.
	changed func(certFile string, loaded *tls.Certificate, err error)

	mu       sync.Mutex
	loaded   *tls.Certificate
	modTimes [2]time.Time // modification times of the files of loaded
	refused  [2]time.Time // those of the files that could not be used last
}

func newReloader(certFile, keyFile string) (*reloader, error) {
	r := &reloader{certFile: certFile, keyFile: keyFile, modTimes: modTimes(certFile, keyFile)}
	var err error
	r.loaded, err = loadKeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// current returns the certificate, after reading the files if one of them changed.
func (r *reloader) current() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if times := modTimes(r.certFile, r.keyFile); times != r.modTimes && times != r.refused {
		renewed, err := loadKeyPair(r.certFile, r.keyFile)
		if err == nil {
			r.loaded, r.modTimes = renewed, times
		} else {
			r.refused = times
		}
		if r.changed != nil {
			r.changed(r.certFile, renewed, err)
		}
	}
	return r.loaded, nil
}

// modTimes returns the modification times of the files, zero for a file that cannot be read.
func modTimes(certFile, keyFile string) (times [2]time.Time) {
	for i, file := range []string{certFile, keyFile} {
		if info, err := os.Stat(file); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}

// loadKeyPair reads and checks a certificate and its key. An error is an *Error.
func loadKeyPair(certFile, keyFile string) (*tls.Certificate, error) {
	certificates, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	if err := checkValidity(certFile, certificates[0]); err != nil {
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
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, describeKeyPairError(certFile, keyFile, err)
	}
	if pair.Leaf == nil {
		pair.Leaf, _ = x509.ParseCertificate(pair.Certificate[0])
	}
	return &pair, nil
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
