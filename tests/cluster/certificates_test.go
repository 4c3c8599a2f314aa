package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// certificate holds the files of a self-signed certificate for 127.0.0.1 and its key.
type certificate struct{ cert, key string }

func newCertificate(t *testing.T, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mustSucceed(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	mustSucceed(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	mustSucceed(t, err)
	dir := t.TempDir()
	c := certificate{cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
	for path, block := range map[string]*pem.Block{
		c.cert: {Type: "CERTIFICATE", Bytes: der},
		c.key:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		mustSucceed(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	}
	return c
}

// secureMember returns a cluster of one member with https URLs on both ports.
func secureMember(t *testing.T, flags ...string) *procs.Member {
	t.Helper()
	ports, err := procs.FreePorts(2)
	mustSucceed(t, err)
	url := func(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }
	m := procs.Member{
		Name:      "secure",
		DataDir:   filepath.Join(t.TempDir(), "data"),
		ClientURL: url(ports[0]),
		PeerURL:   url(ports[1]),
	}
	member := procs.NewMember(program, m, append([]string{"--initial-cluster=secure=" + m.PeerURL}, flags...)...)
	t.Cleanup(func() {
		if member.Running() {
			_ = member.Kill()
		}
	})
	return member
}

func TestUnusableCertificateIsNamed(t *testing.T) {
	first, second := newCertificate(t, "first"), newCertificate(t, "second")
	missing := filepath.Join(t.TempDir(), "missing.crt")
	noise := filepath.Join(t.TempDir(), "noise.crt")
	mustSucceed(t, os.WriteFile(noise, []byte("noise"), 0o600))
	client := func(c certificate) []string { return []string{"--cert-file=" + c.cert, "--key-file=" + c.key} }
	peer := func(c certificate) []string {
		return []string{"--peer-cert-file=" + c.cert, "--peer-key-file=" + c.key}
	}
	for name, c := range map[string]struct {
		client, peer []string
		named        string
	}{
		"client certificate with another key": {client(certificate{first.cert, second.key}), peer(first), first.cert},
		"peer certificate with another key":   {client(first), peer(certificate{second.cert, first.key}), second.cert},
		"missing file":                        {client(certificate{missing, first.key}), peer(first), missing},
		"noise":                               {client(first), peer(certificate{noise, first.key}), noise},
		"https without a certificate":         {nil, peer(first), "cert-file"},
	} {
		t.Run(name, func(t *testing.T) {
			texts := []string{c.named}
			if program.Name == "etcd" {
				texts = nil
			}
			mustRefuse(t, secureMember(t, append(c.client, c.peer...)...), texts...)
		})
	}
	t.Run("a valid certificate is served", func(t *testing.T) {
		m := secureMember(t, append(client(first), peer(first)...)...)
		start(t, m)
		trusted := x509.NewCertPool()
		pemBytes, err := os.ReadFile(first.cert)
		if err != nil || !trusted.AppendCertsFromPEM(pemBytes) {
			t.Fatalf("reading the certificate: %v", err)
		}
		conn, err := tls.Dial("tcp", m.Endpoint(), &tls.Config{RootCAs: trusted, NextProtos: []string{"h2"}})
		mustSucceed(t, err)
		_ = conn.Close()
		stop(t, m)
	})
}

// The certificates of the third member are of another authority. That member cannot notice it at
// its start.
func TestForeignCAMemberIsRefusedAndLogged(t *testing.T) {
	skipUnlessTroupe(t) // etcd logs it for each connection
	home, foreign := newCertificate(t, "home"), newCertificate(t, "foreign")
	c, err := procs.NewCluster(procs.Config{Program: program, Size: 3, Dir: t.TempDir(), Secure: true})
	mustSucceed(t, err)
	closeOnCleanup(t, c)
	for i, m := range c.Members {
		own := home
		if i == 2 {
			own = foreign
		}
		m.AddFlags("--cert-file="+home.cert, "--key-file="+home.key, "--trusted-ca-file="+home.cert,
			"--peer-cert-file="+own.cert, "--peer-key-file="+own.key, "--peer-trusted-ca-file="+own.cert)
		mustSucceed(t, m.Launch())
	}
	foreignMember := c.Members[2]
	ctx := contextWithin(t, 2*time.Minute)
	for _, m := range c.Members[:2] {
		mustSucceed(t, m.Ready(ctx))
		// Both sides connect to the other, and each refuses the other's certificate.
		for _, line := range []string{"certificate signed by unknown authority", "peer refused this member's certificate"} {
			if err := m.Process().WaitFor(ctx, line); err != nil {
				t.Error(err)
			}
		}
	}
	for _, line := range []string{"certificate signed by unknown authority", "peer refused this member's certificate"} {
		if err := foreignMember.Process().WaitFor(ctx, line); err != nil {
			t.Error(err)
		}
	}
	client := secureClient(t, home, home, c.Members[0].ClientURL)
	for range 50 { // the other two members serve
		if _, err := client.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	refused, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := secureClient(t, foreign, home, c.Members[0].ClientURL).Put(refused, "k", "v"); err == nil {
		t.Error("a client of a foreign authority was served")
	}
	if err := c.Members[0].Process().WaitFor(ctx, "client TLS handshake failed"); err != nil {
		t.Error(err)
	}
	for _, m := range c.Members {
		output := m.Process().Output()
		if n := strings.Count(output, `"level":"error"`) + strings.Count(output, `"level":"warn"`); n > 12 {
			t.Errorf("%s logs %d errors and warnings:\n%s", m.Name, n, output)
		}
		stop(t, m)
	}
}

// secureClient returns a client with a certificate that trusts another one.
func secureClient(t *testing.T, own, trusted certificate, url string) *clientv3.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(own.cert, own.key)
	mustSucceed(t, err)
	text, err := os.ReadFile(trusted.cert)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("reading the certificate: %v", err)
	}
	client, err := procs.DialTLS(&tls.Config{
		RootCAs: pool,
		// The client presents it also to a server that requests one of another authority.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}, url)
	mustSucceed(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}
