package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// gRPC starts another handshake after a failed one, and gives it up when the connection is closed.
// The error of the first one must be reported, not "context canceled".
func TestCanceledHandshakeIsNotTheFailure(t *testing.T) {
	f, refused := &lastFailure{}, errors.New("certificate signed by unknown authority")
	f.set(refused)
	f.set(nil) // the next dial succeeded
	f.set(fmt.Errorf("handshake: %w", context.Canceled))
	if f.get() != refused {
		t.Fatalf("recorded %v", f.get())
	}
}

func TestConnectErrorHasCauseAndAdvice(t *testing.T) {
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), NextProtos: []string{"h2"}}
	secured.Config.ErrorLog = log.New(io.Discard, "", 0)
	secured.StartTLS()
	defer secured.Close()
	address := secured.Listener.Addr().String()
	trusting := x509.NewCertPool()
	trusting.AddCert(secured.Certificate())
	foreign := &tls.Config{RootCAs: trusting, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &secured.TLS.Certificates[0], nil
	}}
	plain := startFake(t, &fakeServer{}).endpoint
	metrics := httptest.NewUnstartedServer(http.NotFoundHandler())
	metrics.Config.ErrorLog = log.New(io.Discard, "", 0)
	metrics.Start()
	defer metrics.Close()
	for name, c := range map[string]struct {
		endpoint Endpoint
		config   *tls.Config
		texts    []string
	}{
		"no certificate":                   {Endpoint{Address: address, Secure: true}, &tls.Config{RootCAs: trusting}, []string{"certificate required", "--cert and --key"}},
		"certificate of another authority": {Endpoint{Address: address, Secure: true}, foreign, []string{"the server refused", "--cert and --key"}},
		"another trusted authority":        {Endpoint{Address: address, Secure: true}, &tls.Config{RootCAs: x509.NewCertPool()}, []string{"signed by unknown authority", "--cacert"}},
		"another host name":                {Endpoint{Address: strings.Replace(address, "127.0.0.1", "localhost", 1), Secure: true}, &tls.Config{RootCAs: trusting}, []string{"not localhost", "--endpoints"}},
		"the metrics port":                 {Endpoint{Address: metrics.Listener.Addr().String()}, nil, []string{"HTTP/1.1", "metrics port"}},
		"plain text to a TLS server":       {Endpoint{Address: address}, nil, []string{"the server closed the connection", "write https://", "--max-connections"}},
		"TLS to a plain text server":       {Endpoint{Address: plain, Secure: true}, nil, []string{"does not use TLS", "write http://"}},
	} {
		_, err := dial(testContext(t, time.Minute), c.endpoint, c.config)
		if err == nil {
			t.Errorf("%s: connected", name)
			continue
		}
		for _, text := range append(c.texts, c.endpoint.String()) {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not contain %q", name, err, text)
			}
		}
		all := &UnreachableError{Tried: []error{err}}
		if strings.Contains(all.Error(), "the cluster runs") {
			t.Errorf("%s: the server was reached, but: %q", name, all)
		}
	}
}

// A server that refuses a connection may have closed it before the client writes: what it sent is
// read then.
func TestRefusalBeforeTheFirstWriteIsReported(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	failure := &lastFailure{}
	conn := &firstReadConn{Conn: raw, failure: failure}
	if _, err := conn.Write([]byte("unread, so that the close resets the connection")); err != nil {
		t.Fatal(err)
	}
	_, _ = server.Read(make([]byte, 1))
	_, _ = server.Write([]byte("HTTP/1.1 503 Service Unavailable\r\n\r\n"))
	_ = server.Close()
	for end := time.Now().Add(time.Minute); ; {
		if _, err := conn.Write([]byte("x")); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a closed connection accepts writes")
		}
	}
	if err := failure.get(); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the reason is %v", err)
	}
}

// A timeout of the member is not the client's: more time would not help.
func TestTimeoutAdviceFollowsTheCause(t *testing.T) {
	endpoint := Endpoint{Address: "a:1"}
	for text, err := range map[string]error{
		"--timeout allows more time":      status.FromContextError(context.DeadlineExceeded).Err(),
		"a majority of the members":       rpctypes.ErrGRPCTimeout,
		"check that the member runs, and": status.Error(codes.Unavailable, "connection reset by peer"),
	} {
		if got := (&TimeoutError{endpoint, err}).Error(); !strings.Contains(got, text) || !strings.Contains(got, "http://a:1") {
			t.Errorf("%v: %q does not contain %q", err, got, text)
		}
	}
	for text, alert := range map[string]string{
		"--max-connections": "tls: internal error", "--tls-min-version": "tls: protocol version not supported", "--cert and --key": "tls: bad certificate",
	} {
		if got := explainAlert(errors.New(alert)).Error(); !strings.Contains(got, text) || !strings.Contains(got, alert) {
			t.Errorf("%s: %q does not contain %q", alert, got, text)
		}
	}
}

func TestRefusalByPeerPortNamesClientURL(t *testing.T) {
	peerPort := httptest.NewUnstartedServer(grpc.NewServer())
	peerPort.EnableHTTP2 = true
	peerPort.Config.Protocols = &http.Protocols{}
	peerPort.Config.Protocols.SetUnencryptedHTTP2(true)
	peerPort.Start()
	defer peerPort.Close()
	_, err := get(testContext(t, time.Minute), newCluster(t, peerPort.Listener.Addr().String()))
	if err == nil || !strings.Contains(err.Error(), "name a client URL") {
		t.Fatalf("%v", err)
	}
}

// A member without a leader waits for one until the request's deadline, so that its error arrives
// after the client's deadline. The client then requests the member's status.
func TestTimeoutWithoutLeaderReportsNoLeader(t *testing.T) {
	t.Parallel() // waits for timeouts
	waitForDeadline := func(ctx context.Context) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	for leader, text := range map[uint64]string{0: "leader", 7: "deadline exceeded"} {
		m := startFake(t, &fakeServer{
			ranges: func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
				return nil, waitForDeadline(ctx)
			},
			put:    func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) { return nil, waitForDeadline(ctx) },
			status: &pb.StatusResponse{Leader: leader},
		})
		// A machine that stalls for leaderCheckTimeout gets no status.
		for try := 1; ; try++ {
			_, readErr := get(testContext(t, time.Second), newCluster(t, m.endpoint))
			writeErr := put(testContext(t, time.Second), newCluster(t, m.endpoint))
			var unknown *UnknownOutcomeError
			if readErr != nil && strings.Contains(readErr.Error(), text) && errors.As(writeErr, &unknown) && strings.Contains(writeErr.Error(), text) {
				break
			}
			if t.Logf("leader %d: read: %v, write: %v", leader, readErr, writeErr); try == 20 {
				t.Fatal("no try had the right errors")
			}
		}
	}
}
