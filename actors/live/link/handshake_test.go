package link

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// openTestStream opens a stream as a peer does, with the given Hello.
func openTestStream(t *testing.T, address string, lane lane, hello *messages.Hello) (grpc.ClientStream, error) {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(batchCodec{}), grpc.MaxCallSendMsgSize(1<<30)))
	mustSucceed(t, err)
	t.Cleanup(func() { connection.Close() })
	md := metadata.MD{}
	if hello != nil {
		md = encodeMetadata(helloKey, hello)
	}
	ctx, cancel := context.WithTimeout(t.Context(), linktest.Timeout)
	t.Cleanup(cancel)
	stream, err := connection.NewStream(metadata.NewOutgoingContext(ctx, md), &serviceDesc.Streams[lane], methodName(lane))
	if err != nil {
		return nil, err
	}
	header, err := stream.Header()
	if err != nil {
		return nil, err
	}
	if !decodeMetadata(header, welcomeKey, &messages.Welcome{}) {
		return nil, stream.RecvMsg(&incomingBatch{})
	}
	return stream, nil
}

// identityOfMember2 is the identity of member 2.
func identityOfMember2() Identity {
	return Identity{ID: 2, ClusterID: clusterID, Storage: func() raft.Storage { return linktest.Storage(2) }, Software: "test"}
}

// Both ends of a connection learn the whole data directory of the other.
func TestHandshakeNamesTheDataDirectory(t *testing.T) {
	storage := linktest.Started(linktest.Storage(2), 5, 6, 7)
	storage.Rejoining, storage.ConfirmedIndex = true, 9
	i := Identity{ID: 2, Storage: func() raft.Storage { return storage }}
	for what, got := range map[string]raft.Storage{"Hello": StorageOf(i.Hello(1, "")), "Welcome": StorageOf(i.welcome())} {
		if !reflect.DeepEqual(got, storage) {
			t.Errorf("%s: %+v, want %+v", what, got, storage)
		}
	}
}

func TestE37HandshakeRefusalNamesBothValues(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	if _, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String())); err != nil {
		t.Fatalf("the first contact: %v", err)
	}
	for _, c := range []struct {
		what  string
		spoil func(*messages.Hello)
		words []string
	}{
		{"another protocol", func(h *messages.Hello) { h.ProtocolVersion = 77 }, []string{"member 0x2 has link protocol 77", "member 0x1 has 2", "releases"}},
		{"the former protocol", func(h *messages.Hello) { h.ProtocolVersion = 1 }, []string{"member 0x2 has link protocol 1", "member 0x1 has 2", "releases"}},
		{"another cluster", func(h *messages.Hello) { h.ClusterId = 0xbad }, []string{"member 0x2 is of cluster 0xbad", "member 0x1 is of cluster 0xc1", "token"}},
		{"the own id", func(h *messages.Hello) { h.From = 1 }, []string{"own id 0x1", "one identity"}},
		{"meant for another", func(h *messages.Hello) { h.To = 3 }, []string{"member 0x2 connected to the address of member 0x1", "expected member 0x3"}},
		{"another lane", func(h *messages.Hello) { h.Lane = "bulk" }, []string{`lane "bulk"`, `lane "control"`}},
		{"not a member", func(h *messages.Hello) { h.From = 9 }, []string{"not a member: 0x9", "configuration of member 0x1"}},
		{"another data directory", func(h *messages.Hello) { h.StorageId = []byte{0xee} }, []string{"member 0x2 has storage id ee", "knows it with 00000000000000000000000000000002", "rejoin"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for range 3 {
				hello := identityOfMember2().Hello(1, control.String())
				c.spoil(hello)
				_, err := openTestStream(t, a.address, control, hello)
				if err == nil {
					t.Fatal("the handshake succeeded")
				}
				for _, word := range c.words {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("the peer received %q, without %q", err, word)
					}
				}
			}
			quoted := make([]string, len(c.words))
			for i, word := range c.words {
				quoted[i] = strings.ReplaceAll(word, `"`, `\"`)
			}
			if n := a.log.countLines(append(quoted, "refused an incoming peer connection")...); n != 1 {
				t.Errorf("%d log lines:\n%s", n, a.log)
			}
		})
	}
	if _, err := openTestStream(t, a.address, control, nil); err == nil || !strings.Contains(err.Error(), "client port") {
		t.Errorf("a client without a Hello received %v", err)
	}
	if _, err := openTestStream(t, a.address, control, identityOfMember2().Hello(1, control.String())); err != nil {
		t.Errorf("the peer is refused afterwards: %v", err)
	}
}

func TestBothSidesLogAForeignClusterOnce(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	b := newNodeFixture(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClusterID = 0xc2 })
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(0, &messages.Configuration{Members: list})
	b.env.SetPeers(0, &messages.Configuration{Members: list})
	for _, s := range []*nodeFixture{a, b} {
		waitUntil(t, "both directions are logged", func() bool { return s.log.countLines("cluster 0xc1", "cluster 0xc2") > 1 })
	}
	// Further attempts log nothing.
	peer := a.link.peers.get(2)
	for range 5 {
		peer.requestDial()
	}
	for _, s := range []*nodeFixture{a, b} {
		if incoming, outgoing := s.log.countLines("refused an incoming peer connection"), s.log.countLines("peer connection refused"); incoming != 1 || outgoing != 1 {
			t.Errorf("%d lines of incoming connections, %d of outgoing:\n%s", incoming, outgoing, s.log)
		}
	}
}

func TestWelcomeOfTheWrongMemberIsRefused(t *testing.T) {
	me := Identity{ID: 1, ClusterID: clusterID, Software: "test"}
	member := &messages.Member{Id: 2}
	good := identityOfMember2().welcome()
	if err := me.checkWelcome(good, member); err != nil {
		t.Fatalf("a valid Welcome is refused: %v", err)
	}
	for word, spoil := range map[string]func(*messages.Welcome){
		"protocol 5":    func(w *messages.Welcome) { w.ProtocolVersion = 5 },
		"cluster 0xbad": func(w *messages.Welcome) { w.ClusterId = 0xbad },
		"of member 0x3": func(w *messages.Welcome) { w.From = 3 },
	} {
		w := proto.Clone(good).(*messages.Welcome)
		spoil(w)
		if err := me.checkWelcome(w, member); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v: error %v, want %q", w, err, word)
		}
	}
}

func TestEarlyPeerWaitsForSetPeers(t *testing.T) {
	a, b := newNodeFixture(t, 1, 2, "127.0.0.1:0"), newNodeFixture(t, 2, 1, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{b.member()}})
	connecting := a.link.peers.get(2)
	waitUntil(t, "a dials", func() bool {
		bytes, _ := connecting.queueStats()
		return bytes == 0 && isAccepting(connecting.queues[control])
	})
	// Queued while the handshake waits
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	linktest.Expect(t, a.Node, "up 2")
	// On a machine that paused for longer than connectTimeout
	if _, lost := connecting.queueStats(); lost > 0 {
		a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	}
	received := []any{linktest.Receive(t, b.Node), linktest.Receive(t, b.Node)}
	if fmt.Sprint(received[0]) != "up 1" && fmt.Sprint(received[1]) != "up 1" {
		t.Fatalf("b received %v", received)
	}
	if n := a.log.countLines("refused") + b.log.countLines("refused"); n != 0 {
		t.Fatalf("a member refused an early peer:\n%s%s", a.log, b.log)
	}
}

func TestPlaintextBeyondLoopbackMustBeAllowed(t *testing.T) {
	listener := listen(t, "0.0.0.0:0")
	defer listener.Close()
	if _, err := New(Options{Listeners: []net.Listener{listener}}); err == nil || !strings.Contains(err.Error(), "plaintext") {
		t.Fatalf("plaintext on all interfaces: %v", err)
	}
	if _, err := New(Options{Listeners: []net.Listener{listener}, AllowPlaintext: true}); err != nil {
		t.Fatal(err)
	}
}

// A link that closes has no peers any more. A peer that connects until the port is closed must not
// read, in either log, that it was removed from the configuration.
func TestClosingLinkDoesNotDenyMembers(t *testing.T) {
	a := newNodeFixture(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: "127.0.0.1:1"}}})
	a.env.Close()
	incoming := metadata.NewIncomingContext(t.Context(), encodeMetadata(helloKey, identityOfMember2().Hello(1, control.String())))
	for range 64 { // which case of a select is taken is random
		if _, _, err := a.link.checkHandshake(control, incoming); err == nil || err.Error() != "member 0x1 is stopping" {
			t.Fatalf("the peer received %v", err)
		}
	}
	if n := a.log.countLines("refused an incoming peer connection"); n != 0 {
		t.Errorf("%d log lines:\n%s", n, a.log)
	}
}
