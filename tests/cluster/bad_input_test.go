package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// memoryLimit is the limit on the memory of a member in these tests: far above its need, and far
// below the size of the input.
const memoryLimit = 512 << 20

// checkServing checks that every member responds to a put and a get, that its process is still that
// of pids, and that its memory stayed below the limit.
func checkServing(t *testing.T, c *procs.Cluster, pids []int) {
	t.Helper()
	for i, m := range c.Members {
		if !m.Running() {
			t.Fatalf("%s has ended", m.Name)
		}
		if pid := m.Process().PID(); pid != pids[i] {
			t.Fatalf("%s is process %d, was %d", m.Name, pid, pids[i])
		}
		ctx := contextWithin(t, 2*time.Minute)
		client := dial(t, m.Endpoint())
		if _, err := client.Put(ctx, "good", m.Name); err != nil {
			t.Fatalf("put at %s: %v", m.Name, err)
		}
		got, err := client.Get(ctx, "good")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != m.Name {
			t.Fatalf("get at %s: %v %v", m.Name, got, err)
		}
		usage, err := m.Process().Usage()
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		mustSucceed(t, err)
		t.Logf("%s used at most %d MiB", m.Name, usage.PeakBytes>>20)
		if usage.PeakBytes > memoryLimit {
			t.Errorf("%s used more than %d MiB", m.Name, memoryLimit>>20)
		}
	}
}

func processIDs(c *procs.Cluster) []int {
	var ids []int
	for _, m := range c.Members {
		ids = append(ids, m.Process().PID())
	}
	return ids
}

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func TestInvalidBytesDoNotAffectRequests(t *testing.T) {
	c := startCluster(t, 3)
	pids := processIDs(c)
	random := rand.New(rand.NewPCG(1, 1))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	inputs := map[string]func() string{
		"no bytes":                   func() string { return "" },
		"random bytes":               func() string { return noise(1 + random.IntN(64<<10)) },
		"zeros":                      func() string { return strings.Repeat("\x00", 8<<10) },
		"a TLS hello":                tlsHello,
		"half an HTTP/2 preface":     func() string { return http2Preface[:10] },
		"noise after HTTP/2 preface": func() string { return http2Preface + noise(8<<10) },
		"noise after settings":       func() string { return http2Preface + settings + noise(8<<10) },
		"a frame above the limit":    func() string { return http2Preface + settings + "\xff\xff\xff\x00\x00\x00\x00\x00\x01" + noise(1<<16) },
		"headers without an end":     func() string { return http2Preface + settings + endlessHeaders() },
		"a flood of pings": func() string {
			return http2Preface + settings + strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 5000)
		},
		"a flood of resets":                func() string { return http2Preface + settings + resets(5000) },
		"an HTTP/1 request without an end": func() string { return "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<20) },
		"an HTTP/1 request of noise": func() string {
			return "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + noise(64<<10)
		},
	}
	for name, input := range inputs {
		if err := sendToAll(c, input); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkServing(t, c, pids)
		if t.Failed() {
			t.Fatalf("after %s", name)
		}
	}
}

// sendToAll sends ten inputs to every port of every member at the same time.
func sendToAll(c *procs.Cluster, input func() string) error {
	results := make(chan error)
	count := 0
	for _, m := range c.Members {
		for _, address := range []string{m.Endpoint(), m.PeerAddress()} {
			for range 10 {
				bytes := input()
				count++
				go func() { results <- sendRaw(address, bytes) }()
			}
		}
	}
	var errs []error
	for range count {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// sendRaw sends bytes to a port and closes the connection. Only a failure to connect is an error.
func sendRaw(address, bytes string) error {
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	_, _ = io.WriteString(conn, bytes)
	_, _ = conn.Read(make([]byte, 4<<10)) // a response, the end, or a timeout
	return nil
}

func tlsHello() string {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "x"}).Handshake() }()
	hello := make([]byte, 4<<10)
	n, _ := server.Read(hello)
	return string(hello[:n])
}

// endlessHeaders opens a stream with a header block and continuation frames without an end.
func endlessHeaders() string {
	var s strings.Builder
	block := strings.Repeat("\x00\x01x\x7f\x81\x1f"+strings.Repeat("y", 286), 50)
	frame := func(kind byte) {
		n := len(block)
		s.WriteString(string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, 0, 0, 0, 0, 1}))
		s.WriteString(block)
	}
	frame(1)
	for range 100 {
		frame(9)
	}
	return s.String()
}

// resets opens n streams and resets each at once.
func resets(n int) string {
	var s strings.Builder
	for i := range n {
		id := uint32(2*i + 1)
		stream := []byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
		// :method GET, :scheme http, :path / from the static table, end of headers.
		s.WriteString("\x00\x00\x03\x01\x04" + string(stream) + "\x82\x86\x84")
		s.WriteString("\x00\x00\x04\x03\x00" + string(stream) + "\x00\x00\x00\x08")
	}
	return s.String()
}

// rawCodec sends bytes unchanged, so that a request need not be valid protobuf.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) {
	return *v.(*[]byte), nil
}
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func dialRaw(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallSendMsgSize(1<<30)))
	mustSucceed(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestMalformedAndOversizeRequestCodes(t *testing.T) {
	c := startCluster(t, 3)
	pids := processIDs(c)
	putOf := func(size int) []byte { // key "k", a value of zeros
		value := make([]byte, size)
		request := []byte{0x0a, 1, 'k', 0x12}
		for n := uint64(size); ; n >>= 7 {
			if n < 0x80 {
				request = append(request, byte(n))
				break
			}
			request = append(request, byte(n)|0x80)
		}
		return append(request, value...)
	}
	for _, r := range []struct {
		name, method string
		request      []byte
		codes        []codes.Code
	}{
		{"invalid protobuf", "/etcdserverpb.KV/Put", []byte{0x0a, 0xff, 0xff}, []codes.Code{codes.Internal}},
		{"noise to a range", "/etcdserverpb.KV/Range", []byte("\xff\xfe\xfd\xfc\xfb"), []codes.Code{codes.Internal}},
		{"noise to a transaction", "/etcdserverpb.KV/Txn", []byte("\x12\x05\x0a\x7f\x00\x00\x00"), []codes.Code{codes.Internal}},
		{"an unknown method", "/etcdserverpb.KV/Nonsense", nil, []codes.Code{codes.Unimplemented}},
		{"an unknown service", "/unknown.Service/Method", nil, []codes.Code{codes.Unimplemented}},
		{"an empty put", "/etcdserverpb.KV/Put", nil, []codes.Code{codes.InvalidArgument}},
		{"a put above the request limit", "/etcdserverpb.KV/Put", putOf(1600 << 10), []codes.Code{codes.InvalidArgument}},
		{"a put far above the request limit", "/etcdserverpb.KV/Put", putOf(64 << 20), []codes.Code{codes.ResourceExhausted}},
	} {
		for _, m := range c.Members {
			conn := dialRaw(t, m.Endpoint())
			var response []byte
			err := conn.Invoke(contextWithin(t, 2*time.Minute), r.method, &r.request, &response)
			if !slices.Contains(r.codes, status.Code(err)) {
				t.Errorf("%s at %s: %v, want %v", r.name, m.Name, err, r.codes)
			}
		}
		// The peer port must refuse the request too, with any error.
		conn := dialRaw(t, c.Members[0].PeerAddress())
		var response []byte
		if err := conn.Invoke(contextWithin(t, 2*time.Minute), r.method, &r.request, &response); err == nil {
			t.Errorf("%s at the peer port was accepted", r.name)
		}
	}
	checkServing(t, c, pids)
}

func TestStalledWatchersDoNotAffectRequests(t *testing.T) {
	c := startCluster(t, 3)
	pids := processIDs(c)
	watched := c.Members[0]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// WatchRequest{create_request{key: "slow/", range_end: "slow0"}}
	create := []byte("\x0a\x0e\x0a\x05slow/\x12\x05slow0")
	const watchers = 50
	for i := range watchers {
		conn := dialRaw(t, watched.Endpoint())
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Watch/Watch")
		mustSucceed(t, err)
		mustSucceed(t, stream.SendMsg(&create))
		var created []byte // confirms the watch; nothing is read after it
		if err := stream.RecvMsg(&created); err != nil {
			t.Fatalf("watcher %d: %v", i, err)
		}
	}
	// 64 MiB of events for each watcher, 3 GiB in all if the member kept them.
	value := strings.Repeat("v", 64<<10)
	client := dial(t, watched.Endpoint())
	for i := range 1024 {
		if _, err := client.Put(contextWithin(t, 2*time.Minute), fmt.Sprintf("slow/%d", i%16), value); err != nil {
			t.Fatal(err)
		}
	}
	checkServing(t, c, pids)
	// A watcher that reads receives all events.
	history := readHistory(t, dial(t, watched.Endpoint()), "slow/", 1025)
	if len(history) != 1024 {
		t.Errorf("a watcher received %d events of 1024", len(history))
	}
}

func TestIdleConnectionsDoNotAffectRequests(t *testing.T) {
	c := startCluster(t, 3)
	pids := processIDs(c)
	const connections = 2000
	for _, address := range []string{c.Members[0].Endpoint(), c.Members[1].PeerAddress()} {
		for i := range connections {
			conn, err := net.DialTimeout("tcp", address, time.Minute)
			if err != nil {
				t.Fatalf("connection %d to %s: %v", i, address, err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if i%2 == 0 { // half of them send the preface and nothing after it
				_, _ = io.WriteString(conn, http2Preface)
			}
		}
	}
	checkServing(t, c, pids)
}
