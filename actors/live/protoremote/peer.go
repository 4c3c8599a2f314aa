package protoremote

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// remotePeer is the link to one other member; Proto.Actor's events report its state. Proto.Actor
// connects when something is sent, so a Hello is: it opens the connection and is its first message.
type remotePeer struct {
	link       *Link
	member     *messages.Member
	inboundPID *actor.PID

	ctx    context.Context
	cancel context.CancelFunc
	broken chan struct{} // capacity 1; a token for a terminated endpoint

	// admitted: the last Hello or message that was checked is of the peer's own data directory. A peer
	// that waits to rejoin is reached, and not admitted.
	admitted atomic.Bool

	sent, received, dropped, refused atomic.Uint64

	mu         sync.Mutex
	up         bool      // guarded by mu
	stateSince time.Time // guarded by mu
	reason     string    // guarded by mu
}

func newRemotePeer(l *Link, member *messages.Member) *remotePeer {
	p := &remotePeer{
		link: l, member: member, inboundPID: actor.NewPID(member.GetAddress(), receiverName),
		broken: make(chan struct{}, 1), stateSince: time.Now(), reason: "not connected yet",
	}
	p.ctx, p.cancel = context.WithCancel(l.ctx)
	return p
}

// sendHellos sends a Hello at first, and again after each termination of the endpoint.
func (p *remotePeer) sendHellos() {
	p.link.inbound.checkHello(p) // it may have arrived before SetPeers
	for {
		p.link.system.Root.Send(p.inboundPID, p.link.self.Hello(p.member.GetId(), receiverName))
		select {
		case <-p.broken:
		case <-p.ctx.Done():
			return
		}
		select {
		case <-time.After(helloRetryDelay):
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *remotePeer) connected() { p.setState(true, "") }

func (p *remotePeer) terminated() {
	p.setState(false, "the endpoint was terminated")
	select {
	case p.broken <- struct{}{}:
	default:
	}
}

func (p *remotePeer) setState(up bool, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up == p.up {
		return
	}
	id := p.member.GetId()
	p.up, p.stateSince, p.reason = up, time.Now(), reason
	if up {
		p.link.receiver.LinkUp(id)
		p.link.log.Info().Str("peer", raft.FormatID(id)).Msg("peer connected")
		return
	}
	p.admitted.Store(false)
	p.link.receiver.LinkDown(id, reason)
	if p.ctx.Err() == nil {
		p.link.log.Warn().Str("peer", raft.FormatID(id)).Str("reason", reason).Msg("peer lost")
	}
}

// stop closes the connection: Proto.Actor does so when an EndpointTerminatedEvent is published.
func (p *remotePeer) stop(reason string) {
	p.cancel()
	p.setState(false, reason)
	p.link.system.EventStream.Publish(&remote.EndpointTerminatedEvent{Address: p.member.GetAddress()})
}

func (p *remotePeer) send(role messages.Receiver, message messages.PeerMessage) {
	p.mu.Lock()
	up := p.up
	p.mu.Unlock()
	if !up {
		p.dropped.Add(1)
		return
	}
	if size := proto.Size(message); size > p.link.options.maxMessageBytes {
		p.dropped.Add(1)
		if p.link.failures.Allow(p.member.GetId(), "oversized") {
			p.link.log.Error().Str("peer", raft.FormatID(p.member.GetId())).
				Int("bytes", size).Int("limit", p.link.options.maxMessageBytes).
				Str("advice", "keep requests below the limit").Msg("message to peer exceeds the size limit")
		}
		p.link.receiver.EnvelopesDropped(p.member.GetId())
		return
	}
	p.sent.Add(1)
	p.link.system.Root.Send(p.inboundPID, messages.NewEnvelope(role, message))
}

func (p *remotePeer) stat() live.PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return live.PeerStat{
		ID: p.member.GetId(), Address: p.member.GetAddress(),
		Up: p.up && p.admitted.Load(), StateDuration: time.Since(p.stateSince), Reason: p.reason,
		EnvelopesSent: p.sent.Load(), EnvelopesReceived: p.received.Load(),
		Dropped: p.dropped.Load(), Refused: p.refused.Load(),
	}
}
