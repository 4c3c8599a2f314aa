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

// certificate is a self-signed one for 127.0.0.1 and its key, as files.
type certificate struct{ cert, key string }

func newCertificate(t *testing.T, name string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := certificate{cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
	for path, block := range map[string]*pem.Block{
		c.cert: {Type: "CERTIFICATE", Bytes: der},
		c.key:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// secureMember is singleMember with https URLs on both ports.
func secureMember(t *testing.T, flags ...string) *procs.Member {
	t.Helper()
	ports, err := procs.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
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
	one, two := newCertificate(t, "one"), newCertificate(t, "two")
	missing := filepath.Join(t.TempDir(), "missing.crt")
	noise := filepath.Join(t.TempDir(), "noise.crt")
	if err := os.WriteFile(noise, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(c certificate) []string { return []string{"--cert-file=" + c.cert, "--key-file=" + c.key} }
	peer := func(c certificate) []string {
		return []string{"--peer-cert-file=" + c.cert, "--peer-key-file=" + c.key}
	}
	for name, c := range map[string]struct {
		client, peer []string
		named        string
	}{
		"the client port's": {client(certificate{one.cert, two.key}), peer(one), one.cert},
		"the peer port's":   {client(one), peer(certificate{two.cert, one.key}), two.cert},
		"a missing one":     {client(certificate{missing, one.key}), peer(one), missing},
		"noise":             {client(one), peer(certificate{noise, one.key}), noise},
		"none for https":    {nil, peer(one), "cert-file"},
	} {
		t.Run(name, func(t *testing.T) {
			texts := []string{c.named}
			if program.Name == "etcd" {
				texts = nil
			}
			mustRefuse(t, secureMember(t, append(c.client, c.peer...)...), texts...)
		})
	}
	t.Run("and one that matches is served", func(t *testing.T) {
		m := secureMember(t, append(client(one), peer(one)...)...)
		start(t, m)
		trusted := x509.NewCertPool()
		pemBytes, err := os.ReadFile(one.cert)
		if err != nil || !trusted.AppendCertsFromPEM(pemBytes) {
			t.Fatalf("reading back the certificate: %v", err)
		}
		conn, err := tls.Dial("tcp", m.Endpoint(), &tls.Config{RootCAs: trusted, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		stop(t, m)
	})
}

// A member with certificates of another authority than the others': no mistake of its own that it
// could find at its start.
func TestForeignCAMemberIsRefusedAndLogged(t *testing.T) {
	skipUnlessTroupe(t) // etcd says it once for each connection that it tries, for ever
	home, foreign := newCertificate(t, "home"), newCertificate(t, "foreign")
	c, err := procs.NewCluster(procs.Config{Program: program, Size: 3, Dir: t.TempDir(), Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	closeOnCleanup(t, c)
	for i, m := range c.Members {
		own := home
		if i == 2 {
			own = foreign
		}
		m.AddFlags("--cert-file="+home.cert, "--key-file="+home.key, "--trusted-ca-file="+home.cert,
			"--peer-cert-file="+own.cert, "--peer-key-file="+own.key, "--peer-trusted-ca-file="+own.cert)
		if err := m.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	stranger := c.Members[2]
	ctx := contextWithin(t, 30*time.Second)
	for _, m := range c.Members[:2] {
		if err := m.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		// It calls the stranger, and refuses what that shows; the stranger calls it, and does the same.
		for _, line := range []string{"certificate signed by unknown authority", "peer refused this member's certificate"} {
			if err := m.Process().WaitFor(ctx, line); err != nil {
				t.Error(err)
			}
		}
	}
	for _, line := range []string{"certificate signed by unknown authority", "peer refused this member's certificate"} {
		if err := stranger.Process().WaitFor(ctx, line); err != nil {
			t.Error(err)
		}
	}
	client := secureClient(t, home, home, c.Members[0].ClientURL)
	for range 50 { // the two go on meanwhile
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
			t.Errorf("%s has %d lines of it:\n%s", m.Name, n, output)
		}
		stop(t, m)
	}
}

// secureClient shows one certificate and trusts another.
func secureClient(t *testing.T, own, trusted certificate, url string) *clientv3.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(own.cert, own.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(trusted.cert)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("reading back the certificate: %v", err)
	}
	client, err := procs.DialTLS(&tls.Config{
		RootCAs: pool,
		// Also to a server that asks for one of another authority, as a wrong setting would.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
