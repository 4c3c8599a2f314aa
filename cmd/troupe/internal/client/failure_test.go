package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
)

// A certificate that nobody signed was told as "context canceled", where gRPC had begun another handshake in the meantime and
// gave it up when the connection was closed.
func TestWhatGaveWayToTheCloseOfAConnectionIsNotWhyItFailed(t *testing.T) {
	f, refused := &lastFailure{}, errors.New("certificate signed by unknown authority")
	f.set(refused)
	f.set(nil) // dialed anew
	f.set(fmt.Errorf("handshake: %w", context.Canceled))
	if f.get() != refused {
		t.Fatalf("told is %v", f.get())
	}
}

// All of these used to be told as "no answer within 2s".
func TestWhatKeepsAClientOutIsToldWithWhatToDo(t *testing.T) {
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), NextProtos: []string{"h2"}}
	secured.Config.ErrorLog = log.New(io.Discard, "", 0)
	secured.StartTLS()
	defer secured.Close()
	address := secured.Listener.Addr().String()
	trusting := x509.NewCertPool()
	trusting.AddCert(secured.Certificate())
	alien := &tls.Config{RootCAs: trusting, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &secured.TLS.Certificates[0], nil
	}}
	plain := startFake(t, &fakeServer{}).endpoint
	for name, c := range map[string]struct {
		endpoint Endpoint
		config   *tls.Config
		told     []string
	}{
		"no certificate":            {Endpoint{Address: address, Secure: true}, &tls.Config{RootCAs: trusting}, []string{"certificate required", "--cert and --key"}},
		"one of another authority":  {Endpoint{Address: address, Secure: true}, alien, []string{"the server refused", "--cert and --key"}},
		"another authority trusted": {Endpoint{Address: address, Secure: true}, &tls.Config{RootCAs: x509.NewCertPool()}, []string{"signed by unknown authority"}},
		"no TLS where it is spoken": {Endpoint{Address: address}, nil, []string{"hung up without a word", "write https://"}},
		"TLS where none is spoken":  {Endpoint{Address: plain, Secure: true}, nil, []string{"no TLS is spoken there", "write http://"}},
	} {
		_, err := dial(testContext(t, time.Minute), c.endpoint, c.config)
		if err == nil {
			t.Errorf("%s: let in", name)
			continue
		}
		for _, part := range append(c.told, c.endpoint.String()) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not hold %q", name, err, part)
			}
		}
	}
}

// A member without a leader waits for one as long as the client does, so that the client's time is over before it hears why.
func TestAMemberThatDoesNotAnswerForWantOfALeaderIsAskedWhy(t *testing.T) {
	t.Parallel() // it takes all of its time
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	for leader, told := range map[uint64]string{0: "no leader", 7: "deadline exceeded"} {
		m := startFake(t, &fakeServer{
			ranges: func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) { return nil, waits(ctx) },
			put:    func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) { return nil, waits(ctx) },
			status: &pb.StatusResponse{Leader: leader},
		})
		if _, err := get(testContext(t, time.Second), newCluster(t, m.endpoint)); err == nil || !strings.Contains(err.Error(), told) {
			t.Errorf("a read where the leader is %d: %v", leader, err)
		}
		var unknown *UnknownOutcomeError
		if err := put(testContext(t, time.Second), newCluster(t, m.endpoint)); !errors.As(err, &unknown) || !strings.Contains(err.Error(), told) {
			t.Errorf("a write where the leader is %d: %v", leader, err)
		}
	}
}
