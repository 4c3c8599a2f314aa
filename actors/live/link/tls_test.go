package link

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/internal/certs"
	"github.com/troupe-raft/troupe/internal/certs/certstest"
	"github.com/troupe-raft/troupe/messages"
)

func withTLS(t testing.TB, files certstest.Files) func(*Options) {
	t.Helper()
	client, server, err := certs.Peer(files.CertFile, files.KeyFile, files.CAFile)
	mustSucceed(t, err)
	return func(o *Options) { o.ClientTLS, o.ServerTLS = client, server }
}

func TestE46MembersConnectOverMutualTLS(t *testing.T) {
	ca := certstest.NewAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.Issue("one", nil)))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", withTLS(t, ca.Issue("two", nil)))
	connectPair(t, a, b)
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	linktest.Expect(t, b.Node, linktest.Heartbeat(1, 1))
}

func TestE46ForeignCertificateIsRefusedByBoth(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, certstest.NewAuthority(t, "peers").Issue("one", nil)))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", withTLS(t, certstest.NewAuthority(t, "others").Issue("two", nil)))
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(0, &messages.Configuration{Members: list})
	b.env.SetPeers(0, &messages.Configuration{Members: list})
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
	ca, others := certstest.NewAuthority(t, "peers"), certstest.NewAuthority(t, "others")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.Issue("one", nil)))
	// It takes a's certificate, as one that trusts both authorities would, but has none that a takes.
	files := others.Issue("two", nil)
	foreign, _, err := certs.Peer(files.CertFile, files.KeyFile, files.CAFile)
	mustSucceed(t, err)
	foreign.RootCAs.AddCert(ca.Certificate)
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClientTLS, o.ServerTLS = foreign, &tls.Config{MinVersion: tls.VersionTLS12} })
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	waitUntil(t, "a logs the certificate that it refused", func() bool {
		return a.log.countLines("peer TLS handshake failed", "CN=two", "CN=others") == 1
	})
	waitUntil(t, "b logs why", func() bool { return b.log.countLines("cannot be reached", "unknown certificate authority") == 1 })
}

func TestE46ClientWithoutCertificateIsRefused(t *testing.T) {
	ca := certstest.NewAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.Issue("one", nil)))
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	anonymous := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClientTLS, o.ServerTLS = anonymous, &tls.Config{MinVersion: tls.VersionTLS12} })
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	waitUntil(t, "b is refused", func() bool { return b.log.countLines("cannot be reached", "certificate required") > 0 })
	waitUntil(t, "a logs that it refused", func() bool { return a.log.countLines("peer TLS handshake failed", "certificate") > 0 })
	if _, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String())); err == nil {
		t.Error("plaintext is accepted on a port with TLS")
	}
}

func TestTLSAndPlaintextMembersLogTheCause(t *testing.T) {
	ca := certstest.NewAuthority(t, "peers")
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, ca.Issue("one", nil)))
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{b.member()}})
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	waitUntil(t, "the member with TLS logs it", func() bool { return a.log.countLines("give all members https peer URLs") > 0 })
	waitUntil(t, "the member without TLS logs it", func() bool { return b.log.countLines("it may require TLS") > 0 })
}

func TestSchemeOfPeerURLDecidesOnTLS(t *testing.T) {
	secured := newNodeFixture(t, 1, 2, "127.0.0.1:0", withTLS(t, certstest.NewAuthority(t, "peers").Issue("one", nil)))
	plain := newNodeFixture(t, 2, 1, "127.0.0.1:0")
	secured.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: plain.address, PeerUrls: []string{"http://" + plain.address}}}})
	plain.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 1, Address: secured.address, PeerUrls: []string{"https://" + secured.address}}}})
	waitUntil(t, "https is refused where there is no certificate", func() bool { return plain.log.countLines("this member has no peer certificate") == 1 })
	waitUntil(t, "http is refused where TLS is configured", func() bool { return secured.log.countLines("give all members https peer URLs") == 1 })
}
