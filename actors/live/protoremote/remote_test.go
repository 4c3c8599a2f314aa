package protoremote

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/tests/freeport"
)

const testTimeout = time.Minute

// nodeFixture is a member whose Node and one replicator record what they receive.
type nodeFixture struct {
	id         uint64
	env        *live.Env
	link       *Link
	node       chan any
	replicator chan any
}

// freePort returns an unused port.
func freePort(t *testing.T) int {
	t.Helper()
	return freeport.Take(t, 1)[0]
}

func newNodeFixture(t *testing.T, id, replicator uint64, port int, change ...func(*Options)) *nodeFixture {
	t.Helper()
	s := &nodeFixture{id: id, node: make(chan any, 4096), replicator: make(chan any, 4096)}
	options := Options{Host: "127.0.0.1", Port: port, ClusterID: 0xc1, StorageID: []byte{byte(id)}, Software: "test"}
	for _, f := range change {
		f(&options)
	}
	var err error
	if s.link, err = New(options); err != nil {
		t.Fatal(err)
	}
	s.env = live.New(live.Options{ID: id, Address: fmt.Sprintf("127.0.0.1:%d", port), Link: s.link, Logger: zerolog.Nop()})
	for path, received := range map[string]chan any{
		actors.NodePath:                   s.node,
		actors.ReplicatorPath(replicator): s.replicator,
	} {
		pid, err := s.env.System().Root.SpawnNamed(s.env.Props(func() actor.Actor {
			return actor.ReceiveFunc(func(ctx actor.Context) {
				switch m := ctx.Message().(type) {
				case actor.SystemMessage, actor.AutoReceiveMessage:
				case *messages.LinkUp:
					received <- fmt.Sprintf("up %x", m.Peer)
				case *messages.LinkDown:
					received <- fmt.Sprintf("down %x", m.Peer)
				case *messages.EnvelopesDropped:
					received <- fmt.Sprintf("dropped %x", m.Peer)
				default:
					received <- m
				}
			})
		}), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.env.System().Root.Stop(pid) })
	}
	t.Cleanup(s.env.Close)
	return s
}

func (s *nodeFixture) member() *messages.Member {
	return &messages.Member{Id: s.id, Address: s.env.System().Address()}
}

func (s *nodeFixture) send(to uint64, role messages.Role, m proto.Message) {
	s.env.System().Root.Send(s.env.PeerPID(to, role), m)
}

func expect(t *testing.T, received <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		select {
		case got := <-received:
			if message, ok := want.(proto.Message); ok {
				if other, ok := got.(proto.Message); !ok || !proto.Equal(message, other) {
					t.Fatalf("received %v, want %v", got, want)
				}
			} else if got != want {
				t.Fatalf("received %v, want %v", got, want)
			}
		case <-time.After(testTimeout):
			t.Fatalf("no message was received, want %v", want)
		}
	}
}

// skipUnderRaceDetector skips tests that start more than one remote in this process: Proto.Actor
// sets gRPC's global logger without a lock. A server has one remote only.
func skipUnderRaceDetector(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("two remotes in one process race for gRPC's global logger, within Proto.Actor")
	}
}

func connect(t *testing.T, stations ...*nodeFixture) {
	t.Helper()
	var list []*messages.Member
	for _, s := range stations {
		list = append(list, s.member())
	}
	for _, s := range stations {
		s.env.SetPeers(list)
	}
}

func heartbeat(from, round uint64) *messages.Heartbeat {
	return &messages.Heartbeat{Leader: from, Round: round}
}

func TestMembersExchangeMessagesOverRemote(t *testing.T) {
	skipUnderRaceDetector(t)
	a, b := newNodeFixture(t, 1, 2, freePort(t)), newNodeFixture(t, 2, 1, freePort(t))
	connect(t, a, b)
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
	for round := range uint64(100) {
		a.send(2, messages.Role_ROLE_NODE, heartbeat(1, round))
		expect(t, b.node, heartbeat(1, round))
	}
	entries := &messages.AppendEntries{Leader: 2, Entries: &messages.Entries{First: 1, Runs: []*messages.TermRun{{FirstIndex: 1, Term: 1}}, Data: [][]byte{[]byte("x")}, Bytes: 1}}
	b.send(1, messages.Role_ROLE_NODE, entries)
	expect(t, a.node, entries)
	response := &messages.AppendResponse{From: 1, Accepted: true}
	a.send(2, messages.Role_ROLE_REPLICATOR, response)
	expect(t, b.replicator, "up 1", response)
}

func TestRestartedMemberIsConnectedAgain(t *testing.T) {
	skipUnderRaceDetector(t)
	a := newNodeFixture(t, 1, 2, freePort(t))
	port := freePort(t)
	b := newNodeFixture(t, 2, 1, port)
	connect(t, a, b)
	expect(t, a.node, "up 2")
	b.env.Close()
	start := time.Now()
	expect(t, a.node, "down 2")
	// By its closed connection, not by the keepalive.
	if took := time.Since(start); took > keepaliveInterval {
		t.Fatalf("the closed member was noticed after %v", took)
	}
	expect(t, a.replicator, "up 2", "down 2")
	again := newNodeFixture(t, 2, 1, port)
	connect(t, a, again)
	expect(t, a.node, "up 2")
	expect(t, again.node, "up 1")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 7))
	expect(t, again.node, heartbeat(1, 7))
}

func TestMessageOfForeignClusterIsRefused(t *testing.T) {
	skipUnderRaceDetector(t)
	a := newNodeFixture(t, 1, 2, freePort(t))
	b := newNodeFixture(t, 2, 1, freePort(t), func(o *Options) { o.ClusterID = 0xc2 })
	connect(t, a, b)
	expect(t, b.node, "up 1")
	b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 1))
	for deadline := time.Now().Add(testTimeout); a.link.Stats()[0].Refused == 0; {
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
	a.env.SetPeers(nil)
	calls := newTestClient(t, a)
	if _, err := calls.ListProcesses(context.Background(), &remote.ListProcessesRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a unary call ended with %v", err)
	}
	data, _ := proto.Marshal(messages.NewEnvelope(messages.Role_ROLE_NODE, heartbeat(2, 1)))
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
	case m := <-a.node:
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
	expect(t, a.node, "up 2")
	expect(t, a.replicator, "up 2")
	expect(t, b.node, "up 1")
	a.send(2, messages.Role_ROLE_NODE, &messages.AppendEntries{Leader: 1, Entries: &messages.Entries{Data: [][]byte{make([]byte, 101)}}})
	expect(t, a.replicator, "dropped 2")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
	expect(t, b.node, heartbeat(1, 1))
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
