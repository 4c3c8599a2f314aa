package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

const (
	patience  = 20 * time.Second
	clusterID = 0xc1
)

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// count is how many lines hold all of the words.
func (j *journal) count(words ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for _, line := range strings.Split(j.text.String(), "\n") {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// station is a member that hears instead of acting: what its Node is told, and what its replicator is told.
type station struct {
	id         uint64
	address    string
	env        *live.Env
	link       *Link
	log        *journal
	node       chan any
	replicator chan any
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	// The port of a station that was just closed may be in use a moment longer.
	for deadline := time.Now().Add(patience); ; {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return listener
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// newStation starts a member with a link; replicator names the peer that it keeps one for.
func newStation(t testing.TB, id, replicator uint64, address string, change ...func(*Options)) *station {
	t.Helper()
	s := &station{id: id, log: &journal{}, node: make(chan any, 1<<16), replicator: make(chan any, 1<<16)}
	listener := listen(t, address)
	s.address = listener.Addr().String()
	options := Options{Listeners: []net.Listener{listener}, ClusterID: clusterID, StorageID: []byte{byte(id)}, Software: "test"}
	for _, f := range change {
		f(&options)
	}
	var err error
	if s.link, err = New(options); err != nil {
		t.Fatal(err)
	}
	s.env = live.New(live.Options{ID: id, Address: s.address, Link: s.link, Logger: zerolog.New(s.log)})
	var pids []*actor.PID
	for path, heard := range map[string]chan any{
		actors.NodePath: s.node,
		fmt.Sprintf("%s/%s%x", actors.NodePath, actors.PeerPrefix, replicator): s.replicator,
	} {
		pid, err := s.env.System().Root.SpawnNamed(s.env.Props(recorder(heard)), path)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	t.Cleanup(func() {
		s.env.Close()
		for _, pid := range pids {
			s.env.System().Root.Stop(pid)
		}
		s.env.AwaitActors()
	})
	return s
}

func recorder(heard chan any) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case actor.SystemMessage, actor.AutoReceiveMessage:
			case *messages.LinkUp:
				heard <- fmt.Sprintf("up %x", m.Peer)
			case *messages.LinkDown:
				heard <- fmt.Sprintf("down %x", m.Peer)
			case *messages.LinkDropped:
				heard <- fmt.Sprintf("dropped %x", m.Peer)
			default:
				heard <- m
			}
		})
	}
}

func (s *station) member() *messages.Member {
	return &messages.Member{Id: s.id, Address: s.address}
}

func (s *station) send(to uint64, role messages.Role, m proto.Message) {
	s.env.System().Root.Send(s.env.Peer(to, role), m)
}

func hear(t testing.TB, heard <-chan any) any {
	t.Helper()
	select {
	case m := <-heard:
		return m
	case <-time.After(patience):
		t.Fatal("nothing was heard")
		return nil
	}
}

func expect(t testing.TB, heard <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		got := hear(t, heard)
		if message, ok := want.(proto.Message); ok {
			if other, ok := got.(proto.Message); !ok || !proto.Equal(message, other) {
				t.Fatalf("heard %v, want %v", got, want)
			}
		} else if got != want {
			t.Fatalf("heard %v, want %v", got, want)
		}
	}
}

// await waits for a state that no message announces.
func await(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !reached(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// couple is two members, 1 and 2, that know each other and are connected.
func couple(t testing.TB, change ...func(*Options)) (a, b *station) {
	a, b = newStation(t, 1, 2, "127.0.0.1:0", change...), newStation(t, 2, 1, "127.0.0.1:0", change...)
	meet(t, a, b)
	return a, b
}

func meet(t testing.TB, a, b *station) {
	t.Helper()
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(list)
	b.env.SetPeers(list)
	expect(t, a.node, fmt.Sprintf("up %x", b.id))
	expect(t, b.node, fmt.Sprintf("up %x", a.id))
	expect(t, a.replicator, fmt.Sprintf("up %x", b.id))
	expect(t, b.replicator, fmt.Sprintf("up %x", a.id))
}

func heartbeat(from, round uint64) *messages.Heartbeat {
	return &messages.Heartbeat{Leader: from, Round: round}
}

func TestEveryKindOfLetterReachesTheActorThatItsRoleNames(t *testing.T) {
	a, b := couple(t)
	for _, m := range samples(1) {
		a.send(2, messages.Role_ROLE_NODE, m)
		expect(t, b.node, m)
		a.send(2, messages.Role_ROLE_REPLICATOR, m)
		expect(t, b.replicator, m)
	}
	for _, m := range samples(2) {
		b.send(1, messages.Role_ROLE_NODE, m)
		expect(t, a.node, m)
	}
	sent, received := a.link.Stats()[0], b.link.Stats()[0]
	if n := uint64(2 * len(samples(1))); sent.LettersSent != n || received.LettersReceived != n || sent.BytesSent != received.BytesReceived {
		t.Fatalf("%d letters were sent; told: sent %+v, received %+v", n, sent, received)
	}
}

func TestLettersOfALaneArriveInTheirOrder(t *testing.T) {
	a, b := couple(t)
	const n = 20000
	for i := range uint64(n) {
		a.send(2, messages.Role_ROLE_NODE, heartbeat(1, i))
		a.send(2, messages.Role_ROLE_REPLICATOR, &messages.AppendEntries{Leader: 1, Sequence: i, Entries: entriesOf(i+1, 1, 100)})
	}
	for i := range uint64(n) {
		expect(t, b.node, heartbeat(1, i))
		if m := hear(t, b.replicator).(*messages.AppendEntries); m.Sequence != i {
			t.Fatalf("heard request %d, want %d", m.Sequence, i)
		}
	}
	if stat := a.link.Stats()[0]; stat.MailsSent >= stat.LettersSent/2 {
		t.Errorf("%d letters went in %d mails: letters that wait are to share one", stat.LettersSent, stat.MailsSent)
	}
}

func TestAPeerThatEndsIsNoticedWithin200ms(t *testing.T) {
	a, b := couple(t)
	start := time.Now()
	b.env.Close()
	expect(t, a.node, "down 2")
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Fatalf("a peer that ended was noticed after %v", took)
	}
	expect(t, a.replicator, "down 2")
	if n := a.log.count("peer lost", `"peer":"2"`); n != 1 {
		t.Fatalf("%d lines say that the peer was lost:\n%s", n, a.log)
	}
}

func TestAMemberThatComesBackIsConnectedAgain(t *testing.T) {
	a, b := couple(t)
	b.env.Close()
	expect(t, a.node, "down 2")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1)) // lost: what a peer missed is not kept for it
	again := newStation(t, 2, 1, b.address)
	again.env.SetPeers([]*messages.Member{a.member(), again.member()})
	expect(t, a.node, "up 2")
	expect(t, again.node, "up 1")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 2))
	expect(t, again.node, heartbeat(1, 2))
	if dropped := a.link.Stats()[0].Dropped; dropped == 0 {
		t.Error("a letter to a member that was away is not counted as dropped")
	}
}

// gate is a proxy whose connections a test breaks.
type gate struct {
	net.Listener
	to string

	mu          sync.Mutex
	connections []net.Conn // guarded by mu
	shut        bool       // guarded by mu
}

func newGate(t *testing.T, to string) *gate {
	g := &gate{Listener: listen(t, "127.0.0.1:0"), to: to}
	t.Cleanup(func() { g.Close(); g.cut() })
	go func() {
		for {
			in, err := g.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.to)
			g.mu.Lock()
			if err != nil || g.shut {
				in.Close()
				g.mu.Unlock()
				continue
			}
			g.connections = append(g.connections, in, out)
			g.mu.Unlock()
			go func() { in.(*net.TCPConn).ReadFrom(out); in.Close() }()
			go func() { out.(*net.TCPConn).ReadFrom(in); out.Close() }()
		}
	}()
	return g
}

// cut breaks all connections and lets no new one through until mend.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for _, c := range g.connections {
		c.Close()
	}
	g.connections = nil
}

func (g *gate) mend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

func TestALinkIsDownForBothAsSoonAsOneDirectionBreaksAndUpAgainOnceItIsMended(t *testing.T) {
	a, b := newStation(t, 1, 2, "127.0.0.1:0"), newStation(t, 2, 1, "127.0.0.1:0")
	g := newGate(t, b.address)
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: g.Addr().String()}})
	b.env.SetPeers([]*messages.Member{a.member()})
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
	for range 3 {
		g.cut()
		expect(t, a.node, "down 2")
		expect(t, b.node, "down 1")
		b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 7)) // the other direction still stands
		expect(t, a.node, heartbeat(2, 7))
		g.mend()
		expect(t, a.node, "up 2")
		expect(t, b.node, "up 1")
	}
}

func TestAPeerThatIsRemovedIsDisconnectedAndNotLetInAgain(t *testing.T) {
	a, b := couple(t)
	a.env.SetPeers([]*messages.Member{a.member()})
	expect(t, b.node, "down 1")
	await(t, "b is told why", func() bool { return b.log.count("refused", "not a member", "2 is not in the configuration") > 0 })
	b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 1))
	expect(t, a.node, "down 2")
	a.env.SetPeers([]*messages.Member{a.member(), b.member()})
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
}

func TestAMemberThatMovedIsReachedAtItsNewAddress(t *testing.T) {
	a, b := couple(t)
	g := newGate(t, b.address)
	moved := &messages.Member{Id: 2, Address: g.Addr().String()}
	a.env.SetPeers([]*messages.Member{moved})
	expect(t, a.node, "down 2", "up 2")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
	expect(t, b.node, "down 1", "up 1", heartbeat(1, 1))
}

func TestE45AFullQueueDropsTheOldestAndTellsTheReplicatorOnce(t *testing.T) {
	// A peer that accepts connections and never answers: the queue is open, and nothing leaves it.
	silent := listen(t, "127.0.0.1:0")
	defer silent.Close()
	a := newStation(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.BulkQueueBytes = 10 << 10 })
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: silent.Addr().String()}})
	p := a.link.roster.get(2)
	await(t, "the attempt to connect begins", func() bool {
		p.queues[bulk].mu.Lock()
		defer p.queues[bulk].mu.Unlock()
		return p.queues[bulk].open
	})
	for i := range uint64(100) {
		a.send(2, messages.Role_ROLE_REPLICATOR, &messages.AppendEntries{Leader: 1, Sequence: i, Entries: entriesOf(1, 1, 1000)})
	}
	expect(t, a.replicator, "dropped 2")
	stat := a.link.Stats()[0]
	if stat.QueuedBytes > 10<<10 || stat.Dropped < 85 {
		t.Fatalf("100 letters of 1000 bytes into a queue of 10 KiB: %+v", stat)
	}
	letters, _ := p.queues[bulk].take(context.Background(), nil, 1)
	if first := letters[0].message.(*messages.AppendEntries).Sequence; first != stat.Dropped {
		t.Fatalf("%d letters were dropped, and the oldest left is number %d", stat.Dropped, first)
	}
	select {
	case m := <-a.replicator:
		t.Fatalf("the replicator was told again: %v", m)
	default:
	}
}

func TestForwardedProposalsOvertakeEntriesAndAreDroppedLast(t *testing.T) {
	q := newQueue(1000)
	q.admit()
	entries, proposals := &messages.AppendEntries{}, &messages.ForwardedProposals{}
	q.put(messages.Role_ROLE_NODE, entries, 300)
	q.put(messages.Role_ROLE_NODE, proposals, 300)
	q.put(messages.Role_ROLE_NODE, entries, 300) // over the limit: the first entries go
	letters, err := q.take(context.Background(), nil, 1<<20)
	if err != nil || len(letters) != 2 || letters[0].message != proto.Message(proposals) || letters[1].message != proto.Message(entries) {
		t.Fatalf("took %v, %v", letters, err)
	}
	if q.put(messages.Role_ROLE_NODE, proposals, 5000) {
		t.Fatal("a letter above the limit is dropped although it is alone: nothing would ever pass")
	}
}

func TestAWriterThatWaitsIsWokenByALetterOrTheEnd(t *testing.T) {
	q := newQueue(1 << 20)
	q.admit()
	ctx, cancel := context.WithCancelCause(context.Background())
	took := make(chan any, 1)
	wait := func() {
		letters, err := q.take(ctx, nil, 1)
		if err != nil {
			took <- err
			return
		}
		took <- len(letters)
	}
	go wait()
	q.put(messages.Role_ROLE_NODE, heartbeat(1, 1), 10)
	expect(t, took, 1)
	go wait()
	why := errors.New("over")
	cancel(why)
	expect(t, took, why)
	q.put(messages.Role_ROLE_NODE, heartbeat(1, 1), 10) // must not block on a token that nobody takes
	q.put(messages.Role_ROLE_NODE, heartbeat(1, 1), 10)
}

func TestAMessageAboveTheLimitIsNotSentAndSaidOnce(t *testing.T) {
	a, b := couple(t, func(o *Options) { o.MaxLetterBytes = 1000 })
	for range 3 {
		a.send(2, messages.Role_ROLE_NODE, &messages.AppendEntries{Leader: 1, Entries: entriesOf(1, 1, 1001)})
		expect(t, a.replicator, "dropped 2")
	}
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
	expect(t, b.node, heartbeat(1, 1))
	if n := a.log.count("MaxLetterBytes", `"limit":1000`); n != 1 {
		t.Fatalf("%d lines about the message that is too large:\n%s", n, a.log)
	}
}

// call opens a stream as a peer would, with a greeting of the test's making.
func call(t *testing.T, address string, lane lane, hello *messages.Hello) (grpc.ClientStream, error) {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	md := metadata.MD{}
	if hello != nil {
		md = put(helloKey, hello)
	}
	stream, err := connection.NewStream(metadata.NewOutgoingContext(t.Context(), md), &serviceDesc.Streams[lane], method(lane))
	if err != nil {
		return nil, err
	}
	header, err := stream.Header()
	if err != nil {
		return nil, err
	}
	if !get(header, welcomeKey, &messages.Welcome{}) {
		return nil, stream.RecvMsg(&incoming{})
	}
	return stream, nil
}

// second is what member 2 says to member 1.
func second() identity {
	return identity{id: 2, clusterID: clusterID, storageID: []byte{2}, software: "test"}
}

func TestE37AHandshakeThatDoesNotFitIsRefusedWithBothValuesAndSaidOnce(t *testing.T) {
	a := newStation(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: "127.0.0.1:1", StorageId: []byte{2}}})
	for _, c := range []struct {
		what  string
		spoil func(*messages.Hello)
		words []string
	}{
		{"another protocol", func(h *messages.Hello) { h.ProtocolVersion = 77 }, []string{"member 2 speaks link protocol 77", "member 1 speaks 1", "releases"}},
		{"another cluster", func(h *messages.Hello) { h.ClusterId = 0xbad }, []string{"member 2 is of cluster bad", "member 1 is of cluster c1", "token"}},
		{"the own id", func(h *messages.Hello) { h.From = 1 }, []string{"own id 1", "one identity"}},
		{"meant for another", func(h *messages.Hello) { h.To = 3 }, []string{"member 2 looks for member 3", "address of member 1"}},
		{"another lane", func(h *messages.Hello) { h.Lane = "bulk" }, []string{`lane "bulk"`, `lane "control"`}},
		{"not a member", func(h *messages.Hello) { h.From = 9 }, []string{"not a member: 9", "member 1 knows"}},
		{"another data directory", func(h *messages.Hello) { h.StorageId = []byte{0xee} }, []string{"member 2 has storage id ee", "knows it with 02", "new id"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for range 3 {
				hello := second().hello(1, control)
				c.spoil(hello)
				_, err := call(t, a.address, control, hello)
				if err == nil {
					t.Fatal("it was let in")
				}
				for _, word := range c.words {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("the caller is told %q, without %q", err, word)
					}
				}
			}
			quoted := make([]string, len(c.words))
			for i, word := range c.words {
				quoted[i] = strings.ReplaceAll(word, `"`, `\"`)
			}
			if n := a.log.count(append(quoted, "refused a connection")...); n != 1 {
				t.Errorf("%d lines say so:\n%s", n, a.log)
			}
		})
	}
	if _, err := call(t, a.address, control, nil); err == nil || !strings.Contains(err.Error(), "client port") {
		t.Errorf("a caller without a greeting is told %v", err)
	}
	if _, err := call(t, a.address, control, second().hello(1, control)); err != nil {
		t.Errorf("a proper peer is refused after them: %v", err)
	}
}

func TestTwoClustersThatMeetSayOnceOnBothSidesWhatIsWrong(t *testing.T) {
	a := newStation(t, 1, 2, "127.0.0.1:0")
	b := newStation(t, 2, 1, "127.0.0.1:0", func(o *Options) { o.ClusterID = 0xc2 })
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(list)
	b.env.SetPeers(list)
	for _, s := range []*station{a, b} {
		await(t, "it is said", func() bool { return s.log.count("cluster c1", "cluster c2") > 1 })
	}
	// Some attempts later it still stands there once for each direction.
	attempts := a.link.roster.get(2)
	for range 5 {
		attempts.nudge()
	}
	for _, s := range []*station{a, b} {
		if called, calling := s.log.count("refused a connection"), s.log.count("peer connection refused"); called != 1 || calling != 1 {
			t.Errorf("%d lines of being called, %d of calling:\n%s", called, calling, s.log)
		}
	}
}

func TestAnAnswerFromTheWrongMemberIsRefused(t *testing.T) {
	me := identity{id: 1, clusterID: clusterID, software: "test"}
	member := &messages.Member{Id: 2, StorageId: []byte{2}}
	good := second().welcome()
	if err := me.checkWelcome(good, member); err != nil {
		t.Fatalf("a proper answer is refused: %v", err)
	}
	for word, spoil := range map[string]func(*messages.Welcome){
		"protocol 5":  func(w *messages.Welcome) { w.ProtocolVersion = 5 },
		"cluster bad": func(w *messages.Welcome) { w.ClusterId = 0xbad },
		"of member 3": func(w *messages.Welcome) { w.From = 3 },
		"storage id":  func(w *messages.Welcome) { w.StorageId = nil },
	} {
		w := proto.Clone(good).(*messages.Welcome)
		spoil(w)
		if err := me.checkWelcome(w, member); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v is answered with %v, want %q", w, err, word)
		}
	}
}

func TestE46ALetterThatLiesIsDroppedCountedAndSaidOnce(t *testing.T) {
	a := newStation(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: "127.0.0.1:1"}, {Id: 3, Address: "127.0.0.1:1"}})
	stream, err := call(t, a.address, control, second().hello(1, control))
	if err != nil {
		t.Fatal(err)
	}
	lies := []*outgoing{
		posted(messages.Role_ROLE_NODE, heartbeat(3, 1)),        // speaks for another
		posted(messages.Role_ROLE_NODE, samples(0)...),          // for nobody, in every kind of letter
		posted(messages.Role_ROLE_UNSPECIFIED, heartbeat(2, 1)), // to no actor
		posted(messages.Role(9), heartbeat(2, 1)),               // to an actor that peers may not write to
	}
	for _, mail := range append(lies, posted(messages.Role_ROLE_NODE, heartbeat(2, 99))) {
		if err := stream.SendMsg(mail); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, a.node, heartbeat(2, 99))
	if refused, want := a.link.Stats()[0].Refused, uint64(3+len(samples(0))); refused != want {
		t.Errorf("%d letters were refused, want %d", refused, want)
	}
	if n := a.log.count("dropped a letter", "says it is from 3"); n != 1 || a.log.count("dropped a letter") != 1 {
		t.Errorf("said %d times:\n%s", n, a.log)
	}
}

func TestAMailThatCannotBeReadEndsTheStreamAndAProperOneIsTakenAfterwards(t *testing.T) {
	a := newStation(t, 1, 2, "127.0.0.1:0", func(o *Options) { o.MaxLetterBytes = 1000 })
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: "127.0.0.1:1"}})
	open := func() grpc.ClientStream {
		stream, err := call(t, a.address, control, second().hello(1, control))
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	malformed := posted(messages.Role_ROLE_NODE, &messages.Heartbeat{})
	malformed.letters[0].message = &messages.Removed{}
	malformed.letters[0].message.ProtoReflect().SetUnknown([]byte{0x0a, 0x7f}) // a length beyond the end
	malformed.letters[0].size = 2
	stream := open()
	stream.SendMsg(malformed)
	if err := stream.RecvMsg(&incoming{}); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("the sender of a malformed mail is told %v", err)
	}
	stream = open()
	stream.SendMsg(posted(messages.Role_ROLE_NODE, &messages.AppendEntries{Leader: 2, Entries: entriesOf(1, 1, 2<<20)}))
	if err := stream.RecvMsg(&incoming{}); err == nil || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("the sender of an oversized mail is told %v", err)
	}
	if err := open().SendMsg(posted(messages.Role_ROLE_NODE, heartbeat(2, 5))); err != nil {
		t.Fatal(err)
	}
	expect(t, a.node, heartbeat(2, 5))
}

func TestAPeerThatOpensALaneAnewTakesTheFormerStreamsPlace(t *testing.T) {
	a := newStation(t, 1, 2, "127.0.0.1:0")
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: "127.0.0.1:1"}})
	former, err := call(t, a.address, control, second().hello(1, control))
	if err != nil {
		t.Fatal(err)
	}
	latter, err := call(t, a.address, control, second().hello(1, control))
	if err != nil {
		t.Fatal(err)
	}
	if err := former.RecvMsg(&incoming{}); err == nil || !strings.Contains(err.Error(), "anew") {
		t.Errorf("the former stream ended with %v", err)
	}
	if err := latter.SendMsg(posted(messages.Role_ROLE_NODE, heartbeat(2, 2))); err != nil {
		t.Fatal(err)
	}
	expect(t, a.node, heartbeat(2, 2))
}

func TestGarbageOnThePortHurtsNobody(t *testing.T) {
	a, b := couple(t)
	for i, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff", strings.Repeat("\x00\xfe", 1<<16), ""} {
		c, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(garbage))
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(patience))
		for buffer := make([]byte, 1024); err == nil; {
			_, err = c.Read(buffer)
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("garbage %d: the connection is still open", i)
		}
		c.Close()
	}
	b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 1))
	expect(t, a.node, heartbeat(2, 1))
}

func TestAPeerThatIsEarlyWaitsUntilTheNodeHasSaidWhoItsPeersAre(t *testing.T) {
	a, b := newStation(t, 1, 2, "127.0.0.1:0"), newStation(t, 2, 1, "127.0.0.1:0")
	a.env.SetPeers([]*messages.Member{b.member()})
	connecting := a.link.roster.get(2)
	await(t, "a dials", func() bool { bytes, _ := connecting.losses(); return bytes == 0 && connecting.queues[control].isOpen() })
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1)) // taken in while the handshake waits
	b.env.SetPeers([]*messages.Member{a.member()})
	expect(t, a.node, "up 2")
	heard := []any{hear(t, b.node), hear(t, b.node)}
	if fmt.Sprint(heard[0]) != "up 1" && fmt.Sprint(heard[1]) != "up 1" {
		t.Fatalf("b heard %v", heard)
	}
	if n := a.log.count("refused") + b.log.count("refused"); n != 0 {
		t.Fatalf("members that start in any order refuse each other:\n%s%s", a.log, b.log)
	}
}

func TestPlaintextBeyondLoopbackMustBeAllowed(t *testing.T) {
	listener := listen(t, "0.0.0.0:0")
	defer listener.Close()
	if _, err := New(Options{Listeners: []net.Listener{listener}}); err == nil || !strings.Contains(err.Error(), "plaintext") {
		t.Fatalf("plaintext for everyone: %v", err)
	}
	if _, err := New(Options{Listeners: []net.Listener{listener}, AllowPlaintext: true}); err != nil {
		t.Fatal(err)
	}
}
