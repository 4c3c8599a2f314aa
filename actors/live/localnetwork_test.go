package live

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
	"github.com/troupe-raft/troupe/messages"
)

// nodeFixture is a node whose Node and replicators record what they receive.
type nodeFixture struct {
	*linktest.Recorder
	env *Env
}

func newNodeFixture(t *testing.T, id uint64, link PeerLink, peers ...uint64) *nodeFixture {
	t.Helper()
	env := newTestEnv(t, Options{ID: id, Link: link})
	return &nodeFixture{linktest.Record(t, env, peers...), env}
}

func members(ids ...uint64) []*messages.Member {
	var list []*messages.Member
	for _, id := range ids {
		list = append(list, &messages.Member{Id: id, Address: fmt.Sprintf("node-%x:2380", id)})
	}
	return list
}

// connectedPair makes nodes 1 and 0xab, which are peers on one network.
func connectedPair(t *testing.T) (network *LocalNetwork, a, b *nodeFixture) {
	network = NewLocalNetwork()
	a = newNodeFixture(t, 1, network.Link(), 0xab)
	b = newNodeFixture(t, 0xab, network.Link(), 1)
	a.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	b.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	expect(t, a.Node, "up ab")
	expect(t, b.Node, "up 1")
	return network, a, b
}

func TestLocalNetworkPassesPointersByRole(t *testing.T) {
	_, a, b := connectedPair(t)
	toNode, toReplicator := linktest.Heartbeat(1, 1), &messages.AppendResponse{From: 1}
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, toNode)
	a.Send(0xab, messages.Receiver_RECEIVER_REPLICATOR, toReplicator)
	expect(t, b.Node, toNode)
	expect(t, b.Replicator, "up 1", toReplicator)
}

func TestCutAndHealNotifyBothNodes(t *testing.T) {
	network, a, b := connectedPair(t)
	network.Cut(1, 0xab)
	expect(t, a.Node, "down ab: cut")
	expect(t, a.Replicator, "up ab", "down ab: cut")
	expect(t, b.Node, "down 1: cut")
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	network.Heal(0xab, 1)
	expect(t, a.Node, "up ab")
	expect(t, b.Node, "up 1")
	second := linktest.Heartbeat(1, 2)
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, second)
	expect(t, b.Node, second)
	if stat := a.env.options.Link.Stats()[0]; stat.Dropped != 1 || stat.EnvelopesSent != 1 || !stat.Up {
		t.Fatalf("stats after one message lost and one passed: %+v", stat)
	}
}

func TestClosedNodeIsDownUntilItReturns(t *testing.T) {
	network, a, b := connectedPair(t)
	b.env.Close()
	expect(t, a.Node, "down ab: peer closed")
	again := newNodeFixture(t, 0xab, network.Link(), 1)
	again.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	expect(t, a.Node, "up ab")
	m := linktest.Heartbeat(1, 1)
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, m)
	expect(t, again.Node, "up 1", m)
}

func TestOnlyMutualPeersExchangeMessages(t *testing.T) {
	_, a, b := connectedPair(t)
	b.env.SetPeers(0, &messages.Configuration{Members: members(0xab)})
	expect(t, a.Node, "down ab: not a peer any more")
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, linktest.Heartbeat(1, 1))
	b.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	m := linktest.Heartbeat(1, 2)
	a.Send(0xab, messages.Receiver_RECEIVER_NODE, m)
	expect(t, b.Node, "down 1: not a peer any more", "up 1", m)
}

func TestDelayKeepsTheOrder(t *testing.T) {
	network, a, b := connectedPair(t)
	network.Delay(1, 0xab, 5*time.Millisecond)
	start := time.Now()
	var sent []any
	for round := range uint64(100) {
		m := linktest.Heartbeat(1, round)
		sent = append(sent, m)
		a.Send(0xab, messages.Receiver_RECEIVER_NODE, m)
	}
	expect(t, b.Node, sent...)
	if took := time.Since(start); took < 5*time.Millisecond {
		t.Fatalf("messages delayed by 5 ms took %v", took)
	}
}

func TestFilterDropsMessages(t *testing.T) {
	network, a, b := connectedPair(t)
	network.Filter(func(p MessageInTransit) bool { return p.Message.(*messages.Heartbeat).Round%2 == 0 })
	var kept []any
	for round := range uint64(10) {
		m := linktest.Heartbeat(1, round)
		if round%2 == 0 {
			kept = append(kept, m)
		}
		a.Send(0xab, messages.Receiver_RECEIVER_NODE, m)
	}
	expect(t, b.Node, kept...)
}

func TestPIDOfUnknownPeerWorksOnceItIsKnown(t *testing.T) {
	network := NewLocalNetwork()
	a := newNodeFixture(t, 1, network.Link())
	early := a.env.PeerPID(0xab, messages.Receiver_RECEIVER_NODE)
	a.env.System().Root.Send(early, linktest.Heartbeat(1, 1))
	if lost := a.env.LostMessages(); lost.UnknownPeer != 1 {
		t.Fatalf("a message to an unknown peer is counted as %+v", lost)
	}
	b := newNodeFixture(t, 0xab, network.Link(), 1)
	b.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	a.env.SetPeers(0, &messages.Configuration{Members: members(1, 0xab)})
	expect(t, b.Node, "up 1")
	m := linktest.Heartbeat(1, 2)
	a.env.System().Root.Send(early, m)
	expect(t, b.Node, m)
	if pid := a.env.PeerPID(0xab, messages.Receiver_RECEIVER_NODE); pid.Address != "node-ab:2380" || pid.Id != "troupe/node" {
		t.Fatalf("the PID of the peer's Node is %v", pid)
	}
	if pid := b.env.PeerPID(1, messages.Receiver_RECEIVER_REPLICATOR); pid.Id != "troupe/node/peer-0xab" {
		t.Fatalf("the PID of the replicator that 1 runs for ab is %v", pid)
	}
	own := a.env.PeerPID(1, messages.Receiver_RECEIVER_NODE)
	a.env.System().Root.Send(own, m)
	expect(t, a.Node, "up ab", m)
}

func TestOnlyPeerMessagesAreSentToPeers(t *testing.T) {
	_, a, b := connectedPair(t)
	pid := a.env.PeerPID(0xab, messages.Receiver_RECEIVER_NODE)
	root := a.env.System().Root
	root.Send(pid, &messages.Durable{})
	root.Send(pid, "a string")
	root.Stop(pid)
	root.Poison(pid)
	m := linktest.Heartbeat(1, 1)
	root.Send(pid, m)
	expect(t, b.Node, m)
	if lost := a.env.LostMessages(); lost.NotPeerMessage != 4 {
		t.Fatalf("four messages that are no peer messages are counted as %+v", lost)
	}
}

func TestResolverPassesOnUnknownPIDs(t *testing.T) {
	_, a, _ := connectedPair(t)
	passedOn := make(chan any, 8)
	a.env.System().ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		passedOn <- pid.Address + " " + pid.Id
		return a.env.System().DeadLetter, true
	})
	for _, unknown := range []*actor.PID{
		actor.NewPID("node-ab:2380", "troupe/node/log"),
		actor.NewPID("node-ab:2380", "troupe/node/peer-ab"),
		actor.NewPID("node-ab:2380", "application"),
		actor.NewPID("elsewhere:1", "troupe/node"),
	} {
		a.env.System().Root.Send(unknown, linktest.Heartbeat(1, 1))
		expect(t, passedOn, unknown.Address+" "+unknown.Id)
	}
}

func TestMessageToStoppedReplicatorIsCounted(t *testing.T) {
	network := NewLocalNetwork()
	a, b := newNodeFixture(t, 1, network.Link()), newNodeFixture(t, 2, network.Link())
	a.env.SetPeers(0, &messages.Configuration{Members: members(1, 2)})
	b.env.SetPeers(0, &messages.Configuration{Members: members(1, 2)})
	a.Send(2, messages.Receiver_RECEIVER_REPLICATOR, &messages.AppendResponse{From: 1})
	if lost := b.env.LostMessages(); lost.NoReceiver != 1 {
		t.Fatalf("a response to a stopped replicator is counted as %+v", lost)
	}
}
