package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/certs/certstest"
)

func TestErrorNamesTheFaultyFile(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("good", nil)
	a.Issue("other", nil)
	a.Issue("expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	a.Issue("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	a.Write("empty.pem", nil)
	a.Write("text.pem", []byte("no certificate at all"))
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
		s := Server{Enabled: true, CertFile: a.Path(c.cert), KeyFile: a.Path(c.key), CAFile: a.Path(c.ca), RequireClientCert: true}
		_, err := s.ServerConfig()
		var fault *Error
		if !errors.As(err, &fault) || fault.File != a.Path(c.file) || !strings.Contains(fault.Problem, c.what) || strings.Contains(err.Error(), "\n") {
			t.Errorf("cert %s, key %s, CA %s: %v; want %s: %s", c.cert, c.key, c.ca, err, c.file, c.what)
		}
	}
}

func TestCertificateOfWrongUsageIsRejected(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	a.Issue("both", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	})
	a.Issue("any", func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	for name, good := range map[string]bool{"client": false, "both": true, "any": true} {
		_, err := Server{Enabled: true, CertFile: a.Path(name + ".pem"), KeyFile: a.Path(name + "-key.pem")}.ServerConfig()
		var fault *Error
		if good && err != nil || !good && (!errors.As(err, &fault) || !strings.Contains(fault.Problem, "not valid for server authentication")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificatePeersWouldRefuseIsRejected(t *testing.T) {
	a, foreign := certstest.NewAuthority(t, "ca"), certstest.NewAuthority(t, "ca")
	foreign.Issue("foreign", nil)
	a.Issue("serverOnly", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	a.Issue("elsewhere", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 9, 9, 9)} })
	a.Issue("nameless", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil })
	for _, c := range []struct{ file, what string }{
		{foreign.Path("foreign"), "not valid as a server certificate"},
		{a.Path("serverOnly"), "not valid as a client certificate"},
		{a.Path("elsewhere"), "is for localhost, 10.9.9.9, but members connect to 127.0.0.1"},
		{a.Path("nameless"), "is for no host, but members connect to 127.0.0.1"},
	} {
		s := Server{Enabled: true, Mutual: true, AdvertisedHost: "127.0.0.1", CertFile: c.file + ".pem", KeyFile: c.file + "-key.pem", CAFile: a.Path("ca.pem"), RequireClientCert: true}
		_, err := s.ServerConfig()
		var fault *Error
		if !errors.As(err, &fault) || fault.File != c.file+".pem" || !strings.Contains(fault.Problem, c.what) {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

func TestMemberConnectsWithItsClientCertificate(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("server", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	a.Issue("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	s := Server{
		Enabled: true, Mutual: true, CAFile: a.Path("ca.pem"), RequireClientCert: true,
		CertFile: a.Path("server.pem"), KeyFile: a.Path("server-key.pem"),
		ClientCertFile: a.Path("client.pem"), ClientKeyFile: a.Path("client-key.pem"),
	}
	server, err := s.ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(server, client); err != nil {
		t.Fatal(err)
	}
	s.ClientCertFile, s.ClientKeyFile = s.CertFile, s.KeyFile
	var fault *Error
	if _, err := s.ClientConfig(); !errors.As(err, &fault) || !strings.HasSuffix(fault.Advice, "for client authentication") {
		t.Errorf("a server's certificate as the client's: %v", err)
	}
}

// handshake runs the TLS handshake of a client and a server over a socket. Over net.Pipe, which has
// no buffer, both sides could block while they write an alert.
func handshake(server, client *tls.Config) error {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	defer listener.Close()
	result := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
		result <- err
	}()
	client = client.Clone()
	client.ServerName = "localhost"
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		conn.Close()
	}
	return errors.Join(err, <-result)
}

func TestOnlyMembersOfOneCATrustEachOther(t *testing.T) {
	a, foreignAuthority := certstest.NewAuthority(t, "ca"), certstest.NewAuthority(t, "ca")
	newMember := func(a *certstest.Authority, name string) Server {
		a.Issue(name, nil)
		return Server{Enabled: true, CertFile: a.Path(name + ".pem"), KeyFile: a.Path(name + "-key.pem"), CAFile: a.Path("ca.pem"), RequireClientCert: true}
	}
	first, second, foreign := newMember(a, "first"), newMember(a, "second"), newMember(foreignAuthority, "first")
	server, err := first.ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := second.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(server, client); err != nil {
		t.Fatalf("members of one CA: %v", err)
	}
	foreignClient, err := foreign.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	foreignClient.InsecureSkipVerify = true // the server must refuse it, not the client
	if err := handshake(server, foreignClient); err == nil {
		t.Fatal("the server accepted a certificate of another CA")
	}
}

func TestSelfSignedCertificateIsKept(t *testing.T) {
	s := Server{Enabled: true, SelfSigned: true, SelfSignedDir: filepath.Join(t.TempDir(), "fixtures"), SelfSignedYears: 1, Hosts: []string{"example.test"}}
	var serials []string
	for range 2 {
		listening, err := s.ServerConfig()
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := listening.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, certificate.Leaf.SerialNumber.String())
		dialing, err := s.ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(listening, dialing); err != nil {
			t.Fatal(err)
		}
	}
	if serials[0] != serials[1] {
		t.Fatal("a second start made another certificate")
	}
}

func TestPeerNeedsAllThreeFiles(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	certFile, keyFile, caFile := a.Path("m.pem"), a.Path("m-key.pem"), a.Path("ca.pem")
	for _, files := range [][3]string{{"", keyFile, caFile}, {certFile, "", caFile}, {certFile, keyFile, ""}} {
		if _, _, err := Peer(files[0], files[1], files[2]); err == nil || !strings.Contains(err.Error(), "three files") {
			t.Errorf("%q: %v", files, err)
		}
	}
	client, server, err := Peer(certFile, keyFile, caFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(server, client); err != nil {
		t.Fatal(err)
	}
}

func TestPeerRejectsFilesThatCannotWork(t *testing.T) {
	a, other := certstest.NewAuthority(t, "ca"), certstest.NewAuthority(t, "other")
	a.Issue("good", nil)
	a.Issue("second", nil)
	a.Issue("server", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	a.Issue("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	a.Write("empty.pem", nil)
	for _, c := range []struct{ cert, key, ca, problem string }{
		{"good", "good", other.Path("ca.pem"), "not valid as a server certificate"},
		{"good", "second", a.Path("ca.pem"), "is not the key of the certificate in"},
		{"good", "good", a.Path("empty.pem"), "holds no certificate"},
		{"server", "server", a.Path("ca.pem"), "not valid as a client certificate"},
		{"client", "client", a.Path("ca.pem"), "not valid as a server certificate"},
	} {
		_, _, err := Peer(a.Path(c.cert+".pem"), a.Path(c.key+"-key.pem"), c.ca)
		if err == nil || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("certificate %s, key %s, authorities %s: %v, want %q", c.cert, c.key, c.ca, err, c.problem)
		}
	}
}

func TestPeerTrustsPinnedCertificates(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	client, server, err := Peer(a.Path("m.pem"), a.Path("m-key.pem"), a.Path("m.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(server, client); err != nil {
		t.Fatal(err)
	}
}
