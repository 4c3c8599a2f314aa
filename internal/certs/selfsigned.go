package certs

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
	"time"
)

// loadOrMakeSelfSigned returns the files of a self-signed certificate in dir. It keeps a
// certificate that an earlier start made while it is valid, so that a client that pinned it can
// still connect.
func loadOrMakeSelfSigned(dir string, hosts []string, years uint) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := loadKeyPair(certFile, keyFile); err == nil {
		return certFile, keyFile, nil
	}
	certText, keyText, err := makeSelfSigned(hosts, years)
	if err != nil {
		return "", "", &Error{certFile, "cannot be made: " + err.Error(), ""}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", &Error{dir, "cannot be made: " + err.Error(), "check --data-dir"}
	}
	// The key is written first: after a crash in between there is no certificate to find.
	for _, f := range []struct {
		path string
		text []byte
	}{{keyFile, keyText}, {certFile, certText}} {
		if err := os.WriteFile(f.path, f.text, 0o600); err != nil {
			return "", "", &Error{f.path, "cannot be written: " + err.Error(), "check --data-dir"}
		}
	}
	return certFile, keyFile, nil
}

func makeSelfSigned(hosts []string, years uint) (certText, keyText []byte, err error) {
	if years == 0 {
		years = 1
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"troupe"}},
		NotBefore:    now.Add(-time.Minute), // another machine's clock may be behind
		NotAfter:     now.AddDate(int(years), 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range append([]string{"localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certText = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})
	keyText = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	return certText, keyText, nil
}
