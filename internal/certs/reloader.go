package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/internal/logonce"
)

// reloader holds a certificate with its key and reads them again when a file changes. Where the
// changed files cannot be used (half written, not matching, not readable), the previous certificate
// stays in use and each further call reads the files again: what was wrong may end without a change
// of the files, as with their owner, their mode, or too many open files.
type reloader struct {
	certFile, keyFile string
	// changed is called when the files have changed, with the error if they cannot be used. It may be
	// nil.
	changed func(certFile string, loaded *tls.Certificate, err error)

	mu       sync.Mutex
	loaded   *tls.Certificate
	files    [2]fileState    // of loaded
	refused  [2]fileState    // of the files that could not be used last
	failures logonce.Limiter // of the files in refused
}

// fileState is what changes when a file is written; zero for a file that does not exist.
type fileState struct {
	modTime time.Time
	size    int64
}

func newReloader(certFile, keyFile string) (*reloader, error) {
	r := &reloader{certFile: certFile, keyFile: keyFile, files: fileStates(certFile, keyFile)}
	var err error
	r.loaded, err = loadKeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// current returns the certificate, after reading the files if they are not those of the
// certificate. Each failure with the same files is reported once.
func (r *reloader) current() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	files := fileStates(r.certFile, r.keyFile)
	if files == r.files {
		return r.loaded, nil
	}
	renewed, err := loadKeyPair(r.certFile, r.keyFile)
	if err == nil {
		r.loaded, r.files = renewed, files
	}
	if err == nil || files != r.refused {
		r.failures.Reset(0)
	}
	if err != nil {
		r.refused = files
	}
	if r.changed != nil && (err == nil || r.failures.Allow(0, err.Error())) {
		r.changed(r.certFile, renewed, err)
	}
	return r.loaded, nil
}

func fileStates(certFile, keyFile string) (states [2]fileState) {
	for i, file := range []string{certFile, keyFile} {
		if info, err := os.Stat(file); err == nil {
			states[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return states
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
