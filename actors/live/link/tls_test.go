package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/internal/certs"
	"github.com/troupe-raft/troupe/messages"
)

// testAuthority signs certificates for tests.
type testAuthority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
	serial      int64
}

func newTestAuthority(t testing.TB, name string) *testAuthority {
	t.Helper()
	a := &testAuthority{dir: t.TempDir(), serial: 1}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.certificate, _ = x509.ParseCertificate(raw)
	a.file = filepath.Join(a.dir, "ca.pem")
	writePEM(t, a.file, "CERTIFICATE", raw)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, file, kind string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// peerFiles names the files of one member.
type peerFiles struct{ CertFile, KeyFile, CAFile string }

// issue writes a member's files; the certificate is for loopback.
func (a *testAuthority) issue(t testing.TB, name string, usages ...x509.ExtKeyUsage) peerFiles {
	t.Helper()
	a.serial++
	if usages == nil {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	key := newKey(t)
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, ExtKeyUsage: usages,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	files := peerFiles{CertFile: filepath.Join(a.dir, name+".pem"), KeyFile: filepath.Join(a.dir, name+"-key.pem"), CAFile: a.file}
	writePEM(t, files.CertFile, "CERTIFICATE", raw)
	rawKey, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, files.KeyFile, "EC PRIVATE KEY", rawKey)
	return files
}

func withTLS(t testing.TB, files peerFiles) func(*Options) {
	t.Helper()
	client, server, err := certs.Peer(files.CertFile, files.KeyFile, files.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.ClientTLS, o.ServerTLS = client, server }
}

func TestE46MembersConnectOverMutualTLS(t *testing.T) {
	ca := newTestAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.issue(t, "one")))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", withTLS(t, ca.issue(t, "two")))
	connectPair(t, a, b)
	a.Send(2, messages.Role_ROLE_NODE, linktest.Heartbeat(1, 1))
	linktest.Expect(t, b.Node, linktest.Heartbeat(1, 1))
}

func TestE46ForeignCertificateIsRefusedByBoth(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, newTestAuthority(t, "peers").issue(t, "one")))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", withTLS(t, newTestAuthority(t, "others").issue(t, "two")))
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(list)
	b.env.SetPeers(list)
	for _, s := range []*nodeFixture{a, b} {
		waitUntil(t, "both directions are logged", func() bool {
			return s.log.countLines("cannot be reached", "certificate") > 0 && s.log.countLines("peer refused this member's certificate", "certificate") > 0
		})
		if n := s.log.countLines("cannot be reached", "certificate"); n != 1 {
			t.Errorf("%d lines:\n%s", n, s.log)
		}
	}
	if len(a.Node)+len(b.Node) != 0 {
		t.Error("they exchanged messages")
	}
}

func TestE46RefusalNamesTheCertificate(t *testing.T) {
	ca, others := newTestAuthority(t, "peers"), newTestAuthority(t, "others")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.issue(t, "one")))
	// It takes a's certificate, as one that trusts both authorities would, but has none that a takes.
	files := others.issue(t, "two")
	foreign, _, err := certs.Peer(files.CertFile, files.KeyFile, files.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	foreign.RootCAs.AddCert(ca.certificate)
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClientTLS, o.ServerTLS = foreign, &tls.Config{MinVersion: tls.VersionTLS12} })
	b.env.SetPeers([]*messages.Member{a.member()})
	waitUntil(t, "a logs the certificate that it refused", func() bool {
		return a.log.countLines("peer TLS handshake failed", "CN=two", "CN=others") == 1
	})
	waitUntil(t, "b logs why", func() bool { return b.log.countLines("cannot be reached", "unknown certificate authority") == 1 })
}

func TestE46ClientWithoutCertificateIsRefused(t *testing.T) {
	ca := newTestAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.issue(t, "one")))
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: "127.0.0.1:1"}})
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	anonymous := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClientTLS, o.ServerTLS = anonymous, &tls.Config{MinVersion: tls.VersionTLS12} })
	b.env.SetPeers([]*messages.Member{a.member()})
	waitUntil(t, "b is refused", func() bool { return b.log.countLines("cannot be reached", "certificate required") > 0 })
	waitUntil(t, "a logs that it refused", func() bool { return a.log.countLines("peer TLS handshake failed", "certificate") > 0 })
	if _, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String())); err == nil {
		t.Error("plaintext is accepted on a port with TLS")
	}
}

func TestTLSAndPlaintextMembersLogTheCause(t *testing.T) {
	ca := newTestAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.issue(t, "one")))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0")
	a.env.SetPeers([]*messages.Member{b.member()})
	b.env.SetPeers([]*messages.Member{a.member()})
	waitUntil(t, "the member with TLS logs it", func() bool { return a.log.countLines("give all members https peer URLs") > 0 })
	waitUntil(t, "the member without TLS logs it", func() bool { return b.log.countLines("it may require TLS") > 0 })
}

func TestSchemeOfPeerURLDecidesOnTLS(t *testing.T) {
	secured := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, newTestAuthority(t, "peers").issue(t, "one")))
	plain := newNodeFixture(t, 2, 1, "127.0.0.1:0")
	secured.env.SetPeers([]*messages.Member{{Id: 2, Address: plain.address, PeerUrls: []string{"http://" + plain.address}}})
	plain.env.SetPeers([]*messages.Member{{Id: 1, Address: secured.address, PeerUrls: []string{"https://" + secured.address}}})
	waitUntil(t, "https is refused where there is no certificate", func() bool { return plain.log.countLines("this member has no peer certificate") == 1 })
	waitUntil(t, "http is refused where TLS is configured", func() bool { return secured.log.countLines("give all members https peer URLs") == 1 })
}
