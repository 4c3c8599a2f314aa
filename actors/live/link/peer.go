package link

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// peer is one other member: the queues and the connection towards it (dial.go), the streams that it opened (accept.go),
// and whether the two together make a link.
type linkPeer struct {
	link *Link
	id   uint64

	queues [laneCount]*sendQueue
	peerCounters

	ctx     context.Context // ended with the peer
	cancel  context.CancelCauseFunc
	dialNow chan struct{} // a token: dial now, the peer just showed that it is alive

	mu              sync.Mutex
	member          *messages.Member          // guarded by mu; immutable
	closeConnection context.CancelFunc        // guarded by mu; ends the present connection
	outboundUp      bool                      // guarded by mu; the own connection stands, both lanes
	inboundStreams  [laneCount]*inboundStream // guarded by mu; the streams that the peer opened
	up              bool                      // guarded by mu
	stateSince      time.Time                 // guarded by mu; of up, or not
	reason          string                    // guarded by mu; why it is not up
}

// traffic counts.
type peerCounters struct {
	envelopesSent, bytesSent, batchesSent             atomic.Uint64
	envelopesReceived, bytesReceived, batchesReceived atomic.Uint64
	refused, oversized                                atomic.Uint64
}

func newLinkPeer(l *Link, member *messages.Member) *linkPeer {
	p := &linkPeer{
		link: l, id: member.GetId(), member: member,
		dialNow:    make(chan struct{}, 1),
		stateSince: time.Now(), reason: "not connected yet",
	}
	p.queues = [laneCount]*sendQueue{control: newSendQueue(l.options.controlQueueBytes), bulk: newSendQueue(l.options.bulkQueueBytes)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// update takes up what SetPeers says now. A new address is dialed at once.
func (p *linkPeer) update(member *messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := member.GetAddress() != p.member.GetAddress() || schemeOf(member) != schemeOf(p.member)
	p.member = member
	if moved && p.closeConnection != nil {
		p.closeConnection()
	}
	if moved {
		p.requestDial()
	}
}

// end breaks everything off, for good.
func (p *linkPeer) stop(reason string) {
	p.cancel(&refusedError{reason})
	p.mu.Lock()
	streams := p.inboundStreams
	p.mu.Unlock()
	for _, s := range streams {
		if s != nil {
			s.end(&refusedError{reason})
		}
	}
}

func (p *linkPeer) requestDial() {
	select {
	case p.dialNow <- struct{}{}:
	default:
	}
}

// send queues a message on its lane.
func (p *linkPeer) send(role messages.Role, message messages.PeerMessage) {
	size := proto.Size(message)
	if limit := p.link.options.maxMessageBytes; size > limit {
		p.dropOversized(message, size, limit)
		return
	}
	if p.queues[laneOf(message)].enqueue(role, message, size) {
		p.link.receiver.EnvelopesDropped(p.id)
	}
}

// dropOversized is a letter that no peer would take. It is said once: the replicator will try again.
func (p *linkPeer) dropOversized(message messages.PeerMessage, size, limit int) {
	p.oversized.Add(1)
	if p.link.invalidMessages.Allow(p.id, "oversized") {
		p.link.log.Error().Str("peer", raft.FormatID(p.id)).Int("bytes", size).Int("limit", limit).
			Str("kind", string(message.ProtoReflect().Descriptor().Name())).
			Msg("message to peer is above the limit for one message and cannot be sent: raise the link's MaxLetterBytes on all members above the largest request")
	}
	p.link.receiver.EnvelopesDropped(p.id)
}

// settle tells the actors when the link has come to stand in both directions, or has ceased to. change alters what it
// rests on.
func (p *linkPeer) updateState(reason string, change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	up := p.outboundUp && p.inboundStreams[control] != nil && p.inboundStreams[bulk] != nil
	if up == p.up {
		if !up {
			p.reason = reason
		}
		return
	}
	away := time.Since(p.stateSince)
	p.up, p.stateSince, p.reason = up, time.Now(), reason
	// The lock is held while the actors are told, so that they hear of changes in the order in which they happened.
	if up {
		p.reason = ""
		p.link.receiver.LinkUp(p.id)
		p.link.log.Info().Str("peer", raft.FormatID(p.id)).Str("address", p.member.GetAddress()).Dur("away", away).Msg("peer connected")
		return
	}
	p.link.receiver.LinkDown(p.id, reason)
	if p.ctx.Err() != nil {
		return // our own doing
	}
	p.link.log.Warn().Str("peer", raft.FormatID(p.id)).Str("address", p.member.GetAddress()).Str("reason", reason).Msg("peer lost")
}

func (p *linkPeer) stat() live.PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := live.PeerStat{
		ID: p.id, Address: p.member.GetAddress(), Up: p.up, StateDuration: time.Since(p.stateSince), Reason: p.reason,
		EnvelopesSent: p.envelopesSent.Load(), BytesSent: p.bytesSent.Load(), BatchesSent: p.batchesSent.Load(),
		EnvelopesReceived: p.envelopesReceived.Load(), BytesReceived: p.bytesReceived.Load(), BatchesReceived: p.batchesReceived.Load(),
		Refused: p.refused.Load(), Dropped: p.oversized.Load(),
	}
	for _, q := range p.queues {
		bytes, losses := q.stat()
		s.QueuedBytes += bytes
		s.Dropped += losses
	}
	return s
}

// schemeOf is what a member's peer URL says of how to reach it; empty where it has none.
func schemeOf(member *messages.Member) (scheme string) {
	for _, url := range member.GetPeerUrls() {
		if scheme, _, ok := strings.Cut(url, "://"); ok {
			return scheme
		}
	}
	return ""
}

func (p *linkPeer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.member.GetAddress()
}

func (p *linkPeer) queueStats() (bytes int, losses uint64) {
	for _, q := range p.queues {
		b, n := q.stat()
		bytes, losses = bytes+b, losses+n
	}
	return bytes, losses
}
