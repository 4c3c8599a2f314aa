package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA that lives in a directory of the test's.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// make signs a certificate and writes NAME.pem and NAME-key.pem.
func (a *authority) make(name string, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(template)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, _ := x509.MarshalECPrivateKey(key)
	a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(name+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name string, text []byte) {
	if err := os.WriteFile(a.path(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func TestAFileThatTLSCannotWorkWithIsNamedInOneLine(t *testing.T) {
	a := newAuthority(t)
	a.make("good", nil)
	a.make("other", nil)
	a.make("expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	a.make("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	a.write("empty.pem", nil)
	a.write("text.pem", []byte("no certificate at all"))
	for _, c := range []struct{ cert, key, ca, file, what string }{
		{"good.pem", "other-key.pem", "ca.pem", "other-key.pem", "is not the key of the certificate in"},
		{"missing.pem", "good-key.pem", "ca.pem", "missing.pem", "does not exist"},
		{"good.pem", "missing.pem", "ca.pem", "missing.pem", "does not exist"},
		{"expired.pem", "expired-key.pem", "ca.pem", "expired.pem", "expired on"},
		{"early.pem", "early-key.pem", "ca.pem", "early.pem", "is not valid before"},
		{"empty.pem", "good-key.pem", "ca.pem", "empty.pem", "holds no certificate"},
		{"good.pem", "text.pem", "ca.pem", "text.pem", "holds no private key"},
		{"good-key.pem", "good.pem", "ca.pem", "good-key.pem", "holds no certificate"},
		{"good.pem", "good-key.pem", "good.pem", "good.pem", "not a CA"},
		{"good.pem", "good-key.pem", "text.pem", "text.pem", "holds no certificate"},
		{"good.pem", "good-key.pem", "missing.pem", "missing.pem", "does not exist"},
	} {
		s := Server{Enabled: true, CertFile: a.path(c.cert), KeyFile: a.path(c.key), CAFile: a.path(c.ca), AskClients: true}
		_, err := s.Listening()
		var fault *Error
		if !errors.As(err, &fault) || fault.File != a.path(c.file) || !strings.Contains(fault.What, c.what) || strings.Contains(err.Error(), "\n") {
			t.Errorf("cert %s, key %s, CA %s: %v; want %s: %s", c.cert, c.key, c.ca, err, c.file, c.what)
		}
	}
}

func TestACertificateThatEveryClientWouldRefuseIsRefusedAtTheStart(t *testing.T) {
	a := newAuthority(t)
	a.make("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	a.make("both", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	})
	a.make("any", nil)
	for name, good := range map[string]bool{"client": false, "both": true, "any": true} {
		_, err := Server{Enabled: true, CertFile: a.path(name + ".pem"), KeyFile: a.path(name + "-key.pem")}.Listening()
		var fault *Error
		if good && err != nil || !good && (!errors.As(err, &fault) || !strings.Contains(fault.What, "not for server authentication")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateThatOtherMembersWouldRefuseIsRefusedAtTheStart(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	stranger.make("foreign", nil)
	a.make("halved", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	a.make("elsewhere", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 9, 9, 9)} })
	a.make("nameless", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil })
	for _, c := range []struct{ file, what string }{
		{stranger.path("foreign"), "no good as a server's"},
		{a.path("halved"), "no good as a client's"},
		{a.path("elsewhere"), "is for localhost, 10.9.9.9, and others call this member 127.0.0.1"},
		{a.path("nameless"), "is for nobody, and others call this member 127.0.0.1"},
	} {
		s := Server{Enabled: true, Mutual: true, CalledAs: "127.0.0.1", CertFile: c.file + ".pem", KeyFile: c.file + "-key.pem", CAFile: a.path("ca.pem"), AskClients: true}
		_, err := s.Listening()
		var fault *Error
		if !errors.As(err, &fault) || fault.File != c.file+".pem" || !strings.Contains(fault.What, c.what) {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

// shake has the two sides of a connection greet each other, over a socket: a pipe without a buffer would leave both
// writing an alert at once.
func shake(server, client *tls.Config) error {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	defer listener.Close()
	told := make(chan error, 1)
	go func() {
		one, err := listener.Accept()
		if err == nil {
			err = one.(*tls.Conn).Handshake()
			one.Close()
		}
		told <- err
	}()
	client = client.Clone()
	client.ServerName = "localhost"
	other, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		other.Close()
	}
	return errors.Join(err, <-told)
}

func TestMembersWithTheSameCATrustEachOtherAndNobodyElse(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	side := func(a *authority, name string) Server {
		a.make(name, nil)
		return Server{Enabled: true, CertFile: a.path(name + ".pem"), KeyFile: a.path(name + "-key.pem"), CAFile: a.path("ca.pem"), AskClients: true}
	}
	one, two, foreign := side(a, "one"), side(a, "two"), side(stranger, "one")
	listening, err := one.Listening()
	if err != nil {
		t.Fatal(err)
	}
	dialing, err := two.Dialing()
	if err != nil {
		t.Fatal(err)
	}
	if err := shake(listening, dialing); err != nil {
		t.Fatalf("members of one CA: %v", err)
	}
	uninvited, err := foreign.Dialing()
	if err != nil {
		t.Fatal(err)
	}
	uninvited.InsecureSkipVerify = true // it does not care whom it meets; the server has to
	if err := shake(listening, uninvited); err == nil {
		t.Fatal("a certificate of another CA was let in")
	}
}

func TestARenewedCertificateIsTakenUpAndABrokenOneIsNot(t *testing.T) {
	a := newAuthority(t)
	a.make("m", nil)
	p, err := loadPair(a.path("m.pem"), a.path("m-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	later := func(name string, by time.Duration) {
		if err := os.Chtimes(a.path(name), time.Now(), time.Now().Add(by)); err != nil {
			t.Fatal(err)
		}
	}
	serial := func() *big.Int { c, _ := p.current(); return c.Leaf.SerialNumber }
	first := serial()
	a.write("m.pem", []byte("half writ"))
	later("m.pem", time.Second)
	if serial().Cmp(first) != 0 {
		t.Fatal("a broken file replaced a good certificate")
	}
	renewed, _ := a.make("m", nil)
	later("m.pem", 2*time.Second)
	if serial().Cmp(renewed.SerialNumber) != 0 {
		t.Fatal("the renewed certificate was not taken up")
	}
}

func TestACertificateMadeHereIsKeptOverRestarts(t *testing.T) {
	s := Server{Enabled: true, Auto: true, AutoDir: filepath.Join(t.TempDir(), "fixtures"), AutoYears: 1, Hosts: []string{"example.test"}}
	var serials []string
	for range 2 {
		listening, err := s.Listening()
		if err != nil {
			t.Fatal(err)
		}
		one, err := listening.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, one.Leaf.SerialNumber.String())
		dialing, err := s.Dialing()
		if err != nil {
			t.Fatal(err)
		}
		if err := shake(listening, dialing); err != nil {
			t.Fatal(err)
		}
	}
	if serials[0] != serials[1] {
		t.Fatal("another certificate after a restart")
	}
}
