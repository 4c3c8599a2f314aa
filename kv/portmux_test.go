package kv

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/troupe-raft/troupe/internal/connlimit"
)

func (ts *testServer) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ts.address)
	mustSucceed(t, err)
	t.Cleanup(func() { _ = c.Close() })
	mustSucceed(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

func TestGarbageOnThePortDoesNotStopTheServer(t *testing.T) {
	ts := startServer(t)
	for name, garbage := range map[string]string{
		"noise":                  "\x00\x01\x02\xff\xfe\r\n\r\n",
		"a TLS hello":            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on, with enough bytes to look real\r\n\r\n",
		"half an HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"a preface, then noise":  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 100),
		"an endless header":      "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 200<<10),
		"almost the preface":     "PRX",
	} {
		c := ts.dialRaw(t)
		_, _ = c.Write([]byte(garbage))
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection stayed open: %v", name, err)
		}
	}
	ts.put(t, "k", "v")
	if code, _ := ts.get(t, "/health"); code != http.StatusOK {
		t.Errorf("/health: %d", code)
	}
}

func TestSilentConnectionIsClosed(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.FirstByteTimeout = 20 * time.Millisecond })
	for _, start := range []string{"", "P", "PRI", "GET / HT"} {
		c := ts.dialRaw(t)
		_, _ = c.Write([]byte(start))
		// Reset, if the server closed the connection before it had received these bytes.
		if response, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %q: %q, %v", start, response, err)
		}
	}
}

func TestFirstBytesMayArriveOneByOne(t *testing.T) {
	ts := startServer(t)
	c := ts.dialRaw(t)
	for _, b := range []byte("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", r, err)
	}
}

func TestConnectionsAboveTheLimitAreClosed(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxConnections = 2 })
	ts.put(t, "k", "v") // one connection
	second := ts.dialRaw(t)
	eventually(t, "both are open", func() bool { return ts.mux.connections.Open() == 2 })
	if text := readAll(ts.dialRaw(t)); !strings.HasPrefix(text, "HTTP/1.1 503 ") {
		t.Errorf("a third connection received %q", text)
	}
	_ = second.Close()
	eventually(t, "the closed connection is not counted", func() bool { return ts.mux.connections.Open() == 1 })
	if code, _ := ts.get(t, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	http.DefaultClient.CloseIdleConnections()
}

// selfSigned makes a certificate for 127.0.0.1 and the pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mustSucceed(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	mustSucceed(t, err)
	leaf, err := x509.ParseCertificate(der)
	mustSucceed(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func TestALPNSelectsGRPCOrHTTPUnderTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	secured := func(c *ServerConfig) { c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}} }
	ts := startServer(t, secured)
	conn, err := grpc.NewClient("passthrough:///"+ts.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: pool, ServerName: "127.0.0.1",
	})))
	mustSucceed(t, err)
	defer conn.Close()
	if _, err := pb.NewKVClient(conn).Put(testContext(t), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	// A client that offers both protocols, as browsers and curl do, and one without ALPN.
	for _, protocols := range [][]string{{"h2", "http/1.1"}, nil} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, NextProtos: protocols}, ForceAttemptHTTP2: protocols != nil}
		client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
		r, err := client.Get("https://" + ts.address + "/livez")
		if err != nil {
			t.Errorf("HTTP offering %v: %v", protocols, err)
			continue
		}
		if r.StatusCode != http.StatusOK || r.ProtoMajor != 1 {
			t.Errorf("HTTP offering %v: %s over %s", protocols, r.Status, r.Proto)
		}
		_ = r.Body.Close()
		transport.CloseIdleConnections()
	}
	plain := ts.dialRaw(t)
	_, _ = plain.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if _, err := io.ReadAll(plain); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a client without TLS: %v", err)
	}
	impatient := startServer(t, secured, func(c *ServerConfig) { c.FirstByteTimeout = 200 * time.Millisecond })
	silent := impatient.dialRaw(t) // sends no ClientHello
	if _, err := io.ReadAll(silent); err != nil {
		t.Errorf("a client that sends no ClientHello: %v", err)
	}
}

// For the race detector: the port closes while connections have made the handshake and sent
// nothing.
func TestPortClosesDuringSniffing(t *testing.T) {
	certificate, pool := selfSigned(t)
	m := newPortMux(&tls.Config{Certificates: []tls.Certificate{certificate}}, time.Minute, connlimit.New(100, func(net.Addr) {}), func(net.Addr, error) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	mustSucceed(t, err)
	served := make(chan error, 1)
	go func() { served <- m.serve(l) }()
	for range 20 {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}})
		mustSucceed(t, err)
		defer c.Close()
	}
	m.close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n := m.connections.Open(); n != 0 {
		t.Errorf("%d connections are counted as open", n)
	}
}

// logBuffer is a log whose lines are counted.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

func TestFailedHandshakeIsLoggedOncePerReason(t *testing.T) {
	certificate, pool := selfSigned(t)
	foreign, _ := selfSigned(t)
	log := &logBuffer{}
	ts := startServer(t, func(c *ServerConfig) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		c.Logger = zerolog.New(log)
	})
	for name, c := range map[string]struct {
		config *tls.Config
		words  []string
	}{
		"with a certificate of a foreign CA": {&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{foreign}},
			[]string{"client TLS handshake failed", "unknown authority", `"signed-by":"nameless"`}},
		"without a certificate": {&tls.Config{RootCAs: pool}, []string{"client TLS handshake failed", "didn't provide a certificate"}},
		"that trusts another CA": {&tls.Config{RootCAs: x509.NewCertPool()},
			[]string{"client refused this member's certificate", "bad certificate"}},
		"without TLS": {nil, []string{"client TLS handshake failed", "does not look like a TLS handshake"}},
	} {
		for range 3 {
			conn := ts.dialRaw(t)
			if c.config == nil {
				_, _ = conn.Write([]byte(http2PrefaceStart + "* HTTP/2.0\r\n\r\nSM\r\n\r\n"))
			} else {
				config := c.config.Clone()
				config.ServerName = "127.0.0.1"
				// Without this the client would send no certificate of an authority that the server did
				// not name.
				if len(config.Certificates) > 0 {
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &config.Certificates[0], nil }
				}
				conn = tls.Client(conn, config)
			}
			_, _ = conn.Read(make([]byte, 1)) // until either side has closed it
			_ = conn.Close()
		}
		eventually(t, "a client "+name+" is logged", func() bool { return log.count(c.words...) > 0 })
		if n := log.count(c.words...); n != 1 {
			t.Errorf("a client %s: %d lines:\n%s", name, n, log.text.String())
		}
	}
	eventually(t, "each failure is counted", func() bool {
		families, err := ts.config.Registry.Gather()
		mustSucceed(t, err)
		for _, f := range families {
			if f.GetName() == "troupe_client_tls_handshakes_failed_total" {
				return f.GetMetric()[0].GetCounter().GetValue() == 12
			}
		}
		return false
	})
}
