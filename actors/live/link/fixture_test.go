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

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/tests/freeport"
)

const clusterID = 0xc1

// logBuffer is a log that tests read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// countLines returns how many lines contain all of the words.
func (l *logBuffer) countLines(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for _, line := range strings.Split(l.text.String(), "\n") {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// nodeFixture is a member whose Node and one replicator record what they receive.
type nodeFixture struct {
	*linktest.Recorder
	id      uint64
	address string
	env     *live.Env
	link    *Link
	storage raft.Storage
	log     *logBuffer
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	// The port of a fixture that was just closed may still be in use.
	for deadline := time.Now().Add(linktest.Timeout); ; {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return listener
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// newNodeFixture starts a member with a link and a replicator for one peer.
func newNodeFixture(t testing.TB, id, replicator uint64, address string, change ...func(*Options)) *nodeFixture {
	t.Helper()
	return newNodeFixtureOn(t, id, replicator, linktest.Storage(byte(id)), address, change...)
}

// newNodeFixtureOn is newNodeFixture with another data directory.
func newNodeFixtureOn(
	t testing.TB, id, replicator uint64, storage raft.Storage, address string, change ...func(*Options),
) *nodeFixture {
	t.Helper()
	s := &nodeFixture{id: id, log: &logBuffer{}, storage: storage}
	if address == "127.0.0.1:0" { // a port that no other process gets if the member closes it
		address = fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	}
	listener := listen(t, address)
	s.address = listener.Addr().String()
	options := Options{Listeners: []net.Listener{listener}, ClusterID: clusterID, Software: "test"}
	for _, f := range change {
		f(&options)
	}
	var err error
	if s.link, err = New(options); err != nil {
		t.Fatal(err)
	}
	s.env = live.New(live.Options{ID: id, Address: s.address, Link: s.link, Logger: zerolog.New(s.log),
		Peers: linktest.Peers(t, id, s.storage),
	})
	s.Recorder = linktest.Record(t, s.env, replicator)
	t.Cleanup(s.env.Close)
	return s
}

func (s *nodeFixture) member() *messages.Member {
	return &messages.Member{Id: s.id, Address: s.address}
}

// waitUntil polls for a state of which no message notifies.
func waitUntil(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(linktest.Timeout); !reached(); {
		if time.Now().After(deadline) {
			t.Fatalf("timeout: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// connectedPair makes members 1 and 2, which are connected.
func connectedPair(t testing.TB, change ...func(*Options)) (a, b *nodeFixture) {
	a, b = newNodeFixture(t, 1, 2, "127.0.0.1:0", change...), newNodeFixture(t, 2, 1, "127.0.0.1:0", change...)
	connectPair(t, a, b)
	return a, b
}

func connectPair(t testing.TB, a, b *nodeFixture) {
	t.Helper()
	list := []*messages.Member{a.member(), b.member()}
	a.env.SetPeers(0, &messages.Configuration{Members: list})
	b.env.SetPeers(0, &messages.Configuration{Members: list})
	linktest.Expect(t, a.Node, fmt.Sprintf("up %x", b.id))
	linktest.Expect(t, b.Node, fmt.Sprintf("up %x", a.id))
	linktest.Expect(t, a.Replicator, fmt.Sprintf("up %x", b.id))
	linktest.Expect(t, b.Replicator, fmt.Sprintf("up %x", a.id))
}

// testProxy is a proxy whose connections a test breaks.
type testProxy struct {
	net.Listener
	to string

	mu          sync.Mutex
	connections []net.Conn // guarded by mu
	refusing    bool       // guarded by mu
	discarding  atomic.Bool
}

// connectThroughProxy connects two nodes; the first one dials the second through a proxy.
func connectThroughProxy(t *testing.T, change ...func(*Options)) (a, b *nodeFixture, p *testProxy) {
	t.Helper()
	a, b = newNodeFixture(t, 1, 2, "127.0.0.1:0", change...), newNodeFixture(t, 2, 1, "127.0.0.1:0", change...)
	p = newTestProxy(t, b.address)
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{{Id: 2, Address: p.Addr().String()}}})
	b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, b.Node, "up 1")
	return a, b, p
}

func newTestProxy(t *testing.T, to string) *testProxy {
	p := &testProxy{Listener: listen(t, "127.0.0.1:0"), to: to}
	t.Cleanup(func() { p.Close(); p.breakConnections() })
	go func() {
		for {
			in, err := p.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.to)
			p.mu.Lock()
			if err != nil || p.refusing {
				in.Close()
				p.mu.Unlock()
				continue
			}
			p.connections = append(p.connections, in, out)
			p.mu.Unlock()
			go p.copyOneWay(in, out)
			go p.copyOneWay(out, in)
		}
	}()
	return p
}

// copyOneWay copies one direction until it breaks, or discards it after discardAll.
func (p *testProxy) copyOneWay(from, to net.Conn) {
	defer to.Close()
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !p.discarding.Load() {
			to.Write(buffer[:n])
		}
	}
}

// breakConnections closes all connections and refuses new ones until restore.
func (p *testProxy) breakConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	for _, c := range p.connections {
		c.Close()
	}
	p.connections = nil
}

func (p *testProxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = false
}

// discardAll discards all bytes and closes no connection, as if the host had lost its power.
func (p *testProxy) discardAll() { p.discarding.Store(true) }

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
