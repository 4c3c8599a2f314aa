package link

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

const (
	testTimeout = time.Minute
	clusterID   = 0xc1
)

// journal is a log that tests read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (j *logBuffer) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// count is how many lines hold all of the words.
func (j *logBuffer) countLines(words ...string) (n int) {
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

func (j *logBuffer) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// station is a member that hears instead of acting: what its Node is told, and what its replicator is told.
type nodeFixture struct {
	id         uint64
	address    string
	env        *live.Env
	link       *Link
	log        *logBuffer
	node       chan any
	replicator chan any
	done       chan struct{} // closed when the test ends: what was not read by then is not waited for
	pids       []*actor.PID
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	// The port of a station that was just closed may be in use a moment longer.
	for deadline := time.Now().Add(testTimeout); ; {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return listener
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// newNodeFixture starts a member with a link; replicator names the peer that it keeps one for.
func newNodeFixture(t testing.TB, id, replicator uint64, address string, change ...func(*Options)) *nodeFixture {
	t.Helper()
	s := &nodeFixture{id: id, log: &logBuffer{}, node: make(chan any, 1<<16), replicator: make(chan any, 1<<16), done: make(chan struct{})}
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
	for path, heard := range map[string]chan any{
		actors.NodePath:                   s.node,
		actors.ReplicatorPath(replicator): s.replicator,
	} {
		pid, err := s.env.System().Root.SpawnNamed(s.env.Props(recordingActor(heard, s.done)), path)
		if err != nil {
			t.Fatal(err)
		}
		s.pids = append(s.pids, pid)
	}
	t.Cleanup(func() {
		close(s.done)
		s.env.Close()
		s.stopActors()
	})
	return s
}

func (s *nodeFixture) stopActors() {
	for _, pid := range s.pids {
		s.env.System().Root.Stop(pid)
	}
	s.env.AwaitActors()
}

// recorder passes on what it hears for as long as the test runs. A test that sends without end fills the channel; without
// deaf the actor would then wait for a reader that has gone, and the test for the actor.
func recordingActor(heard chan<- any, deaf <-chan struct{}) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			var news any
			switch m := ctx.Message().(type) {
			case actor.SystemMessage, actor.AutoReceiveMessage:
				return
			case *messages.LinkUp:
				news = fmt.Sprintf("up %x", m.Peer)
			case *messages.LinkDown:
				news = fmt.Sprintf("down %x", m.Peer)
			case *messages.EnvelopesDropped:
				news = fmt.Sprintf("dropped %x", m.Peer)
			default:
				news = m
			}
			select {
			case heard <- news:
			case <-deaf:
			}
		})
	}
}

func (s *nodeFixture) member() *messages.Member {
	return &messages.Member{Id: s.id, Address: s.address}
}

func (s *nodeFixture) send(to uint64, role messages.Role, m proto.Message) {
	s.env.System().Root.Send(s.env.PeerPID(to, role), m)
}

func receiveNext(t testing.TB, heard <-chan any) any {
	t.Helper()
	select {
	case m := <-heard:
		return m
	case <-time.After(testTimeout):
		t.Fatal("nothing was heard")
		return nil
	}
}

func expect(t testing.TB, heard <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		got := receiveNext(t, heard)
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
func waitUntil(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !reached(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// couple is two members, 1 and 2, that know each other and are connected.
func connectedPair(t testing.TB, change ...func(*Options)) (a, b *nodeFixture) {
	a, b = newNodeFixture(t, 1, 2, "127.0.0.1:0", change...), newNodeFixture(t, 2, 1, "127.0.0.1:0", change...)
	connectPair(t, a, b)
	return a, b
}

func connectPair(t testing.TB, a, b *nodeFixture) {
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

// gate is a proxy whose connections a test breaks.
type testProxy struct {
	net.Listener
	to string

	mu          sync.Mutex
	connections []net.Conn // guarded by mu
	refusing    bool       // guarded by mu
	discarding  atomic.Bool
}

func newTestProxy(t *testing.T, to string) *testProxy {
	g := &testProxy{Listener: listen(t, "127.0.0.1:0"), to: to}
	t.Cleanup(func() { g.Close(); g.breakConnections() })
	go func() {
		for {
			in, err := g.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.to)
			g.mu.Lock()
			if err != nil || g.refusing {
				in.Close()
				g.mu.Unlock()
				continue
			}
			g.connections = append(g.connections, in, out)
			g.mu.Unlock()
			go g.copyOneWay(in, out)
			go g.copyOneWay(out, in)
		}
	}()
	return g
}

// carry copies one direction until it breaks; a frozen gate reads on and passes nothing.
func (g *testProxy) copyOneWay(from, to net.Conn) {
	defer to.Close()
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !g.discarding.Load() {
			to.Write(buffer[:n])
		}
	}
}

// cut breaks all connections and lets no new one through until mend.
func (g *testProxy) breakConnections() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusing = true
	for _, c := range g.connections {
		c.Close()
	}
	g.connections = nil
}

func (g *testProxy) restore() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusing = false
}

// freeze makes the gate swallow everything, as a host does that lost its power: no connection is closed.
func (g *testProxy) discardAll() { g.discarding.Store(true) }
