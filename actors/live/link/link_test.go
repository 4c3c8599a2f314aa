package link

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

// The closed connection is noticed, not the silence: keepalive is off.
func TestClosedPeerIsNoticedWithoutKeepalive(t *testing.T) {
	a, b := connectedPair(t, func(o *Options) { o.keepaliveInterval = time.Hour })
	b.env.Close()
	linktest.Expect(t, a.Node, "down 2")
	linktest.Expect(t, a.Replicator, "down 2")
	waitUntil(t, "the lost peer is logged", func() bool { return a.log.countLines("peer lost", `"peer":"0x2"`) == 1 })
	if reason := a.link.Stats()[0].Reason; strings.Contains(reason, "context canceled") || strings.Contains(reason, "EOF") {
		t.Fatalf("the reason is %q", reason)
	}
}

func TestReasonOfClosedPeerIsInPlainWords(t *testing.T) {
	for _, err := range []error{
		nil, io.EOF,
		status.Error(codes.Canceled, "context canceled"),
		status.Error(codes.Unavailable, "error reading from server: EOF"),
		status.Error(codes.Unavailable, "error reading from server: read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"),
		status.Error(codes.Unavailable, "transport is closing"),
	} {
		if got := streamError(err); got.Error() != "the peer closed the connection" {
			t.Errorf("%v: %q", err, got)
		}
	}
	stopping := streamError(toStatus(&refusedError{text: "member 0x2 is stopping"}))
	var refused *refusedError
	if !errors.As(stopping, &refused) || stopping.Error() != "member 0x2 is stopping" {
		t.Errorf("a refusal became %v", stopping)
	}
}

func TestReasonOfFailedDialIsTheCause(t *testing.T) {
	const grpcText = `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`
	if got := dialError(status.Error(codes.Unavailable, grpcText)).Error(); got != "dial tcp 127.0.0.1:1: connect: connection refused" {
		t.Errorf("%q", got)
	}
}

// The reason of a connection that this node closed is the cause, not that the call was canceled.
func TestReasonOfOwnCloseIsItsCause(t *testing.T) {
	a, b := connectedPair(t)
	moved := proto.Clone(b.member()).(*messages.Member)
	moved.Address = "127.0.0.1:1"
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), moved}})
	waitUntil(t, "the lost peer is logged", func() bool { return a.log.countLines("peer lost", `"peer":"0x2"`) > 0 })
	if a.log.countLines("peer lost", "context canceled") > 0 {
		t.Fatal(a.log)
	}
}

func TestRestartedPeerIsConnectedAgain(t *testing.T) {
	a, b := connectedPair(t)
	b.env.Close()
	linktest.Expect(t, a.Node, "down 2")
	waitUntil(t, "a message to a closed member is dropped", func() bool {
		a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
		return a.link.Stats()[0].Dropped > 0
	})
	again := newNodeFixture(t, 2, 1, b.address)
	again.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), again.member()}})
	linktest.Expect(t, a.Node, "up 2")
	// Messages that were sent during the successful attempt arrive too, possibly before LinkUp.
	waitUntil(t, "the link is up at the other side", func() bool { return linktest.Receive(t, again.Node) == "up 1" })
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 2))
	waitUntil(t, "the message arrives", func() bool { return linktest.Receive(t, again.Node).(*messages.Heartbeat).Round == 2 })
}

func TestLinkIsDownWhileOneDirectionIsBroken(t *testing.T) {
	a, b, g := connectThroughProxy(t)
	for range 3 {
		g.breakConnections()
		linktest.Expect(t, a.Node, "down 2")
		linktest.Expect(t, b.Node, "down 1")
		// The other direction is still connected
		b.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 7))
		linktest.Expect(t, a.Node, linktest.Heartbeat(2, 7))
		g.restore()
		linktest.Expect(t, a.Node, "up 2")
		linktest.Expect(t, b.Node, "up 1")
	}
}

func TestRemovedPeerIsDisconnectedAndRefused(t *testing.T) {
	a, b := connectedPair(t)
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member()}})
	linktest.Expect(t, b.Node, "down 1")
	waitUntil(t, "b logs why", func() bool { return b.log.countLines("refused", "not a member", "2 is not in the configuration") > 0 })
	b.Send(1, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(2, 1))
	linktest.Expect(t, a.Node, "down 2")
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), b.member()}})
	linktest.Expect(t, a.Node, "up 2")
	linktest.Expect(t, b.Node, "up 1")
}

func TestMovedPeerIsDialedAtItsNewAddress(t *testing.T) {
	a, b := connectedPair(t)
	g := newTestProxy(t, b.address)
	moved := &messages.Member{Id: 2, Address: g.Addr().String()}
	a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{moved}})
	linktest.Expect(t, a.Node, "down 2", "up 2")
	a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	// b is notified only if the first streams end before the new ones replace them.
	first := linktest.Receive(t, b.Node)
	if strings.HasPrefix(fmt.Sprint(first), "down 1") {
		linktest.Expect(t, b.Node, "up 1")
		first = linktest.Receive(t, b.Node)
	}
	if m, ok := first.(*messages.Heartbeat); !ok || m.Round != 1 {
		t.Fatalf("received %v", first)
	}
}

// A host that has lost its power closes no connection: without pings this takes many minutes.
func TestSilentHostIsNoticedByKeepalive(t *testing.T) {
	_, b, g := connectThroughProxy(t, func(o *Options) { o.keepaliveInterval = time.Second })
	g.discardAll()
	start := time.Now()
	linktest.Expect(t, b.Node, "down 1")
	t.Logf("with an interval of 1 s, noticed after %v", time.Since(start))
}

func TestClosedLinkLeavesNoGoroutine(t *testing.T) {
	warmUp := newNodeFixture(t, 9, 8, "127.0.0.1:0") // starts the goroutines that a process has once
	warmUp.env.Close()
	before := runtime.NumGoroutine()
	for range 3 {
		a, b := newNodeFixture(t, 1, 2, "127.0.0.1:0"), newNodeFixture(t, 2, 1, "127.0.0.1:0")
		gone := &messages.Member{Id: 3, Address: "127.0.0.1:1"}
		a.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{b.member(), gone}})
		b.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{a.member(), gone}})
		linktest.Expect(t, a.Node, "up 2")
		linktest.Expect(t, b.Node, "up 1")
		a.env.Close()
		b.env.Close()
		a.env.Close() // again: no effect
		for _, s := range []*nodeFixture{a, b} {
			s.Stop()
		}
	}
	waitUntil(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestClosedLinkDeliversNothing(t *testing.T) {
	a, b := connectedPair(t)
	var sending sync.WaitGroup
	over := make(chan struct{})
	sending.Go(func() {
		for i := uint64(0); ; i++ {
			select {
			case <-over:
				return
			default:
				a.Send(2, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, i))
			}
		}
	})
	linktest.Receive(t, b.Node)
	p := b.link.peers.get(1)
	b.env.Close()
	received := p.envelopesReceived.Load()
	lost := b.env.LostMessages()
	close(over)
	sending.Wait()
	if now := p.envelopesReceived.Load(); now != received || b.env.LostMessages() != lost {
		t.Fatalf("%d messages were delivered before Close, %d in total", received, now)
	}
}

// Two processes with one identity (a copied data directory) replace each other's streams at every
// peer. The pause must grow, since a connection that is replaced at once counts as a failed
// attempt.
func TestShortLivedConnectionsAreRetriedSlower(t *testing.T) {
	c := newNodeFixture(t, 3, 1, "127.0.0.1:0")
	one, other := newNodeFixture(t, 1, 3, "127.0.0.1:0"), newNodeFixture(t, 1, 3, "127.0.0.1:0")
	c.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{one.member()}})
	start := time.Now()
	one.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{c.member()}})
	other.env.SetPeers(0, &messages.Configuration{Members: []*messages.Member{c.member()}})
	waitUntil(t, "they have replaced each other several times", func() bool { return one.log.countLines("peer connected") >= 7 })
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Fatalf("six connections that were replaced at once were made again within %v", took)
	}
}
