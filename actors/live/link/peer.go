package link

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// linkPeer is the link to one other member: the queues and the connection that this node dials
// (dial.go), the streams that the peer opened (accept.go), and the state of the two together.
type linkPeer struct {
	link *Link
	id   uint64

	queues [laneCount]*sendQueue
	peerCounters

	ctx     context.Context // cancelled by stop
	cancel  context.CancelCauseFunc
	dialNow chan struct{} // capacity 1; a token ends the pause before the next attempt

	mu     sync.Mutex
	member *messages.Member // guarded by mu; immutable
	// Guarded by mu; closes the connection that this node dialed, for a reason
	closeConnection context.CancelCauseFunc
	outboundStorage raft.Storage // guarded by mu; the peer's, as its last Welcome named it
	admitted        raft.Storage // guarded by mu; the peer's, of its latest start that was admitted
	connections     connections  // guarded by mu
	stateSince      time.Time    // guarded by mu; when the link was up or down since
	reason          string       // guarded by mu; why the link is down
}

type (
	connections      = lanes.Connections[*inboundStream]
	connectionChange = lanes.Change[*inboundStream]
)

type peerCounters struct {
	envelopesSent, bytesSent, batchesSent             atomic.Uint64
	envelopesReceived, bytesReceived, batchesReceived atomic.Uint64
	refused, oversized, disconnects                   atomic.Uint64
	roundTrips                                        roundTripCounter
}

func newLinkPeer(l *Link, member *messages.Member) *linkPeer {
	p := &linkPeer{
		link: l, id: member.GetId(), member: member,
		dialNow:    make(chan struct{}, 1),
		stateSince: time.Now(), reason: "not connected yet",
	}
	p.queues[control], p.queues[bulk] = newSendQueue(l.options.controlQueueBytes), newSendQueue(l.options.bulkQueueBytes)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

func (p *linkPeer) setOutboundStorage(storage raft.Storage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outboundStorage = storage
}

// closeUnlessAdmitted closes the connections to a data directory of the peer that is not admitted
// any more.
func (p *linkPeer) closeUnlessAdmitted() {
	p.mu.Lock()
	streams, outbound, closeConnection := p.connections.Streams(), p.outboundStorage, p.closeConnection
	dialed := p.connections.IsDialed()
	p.mu.Unlock()
	for _, s := range streams {
		if s == nil {
			continue
		}
		if err := p.admit(s.storage); err != nil {
			s.end(err)
		}
	}
	if dialed {
		if err := p.admit(outbound); err != nil {
			closeConnection(err)
		}
	}
}

// update replaces the member. A new address is dialed at once.
func (p *linkPeer) update(member *messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := member.GetAddress() != p.member.GetAddress() || schemeOf(member) != schemeOf(p.member)
	p.member = member
	if moved {
		if p.closeConnection != nil {
			p.closeConnection(errors.New("the address of the peer has changed"))
		}
		p.requestDial()
	}
}

// stop closes all connections of the peer.
func (p *linkPeer) stop(reason string) {
	p.cancel(&refusedError{text: reason})
	p.mu.Lock()
	streams := p.connections.Stop()
	p.mu.Unlock()
	for _, s := range streams {
		if s != nil {
			s.end(&refusedError{text: reason})
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
func (p *linkPeer) send(role messages.Receiver, message messages.PeerMessage) {
	size := proto.Size(message)
	if limit := p.link.options.maxMessageBytes; size > limit {
		p.dropOversized(message, size, limit)
		return
	}
	if p.queues[lanes.Of(message)].enqueue(role, message, size) {
		p.link.receiver.EnvelopesDropped(p.id)
	}
}

// dropOversized drops a message that no peer accepts. It logs once, because the replicator tries
// again.
func (p *linkPeer) dropOversized(message messages.PeerMessage, size, limit int) {
	p.oversized.Add(1)
	if p.link.invalidMessages.Allow(p.id, "oversized") {
		p.event(zerolog.ErrorLevel).Int("bytes", size).Int("limit", limit).
			Str("kind", string(message.ProtoReflect().Descriptor().Name())).
			Str("advice", "keep requests below the limit").
			Msg("message to peer exceeds the size limit")
	}
	p.link.receiver.EnvelopesDropped(p.id)
}

// updateState applies an event to the connections, and notifies the actors if the link is up or
// down because of it.
func (p *linkPeer) updateState(reason string, event func(*connections) connectionChange) connectionChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	change := event(&p.connections)
	if change.Replaced != nil {
		change.Replaced.end(refusef("the peer opened the lane again"))
	}
	if change.Up || change.Down {
		// The lock is held while the actors are notified, so that notifications keep the order of the
		// changes.
		p.notify(change, reason)
	} else if !p.connections.Up() {
		p.reason = reason
	}
	return change
}

// notify notifies the actors that the link is up or down. mu is held.
func (p *linkPeer) notify(change connectionChange, reason string) {
	duration := time.Since(p.stateSince)
	p.stateSince, p.reason = time.Now(), reason
	if change.Up {
		p.reason = ""
		p.link.receiver.LinkUp(p.id)
		p.event(zerolog.InfoLevel).Str("address", p.member.GetAddress()).Dur("away", duration).Msg("peer connected")
		return
	}
	p.disconnects.Add(1)
	p.link.receiver.LinkDown(p.id, reason)
	if p.ctx.Err() != nil {
		return // disconnected by this node
	}
	p.event(zerolog.WarnLevel).Str("address", p.member.GetAddress()).Str("reason", reason).Msg("peer lost")
}

func (p *linkPeer) stat() live.PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	queued, dropped := p.queueStats()
	return live.PeerStat{
		ID: p.id, Address: p.member.GetAddress(), Up: p.connections.Up(), StateDuration: time.Since(p.stateSince), Reason: p.reason,
		EnvelopesSent: p.envelopesSent.Load(), BytesSent: p.bytesSent.Load(), BatchesSent: p.batchesSent.Load(),
		EnvelopesReceived: p.envelopesReceived.Load(), BytesReceived: p.bytesReceived.Load(),
		BatchesReceived: p.batchesReceived.Load(),
		Disconnects:     p.disconnects.Load(), RoundTrips: p.roundTrips.load(),
		Refused: p.refused.Load(), Dropped: p.oversized.Load() + dropped, QueuedBytes: queued,
	}
}

// queueStats returns how many bytes wait on both lanes, and how many messages were dropped.
func (p *linkPeer) queueStats() (queuedBytes int, dropped uint64) {
	for _, q := range p.queues {
		b, n := q.stat()
		queuedBytes, dropped = queuedBytes+b, dropped+n
	}
	return queuedBytes, dropped
}

// event begins a log event about the peer.
func (p *linkPeer) event(level zerolog.Level) *zerolog.Event {
	return p.link.log.WithLevel(level).Str("peer", raft.FormatID(p.id))
}

func (p *linkPeer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.member.GetAddress()
}

// schemeOf returns the scheme of a member's first peer URL; empty if there is none.
func schemeOf(member *messages.Member) (scheme string) {
	for _, url := range member.GetPeerUrls() {
		if scheme, _, ok := strings.Cut(url, "://"); ok {
			return scheme
		}
	}
	return ""
}
