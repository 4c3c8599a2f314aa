// Package certstest issues certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority. Its files are in a temporary directory of the test, its
// certificate is ca.pem.
type Authority struct {
	Certificate *x509.Certificate

	t   testing.TB
	dir string
	key *ecdsa.PrivateKey
}

// Files names the files of a certificate that an Authority issued.
type Files struct {
	CertFile, KeyFile, CAFile string
	// Certificate is the content of CertFile.
	Certificate *x509.Certificate
}

// NewAuthority returns an authority whose common name is name.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	template := newTemplate(t, name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.key = newKey(t)
	a.Certificate = a.sign(template, template, a.key, "ca.pem")
	return a
}

// Issue signs a certificate and writes it to name.pem and its key to name-key.pem. The certificate
// is for servers and clients on loopback and valid for an hour; change may alter it, and may be
// nil.
func (a *Authority) Issue(name string, change func(*x509.Certificate)) Files {
	a.t.Helper()
	template := newTemplate(a.t, name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	if change != nil {
		change(template)
	}
	key := newKey(a.t)
	certificate := a.sign(template, a.Certificate, key, name+".pem")
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Write(name+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return Files{a.Path(name + ".pem"), a.Path(name + "-key.pem"), a.Path("ca.pem"), certificate}
}

// Path returns the path of a file in the authority's directory.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name) }

// Write writes a file in the authority's directory.
func (a *Authority) Write(name string, text []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.Path(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *Authority) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, file string) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Write(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate
}

func newTemplate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
