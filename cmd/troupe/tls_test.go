package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

	"github.com/troupe-raft/troupe/tests/freeport"
)

// writeCredentials writes a CA (ca.pem) to dir, and a certificate of it for servers and clients on
// loopback (cert.pem, key.pem).
func writeCredentials(t *testing.T, dir string) {
	t.Helper()
	write := func(name, kind string, der []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, ownKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "own"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	write("ca.pem", "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(rand.Reader, own, ca, ownKey.Public(), caKey)
	write("cert.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(ownKey)
	write("key.pem", "EC PRIVATE KEY", der, err)
}

func TestClusterUnderTLSRequiresClientCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCredentials(t, dir)
	files := func(prefix string) []string {
		return []string{
			"--" + prefix + "cert-file=" + filepath.Join(dir, "cert.pem"), "--" + prefix + "key-file=" + filepath.Join(dir, "key.pem"),
			"--" + prefix + "trusted-ca-file=" + filepath.Join(dir, "ca.pem"), "--" + prefix + "client-cert-auth",
		}
	}
	for name, peers := range map[string][]string{"certificates of one CA": files("peer-"), "self-signed certificates": {"--peer-auto-tls"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints := secureCluster(t, append(files(""), peers...))
			put := func(flags ...string) commandResult {
				return runTroupe(t, append([]string{"put", "k", "v", "--timeout=60s", "--endpoints=" + endpoints}, flags...)...)
			}
			cacert := "--cacert=" + filepath.Join(dir, "ca.pem")
			if got := put(cacert, "--cert="+filepath.Join(dir, "cert.pem"), "--key="+filepath.Join(dir, "key.pem")); got.code != 0 {
				t.Errorf("with a certificate: %+v", got)
			}
			if got := put(cacert, "--timeout=500ms"); got.code == 0 {
				t.Errorf("without a certificate: %+v", got)
			}
		})
	}
}

// secureCluster starts three members with https URLs and returns their endpoints once all serve.
func secureCluster(t *testing.T, flags []string) string {
	t.Helper()
	dir, ports := t.TempDir(), freeport.Take(t, 6)
	var cluster, endpoints []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("m%d=https://127.0.0.1:%d", i, ports[i]))
		endpoints = append(endpoints, fmt.Sprintf("https://127.0.0.1:%d", ports[3+i]))
	}
	var members []*process
	for i := range 3 {
		args := []string{
			"server", fmt.Sprintf("--name=m%d", i), fmt.Sprintf("--data-dir=%s/m%d", dir, i), "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-client-urls=" + endpoints[i], fmt.Sprintf("--listen-peer-urls=https://127.0.0.1:%d", ports[i]),
		}
		members = append(members, startProcess(t, "troupe", nil, append(args, flags...)...))
	}
	for _, m := range members {
		m.waitFor("ready to serve client requests")
	}
	return strings.Join(endpoints, ",")
}
