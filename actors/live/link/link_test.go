package link

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// By its connections, that is: there is nothing else by which it could be noticed here, since no silence is long enough. How
// long it takes on a machine that has other things to do is not ours; with time to spare it is a millisecond.
func TestAPeerThatEndsIsNoticedWithin200ms(t *testing.T) {
	endless := func(o *Options) { o.keepaliveInterval = time.Hour }
	for try := 1; ; try++ {
		took := timeToNoticeClose(t, endless)
		if took <= 200*time.Millisecond {
			return
		}
		if t.Logf("a peer that ended was noticed after %v", took); try == 20 {
			t.Fatal("and never sooner")
		}
	}
}

// timeToNoticeClose measures how long it takes until the end of a peer is noticed.
func timeToNoticeClose(t *testing.T, change func(*Options)) time.Duration {
	t.Helper()
	a, b := connectedPair(t, change)
	start := time.Now()
	b.env.Close()
	expect(t, a.node, "down 2")
	took := time.Since(start)
	expect(t, a.replicator, "down 2")
	if n := a.log.countLines("peer lost", `"peer":"2"`); n != 1 {
		t.Fatalf("%d lines say that the peer was lost:\n%s", n, a.log)
	}
	return took
}

func TestAMemberThatComesBackIsConnectedAgain(t *testing.T) {
	a, b := connectedPair(t)
	b.env.Close()
	expect(t, a.node, "down 2")
	waitUntil(t, "what is sent to a member that is away is dropped, not kept for it", func() bool {
		a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
		return a.link.Stats()[0].Dropped > 0
	})
	again := newNodeFixture(t, 2, 1, b.address)
	again.env.SetPeers([]*messages.Member{a.member(), again.member()})
	expect(t, a.node, "up 2")
	// What was sent during the attempt that succeeded comes too, and may come while the other direction is still made.
	waitUntil(t, "the link is up at the other end", func() bool { return receiveNext(t, again.node) == "up 1" })
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 2))
	waitUntil(t, "the letter arrives", func() bool { return receiveNext(t, again.node).(*messages.Heartbeat).Round == 2 })
}

func TestALinkIsDownForBothAsSoonAsOneDirectionBreaksAndUpAgainOnceItIsMended(t *testing.T) {
	a, b := newNodeFixture(t, 1, 2, "127.0.0.1:0"), newNodeFixture(t, 2, 1, "127.0.0.1:0")
	g := newTestProxy(t, b.address)
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: g.Addr().String()}})
	b.env.SetPeers([]*messages.Member{a.member()})
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
	for range 3 {
		g.breakConnections()
		expect(t, a.node, "down 2")
		expect(t, b.node, "down 1")
		b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 7)) // the other direction still stands
		expect(t, a.node, heartbeat(2, 7))
		g.restore()
		expect(t, a.node, "up 2")
		expect(t, b.node, "up 1")
	}
}

func TestAPeerThatIsRemovedIsDisconnectedAndNotLetInAgain(t *testing.T) {
	a, b := connectedPair(t)
	a.env.SetPeers([]*messages.Member{a.member()})
	expect(t, b.node, "down 1")
	waitUntil(t, "b is told why", func() bool { return b.log.countLines("refused", "not a member", "2 is not in the configuration") > 0 })
	b.send(1, messages.Role_ROLE_NODE, heartbeat(2, 1))
	expect(t, a.node, "down 2")
	a.env.SetPeers([]*messages.Member{a.member(), b.member()})
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
}

func TestAMemberThatMovedIsReachedAtItsNewAddress(t *testing.T) {
	a, b := connectedPair(t)
	g := newTestProxy(t, b.address)
	moved := &messages.Member{Id: 2, Address: g.Addr().String()}
	a.env.SetPeers([]*messages.Member{moved})
	expect(t, a.node, "down 2", "up 2")
	a.send(2, messages.Role_ROLE_NODE, heartbeat(1, 1))
	// What b is told depends on what it sees first: that the former streams end, or that new ones take their place.
	first := receiveNext(t, b.node)
	if first == "down 1" {
		expect(t, b.node, "up 1")
		first = receiveNext(t, b.node)
	}
	if m, ok := first.(*messages.Heartbeat); !ok || m.Round != 1 {
		t.Fatalf("heard %v", first)
	}
}

// Within twice its silence; the default would take five seconds at least. A machine may stall, but not each time.
func TestAHostThatFallsSilentIsNoticedThoughNoConnectionBreaks(t *testing.T) {
	const tries = 5
	for range tries {
		took := timeToNoticeSilence(t, time.Second)
		if took <= 4*time.Second {
			return
		}
		t.Logf("a silence of 1 s was noticed after %v", took)
	}
	t.Fatalf("in none of %d tries sooner", tries)
}

// timeToNoticeSilence measures how long it takes until a host that has fallen silent is noticed.
func timeToNoticeSilence(t *testing.T, silence time.Duration) time.Duration {
	t.Helper()
	impatient := func(o *Options) { o.keepaliveInterval = silence }
	a, b := newNodeFixture(t, 1, 2, "127.0.0.1:0", impatient), newNodeFixture(t, 2, 1, "127.0.0.1:0", impatient)
	g := newTestProxy(t, b.address)
	a.env.SetPeers([]*messages.Member{{Id: 2, Address: g.Addr().String()}})
	b.env.SetPeers([]*messages.Member{a.member()})
	expect(t, a.node, "up 2")
	expect(t, b.node, "up 1")
	g.discardAll()
	start := time.Now()
	expect(t, b.node, "down 1")
	return time.Since(start)
}

func TestNoGoroutineIsLeftOnceALinkIsClosed(t *testing.T) {
	quiet := newNodeFixture(t, 9, 8, "127.0.0.1:0") // so that what is made once a process is made before
	quiet.env.Close()
	before := runtime.NumGoroutine()
	for range 3 {
		a, b := newNodeFixture(t, 1, 2, "127.0.0.1:0"), newNodeFixture(t, 2, 1, "127.0.0.1:0")
		gone := &messages.Member{Id: 3, Address: "127.0.0.1:1"}
		a.env.SetPeers([]*messages.Member{b.member(), gone})
		b.env.SetPeers([]*messages.Member{a.member(), gone})
		expect(t, a.node, "up 2")
		expect(t, b.node, "up 1")
		a.env.Close()
		b.env.Close()
		a.env.Close() // once more does no harm
		for _, s := range []*nodeFixture{a, b} {
			s.stopActors()
		}
	}
	waitUntil(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAClosedLinkDeliversNothing(t *testing.T) {
	a, b := connectedPair(t)
	var sending sync.WaitGroup
	over := make(chan struct{})
	sending.Go(func() {
		for i := uint64(0); ; i++ {
			select {
			case <-over:
				return
			default:
				a.send(2, messages.Role_ROLE_NODE, heartbeat(1, i))
			}
		}
	})
	receiveNext(t, b.node)
	p := b.link.peerTable.get(1)
	b.env.Close()
	received := p.envelopesReceived.Load()
	heard := b.env.LostMessages()
	close(over)
	sending.Wait()
	if now := p.envelopesReceived.Load(); now != received || b.env.LostMessages() != heard {
		t.Fatalf("%d letters were delivered before the link was closed, %d in all", received, now)
	}
}

// Two processes with one identity (a copied data directory) take each other's place at every peer, again and again. That must
// not become a storm: who is thrown out at once after he was let in waits longer each time.
func TestAConnectionThatNeverLastsIsMadeMoreAndMoreSeldom(t *testing.T) {
	c := newNodeFixture(t, 3, 1, "127.0.0.1:0")
	one, other := newNodeFixture(t, 1, 3, "127.0.0.1:0"), newNodeFixture(t, 1, 3, "127.0.0.1:0")
	c.env.SetPeers([]*messages.Member{one.member()})
	start := time.Now()
	one.env.SetPeers([]*messages.Member{c.member()})
	other.env.SetPeers([]*messages.Member{c.member()})
	waitUntil(t, "they have taken each other's place often", func() bool { return one.log.countLines("peer connected") >= 7 })
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Fatalf("six connections that were thrown out at once were made anew within %v", took)
	}
}
