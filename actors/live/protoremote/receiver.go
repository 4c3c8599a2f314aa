package protoremote

import (
	"bytes"
	"maps"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/link"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
)

// inboundProcess receives all messages of peers. It runs on Proto.Actor's reading goroutines and
// passes the messages to the PeerReceiver.
type inboundProcess struct {
	link *Link

	mu     sync.Mutex
	hellos map[uint64]*messages.Hello // guarded by mu; the last Hello of each sender
	closed bool                       // guarded by mu
}

// maxHellos bounds the Hellos of unknown senders.
const maxHellos = 256

func (p *inboundProcess) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	switch m := inner.(type) {
	case *messages.Hello:
		p.storeHello(m)
		if peer := p.link.peer(m.GetFrom()); peer != nil {
			p.checkHello(peer)
		}
	case *messages.Envelope:
		p.deliver(m.GetReceiver(), m.PeerMessage())
	}
}

func (p *inboundProcess) SendSystemMessage(*actor.PID, any) {}
func (p *inboundProcess) Stop(*actor.PID)                   {}

// storeHello stores a Hello, unless it is of an earlier start than the last one: it was read late.
func (p *inboundProcess) storeHello(hello *messages.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.hellos[hello.GetFrom()]; last != nil && bytes.Equal(last.GetStorageId(), hello.GetStorageId()) {
		if link.StorageOf(last).Starts.Passed(link.StorageOf(hello).Starts.Present()) {
			return
		}
	}
	if len(p.hellos) >= maxHellos {
		// Those of members stay: a member sends one for each connection only.
		maps.DeleteFunc(p.hellos, func(id uint64, _ *messages.Hello) bool { return p.link.peer(id) == nil })
	}
	p.hellos[hello.GetFrom()] = hello
}

// checkHello checks the peer's Hello before it sends anything else, so that the two have met.
func (p *inboundProcess) checkHello(peer *remotePeer) {
	p.mu.Lock()
	_, arrived := p.hellos[peer.member.GetId()]
	p.mu.Unlock()
	if arrived {
		p.helloAccepted(peer)
	}
}

func (p *inboundProcess) deliver(role messages.Receiver, message messages.PeerMessage) {
	if message == nil {
		return
	}
	from := message.SenderID()
	peer := p.link.peer(from)
	if peer == nil {
		return
	}
	if err := live.CheckPeerMessage(from, role, message); err != nil || !p.helloAccepted(peer) {
		peer.refused.Add(1)
		return
	}
	peer.received.Add(1)
	p.link.receiver.Deliver(from, role, message)
}

// helloAccepted checks the peer's last Hello. It does so for each message, since the Hello may have
// arrived before SetPeers.
func (p *inboundProcess) helloAccepted(peer *remotePeer) bool {
	id := peer.member.GetId()
	p.mu.Lock()
	defer p.mu.Unlock()
	hello := p.hellos[id]
	if p.closed || hello == nil {
		return false
	}
	err := p.link.self.CheckHello(hello, receiverName, peer.member)
	if err == nil {
		err = p.link.receiver.Admit(id, link.StorageOf(hello))
	}
	peer.admitted.Store(err == nil)
	if err != nil && p.link.failures.Allow(id, err.Error()) {
		p.link.log.Error().Str("reason", err.Error()).Msg("refused a peer")
	}
	if mismatch := persistence.IsStorageMismatch(err); mismatch != nil {
		// Once for each message, so that the peer receives it whenever it was started again.
		peer.send(messages.Receiver_RECEIVER_NODE, mismatch.Refusal())
	}
	return err == nil
}

// close ends the delivery.
func (p *inboundProcess) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
