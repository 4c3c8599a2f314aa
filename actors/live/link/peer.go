package link

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

// peer is one other member: the queues and the connection towards it (dial.go), the streams that it opened (accept.go),
// and whether the two together make a link.
type peer struct {
	link *Link
	id   uint64

	queues [lanes]*queue
	traffic

	ctx    context.Context // ended with the peer
	cancel context.CancelCauseFunc
	kick   chan struct{} // a token: dial now, the peer just showed that it is alive

	mu       sync.Mutex
	member   *messages.Member   // guarded by mu; immutable
	redial   context.CancelFunc // guarded by mu; ends the present connection
	outbound bool               // guarded by mu; the own connection stands, both lanes
	inbound  [lanes]*session    // guarded by mu; the streams that the peer opened
	up       bool               // guarded by mu
	since    time.Time          // guarded by mu; of up, or not
	reason   string             // guarded by mu; why it is not up
}

// traffic counts.
type traffic struct {
	lettersSent, bytesSent, mailsSent             atomic.Uint64
	lettersReceived, bytesReceived, mailsReceived atomic.Uint64
	refused, oversized                            atomic.Uint64
}

func newPeer(l *Link, member *messages.Member) *peer {
	p := &peer{
		link: l, id: member.GetId(), member: member,
		kick:  make(chan struct{}, 1),
		since: time.Now(), reason: "not connected yet",
	}
	p.queues = [lanes]*queue{control: newQueue(l.options.ControlQueueBytes), bulk: newQueue(l.options.BulkQueueBytes)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// update takes up what SetPeers says now. A new address is dialed at once.
func (p *peer) update(member *messages.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := member.GetAddress() != p.member.GetAddress() || schemeOf(member) != schemeOf(p.member)
	p.member = member
	if moved && p.redial != nil {
		p.redial()
	}
	if moved {
		p.nudge()
	}
}

// end breaks everything off, for good.
func (p *peer) end(reason string) {
	p.cancel(&refusal{reason})
	p.mu.Lock()
	streams := p.inbound
	p.mu.Unlock()
	for _, s := range streams {
		if s != nil {
			s.end(&refusal{reason})
		}
	}
}

func (p *peer) nudge() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// send queues a message on its lane.
func (p *peer) send(role messages.Role, message proto.Message) {
	size := proto.Size(message)
	if limit := p.link.options.MaxLetterBytes; size > limit {
		p.tooLarge(message, size, limit)
		return
	}
	if p.queues[laneOf(message)].put(role, message, size) {
		p.link.inbox.LinkDropped(p.id)
	}
}

// tooLarge is a letter that no peer would take. It is said once: the replicator will try again.
func (p *peer) tooLarge(message proto.Message, size, limit int) {
	if p.oversized.Add(1) == 1 {
		p.link.log.Error().Str("peer", hex(p.id)).Int("bytes", size).Int("limit", limit).
			Str("kind", string(message.ProtoReflect().Descriptor().Name())).
			Msg("message to peer is above the limit for one message and cannot be sent: raise the link's MaxLetterBytes on all members above the largest request")
	}
	p.link.inbox.LinkDropped(p.id)
}

// settle tells the actors when the link has come to stand in both directions, or has ceased to. change alters what it
// rests on.
func (p *peer) settle(reason string, change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	up := p.outbound && p.inbound[control] != nil && p.inbound[bulk] != nil
	if up == p.up {
		if !up {
			p.reason = reason
		}
		return
	}
	away := time.Since(p.since)
	p.up, p.since, p.reason = up, time.Now(), reason
	// The lock is held while the actors are told, so that they hear of changes in the order in which they happened.
	if up {
		p.reason = ""
		p.link.inbox.LinkUp(p.id)
		p.link.log.Info().Str("peer", hex(p.id)).Str("address", p.member.GetAddress()).Dur("away", away).Msg("peer connected")
		return
	}
	p.link.inbox.LinkDown(p.id, reason)
	if p.ctx.Err() != nil {
		return // our own doing
	}
	p.link.log.Warn().Str("peer", hex(p.id)).Str("address", p.member.GetAddress()).Str("reason", reason).Msg("peer lost")
}

func (p *peer) stat() live.PeerStat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := live.PeerStat{
		ID: p.id, Address: p.member.GetAddress(), Up: p.up, Since: time.Since(p.since), Reason: p.reason,
		LettersSent: p.lettersSent.Load(), BytesSent: p.bytesSent.Load(), MailsSent: p.mailsSent.Load(),
		LettersReceived: p.lettersReceived.Load(), BytesReceived: p.bytesReceived.Load(), MailsReceived: p.mailsReceived.Load(),
		Refused: p.refused.Load(), Dropped: p.oversized.Load(),
	}
	for _, q := range p.queues {
		bytes, losses := q.stat()
		s.QueuedBytes += bytes
		s.Dropped += losses
	}
	return s
}

func hex(id uint64) string { return strconv.FormatUint(id, 16) }

// schemeOf is what a member's peer URL says of how to reach it; empty where it has none.
func schemeOf(member *messages.Member) (scheme string) {
	for _, url := range member.GetPeerUrls() {
		if scheme, _, ok := strings.Cut(url, "://"); ok {
			return scheme
		}
	}
	return ""
}

func (p *peer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.member.GetAddress()
}

func (p *peer) losses() (bytes int, losses uint64) {
	for _, q := range p.queues {
		b, n := q.stat()
		bytes, losses = bytes+b, losses+n
	}
	return bytes, losses
}
