package protoremote

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/tests/freeport"
)

// nodeFixture is a member whose Node and one replicator record what they receive.
type nodeFixture struct {
	*linktest.Recorder
	id      uint64
	env     *live.Env
	link    *Link
	storage raft.Storage
}

// freePort returns an unused port.
func freePort(t *testing.T) int {
	t.Helper()
	return freeport.Take(t, 1)[0]
}

func newNodeFixture(t *testing.T, id, replicator uint64, port int, change ...func(*Options)) *nodeFixture {
	t.Helper()
	return newNodeFixtureOn(t, id, replicator, linktest.Storage(byte(id)), port, change...)
}

func newNodeFixtureOn(
	t *testing.T, id, replicator uint64, storage raft.Storage, port int, change ...func(*Options),
) *nodeFixture {
	t.Helper()
	s := &nodeFixture{id: id, storage: storage}
	options := Options{Host: "127.0.0.1", Port: port, ClusterID: 0xc1, Software: "test"}
	for _, f := range change {
		f(&options)
	}
	var err error
	if s.link, err = New(options); err != nil {
		t.Fatal(err)
	}
	s.env = live.New(live.Options{ID: id, Address: fmt.Sprintf("127.0.0.1:%d", port), Link: s.link, Logger: zerolog.Nop(),
		Peers: linktest.Peers(t, id, s.storage),
	})
	s.Recorder = linktest.Record(t, s.env, replicator)
	t.Cleanup(s.env.Close)
	return s
}

func (s *nodeFixture) member() *messages.Member {
	return &messages.Member{Id: s.id, Address: s.env.System().Address()}
}

// skipUnderRaceDetector skips tests that start more than one remote in this process: Proto.Actor
// sets gRPC's global logger without a lock. A server has one remote only.
func skipUnderRaceDetector(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("two remotes in one process race for gRPC's global logger, within Proto.Actor")
	}
}

func connect(t *testing.T, nodes ...*nodeFixture) {
	t.Helper()
	var list []*messages.Member
	for _, s := range nodes {
		list = append(list, s.member())
	}
	for _, s := range nodes {
		s.env.SetPeers(0, &messages.Configuration{Members: list})
	}
}

func TestMembersExchangeMessagesOverRemote(t *testing.T) {
	skipUnderRaceDetector(t)
	a, b := newNodeFixture(t, 1, 2, freePort(t)), newNodeFixture(t, 2, 1, freePort(t))
	connect(t, a, b)
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, b.Node, "up 1")
	for round := range uint64(100) {
		a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, round))
		linktest.Expect(t, b.Node, linktest.Heartbeat(1, round))
	}
	entries := &messages.AppendEntries{Leader: 2, Entries: &messages.Entries{First: 1, Runs: []*messages.TermRun{{FirstIndex: 1, Term: 1}}, Data: [][]byte{[]byte("x")}, Bytes: 1}}
	b.Send(1, messages.Receiver_RECEIVER_NODE, entries)
	linktest.Expect(t, a.Node, entries)
	response := &messages.AppendResponse{From: 1, Accepted: true}
	a.Send(2, messages.Receiver_RECEIVER_REPLICATOR, response)
	linktest.Expect(t, b.Replicator, "up 1", response)
}

func TestRestartedMemberIsConnectedAgain(t *testing.T) {
	skipUnderRaceDetector(t)
	a := newNodeFixture(t, 1, 2, freePort(t))
	port := freePort(t)
	b := newNodeFixture(t, 2, 1, port)
	connect(t, a, b)
	linktest.Expect(t, a.Node, "up 2")
	b.env.Close()
	start := time.Now()
	linktest.Expect(t, a.Node, "down 2")
	// By its closed connection, not by the keepalive.
	if took := time.Since(start); took > keepaliveInterval {
		t.Fatalf("the closed member was noticed after %v", took)
	}
	linktest.Expect(t, a.Replicator, "up 2", "down 2")
	again := newNodeFixture(t, 2, 1, port)
	connect(t, a, again)
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, again.Node, "up 1")
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 7))
	linktest.Expect(t, again.Node, linktest.Heartbeat(1, 7))
}

// A member comes back on an older copy of its data directory: its Node receives the refusal of a
// peer that has met a later start.
func TestE37OlderCopyIsRefusedOverRemote(t *testing.T) {
	skipUnderRaceDetector(t)
	a := newNodeFixture(t, 1, 2, freePort(t))
	port := freePort(t)
	for _, starts := range [][]uint64{{0, 1}, {0, 1, 2}} {
		b := newNodeFixtureOn(t, 2, 1, linktest.Started(linktest.Storage(2), starts...), port)
		connect(t, a, b)
		linktest.Expect(t, a.Node, "up 2")
		linktest.Expect(t, b.Node, "up 1")
		b.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 1))
		linktest.Expect(t, a.Node, linktest.Heartbeat(2, 1)) // so the Hello was admitted
		if !a.link.Stats()[0].Up {
			t.Error("an admitted member counts as not connected")
		}
		b.env.Close()
		linktest.Expect(t, a.Node, "down 2")
	}
	copied := newNodeFixtureOn(t, 2, 1, linktest.Started(linktest.Storage(2), 0, 11, 12, 13), port)
	connect(t, a, copied)
	m := sendUntilRefused(t, copied)
	if m.From != 1 || m.Start != 4 || m.StartId != 13 || !strings.Contains(m.Reason, "older copy") {
		t.Fatalf("received %v", m)
	}
	if stat := a.link.Stats()[0]; stat.EnvelopesReceived != 2 || stat.Up {
		t.Errorf("%d messages of member 2 were delivered, connected: %v", stat.EnvelopesReceived, stat.Up)
	}
}

// sendUntilRefused sends to member 1 until the Node receives a refusal: nothing is sent to a member
// that is not connected yet, and a refusal answers a message.
func sendUntilRefused(t *testing.T, s *nodeFixture) *messages.StorageRefused {
	t.Helper()
	for deadline := time.Now().Add(linktest.Timeout); time.Now().Before(deadline); {
		s.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(s.id, 1))
		select {
		case got := <-s.Node:
			if m, ok := got.(*messages.StorageRefused); ok {
				return m
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the data directory was not refused")
	return nil
}

func TestMessageOfForeignClusterIsRefused(t *testing.T) {
	skipUnderRaceDetector(t)
	a := newNodeFixture(t, 1, 2, freePort(t))
	b := newNodeFixture(t, 2, 1, freePort(t), func(o *Options) { o.ClusterID = 0xc2 })
	connect(t, a, b)
	linktest.Expect(t, b.Node, "up 1")
	b.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 1))
	for deadline := time.Now().Add(linktest.Timeout); a.link.Stats()[0].Refused == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the message was not refused")
		}
		<-time.After(time.Millisecond)
	}
	if received := a.link.Stats()[0].EnvelopesReceived; received != 0 {
		t.Fatalf("%d messages were delivered", received)
	}
}

// newTestClient makes a client of Proto.Actor's protocol.
func newTestClient(t *testing.T, s *nodeFixture) remote.RemotingClient {
	t.Helper()
	connection, err := grpc.NewClient(s.env.System().Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return remote.NewRemotingClient(connection)
}

func TestE46RemoteProtocolAcceptsOnlyPeerMessages(t *testing.T) {
	a := newNodeFixture(t, 1, 2, freePort(t))
	a.env.SetPeers(0, &messages.Configuration{Members: nil})
	calls := newTestClient(t, a)
	if _, err := calls.ListProcesses(context.Background(), &remote.ListProcessesRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a unary call ended with %v", err)
	}
	data, _ := proto.Marshal(messages.NewEnvelope(messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 1)))
	envelope := func(change func(*remote.MessageBatch)) *remote.RemoteMessage {
		b := &remote.MessageBatch{
			TypeNames: []string{"troupe.v1.Envelope"}, Targets: []string{receiverName},
			Envelopes: []*remote.MessageEnvelope{{MessageData: data}},
		}
		change(b)
		return &remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}
	}
	for what, message := range map[string]*remote.RemoteMessage{
		"stop":                 envelope(func(b *remote.MessageBatch) { b.TypeNames[0] = "actor.Stop"; b.Targets[0] = actors.NodePath }),
		"stop of the receiver": envelope(func(b *remote.MessageBatch) { b.TypeNames[0] = "actor.Stop" }),
		"envelope to the Node": envelope(func(b *remote.MessageBatch) { b.Targets[0] = actors.NodePath }),
		"type out of range":    envelope(func(b *remote.MessageBatch) { b.Envelopes[0].TypeId = 9 }),
		"negative target":      envelope(func(b *remote.MessageBatch) { b.Envelopes[0].Target = -1 }),
		"a sender":             envelope(func(b *remote.MessageBatch) { b.Envelopes[0].Sender = 1 }),
		"a spawn":              envelope(func(b *remote.MessageBatch) { b.TypeNames[0] = "remote.ActorPidRequest"; b.Targets[0] = "activator" }),
		"a disconnect":         {MessageType: &remote.RemoteMessage_DisconnectRequest{DisconnectRequest: &remote.DisconnectRequest{}}},
		"a client":             {MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{ConnectionType: &remote.ConnectRequest_ClientConnection{}}}},
		"nothing":              {},
	} {
		t.Run(what, func(t *testing.T) {
			stream, err := calls.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(message); err != nil {
				t.Fatal(err)
			}
			if _, err = stream.Recv(); status.Code(err) != codes.PermissionDenied {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
	if err := checkStream(nil, nil, &grpc.StreamServerInfo{FullMethod: "/m"}, func(any, grpc.ServerStream) error { panic("on purpose") }); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("a panic of the reader returned %v", err)
	}
	select {
	case m := <-a.Node:
		t.Errorf("the Node received %v", m)
	default:
	}
	if _, ok := a.env.System().ProcessRegistry.GetLocal(actors.NodePath); !ok {
		t.Error("the Node was stopped")
	}
}

func TestOversizedMessageIsNotSent(t *testing.T) {
	skipUnderRaceDetector(t)
	small := func(o *Options) { o.maxMessageBytes = 100 }
	a, b := newNodeFixture(t, 1, 2, freePort(t), small), newNodeFixture(t, 2, 1, freePort(t), small)
	connect(t, a, b)
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, a.Replicator, "up 2")
	linktest.Expect(t, b.Node, "up 1")
	a.Send(2, messages.Receiver_RECEIVER_NODE, &messages.AppendEntries{Leader: 1, Entries: &messages.Entries{Data: [][]byte{make([]byte, 101)}}})
	linktest.Expect(t, a.Replicator, "dropped 2")
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	linktest.Expect(t, b.Node, linktest.Heartbeat(1, 1))
}

func TestPortInUseIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := New(Options{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port}); err == nil {
		t.Fatal("New returned no error")
	}
}

// The Hello of an earlier start that is read late does not replace that of the present one. That of
// an older copy does.
func TestLateHelloIsIgnored(t *testing.T) {
	hello := func(starts ...uint64) *messages.Hello {
		return &messages.Hello{From: 2, StorageId: []byte{2}, Starts: uint64(len(starts)), StartIds: starts}
	}
	present := hello(1, 2, 3)
	for _, c := range []struct {
		late   *messages.Hello
		stored bool
	}{{hello(1, 2), false}, {hello(1, 2, 3), true}, {hello(1, 2, 3, 4), true}, {hello(1, 12), true}, {&messages.Hello{From: 2, StorageId: []byte{3}}, true}} {
		p := &inboundProcess{link: &Link{peers: map[uint64]*remotePeer{}}, hellos: map[uint64]*messages.Hello{}}
		p.storeHello(present)
		p.storeHello(c.late)
		if got := p.hellos[2] == c.late; got != c.stored {
			t.Errorf("%v after %v: stored %v", c.late, present, got)
		}
	}
}

func TestUnknownHellosDoNotEvictAMembersHello(t *testing.T) {
	l := &Link{peers: map[uint64]*remotePeer{2: {}}}
	p := &inboundProcess{link: l, hellos: map[uint64]*messages.Hello{}}
	p.storeHello(&messages.Hello{From: 2})
	for id := range uint64(3 * maxHellos) {
		p.storeHello(&messages.Hello{From: 100 + id})
	}
	if p.hellos[2] == nil {
		t.Error("the member's Hello was evicted: its messages are refused until it connects again")
	}
	if n := len(p.hellos); n > maxHellos+1 {
		t.Errorf("%d Hellos are stored", n)
	}
}
