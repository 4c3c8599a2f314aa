package world

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// direction is a direction between two members.
type direction struct{ from, to uint64 }

// network is the network between the members.
type network struct {
	cut        map[direction]bool
	reportedUp map[direction]bool // the reported state of the link; from < to
	// When the latest change of a link is reported to one end (from)
	nextReport map[direction]time.Duration
	// When the latest message of a lane arrives, where lanes keep their order
	lastArrival map[lane]time.Duration

	rules          []*Rule             // of a script
	bytesPerSecond map[direction]int64 // where a direction is that slow
}

type lane struct {
	direction
	lanes.Lane
}

// Connected reports whether two members are up and neither direction between them is cut.
func (w *World) Connected(a, b *Member) bool {
	return a.up && b.up && !w.network.cut[direction{a.id, b.id}] && !w.network.cut[direction{b.id, a.id}]
}

// transmit sends a message over the network, as bytes, so that the members share no memory.
func (w *World) transmit(from, to *Member, role messages.Receiver, m proto.Message) {
	w.Counts.Messages++
	id := uint64(w.Counts.Messages)
	w.events.sent(from, to, id, m)
	w.Checker.MessageSent(w.currentMailbox, from, to.id, m)
	over := newContact(from, to)
	if len(w.network.rules) > 0 && w.applyRules(from, to, id, m, func() { w.send(over, role, id, m) }) {
		return
	}
	w.send(over, role, id, m)
}

// send queues a message on its lane, unless it is lost.
func (w *World) send(over contact, role messages.Receiver, id uint64, m proto.Message) {
	from, to := over.from, over.to
	if w.network.cut[direction{from.id, to.id}] {
		w.dropMessage(from, to, id, m, "cut")
		return
	}
	if w.Chance(w.Conditions.LossRate + w.Conditions.BurstLossRate) {
		w.dropMessage(from, to, id, m, "random loss")
		return
	}
	message := m.(messages.PeerMessage)
	queued := lanes.Message{Role: role, Size: proto.Size(m), Message: message}
	if over.run != from.RunNumber { // a script held it on its way
		o := newOutbox(from, to, lanes.Of(message))
		o.writing = true
		o.add(over, id, queued)
		o.write()
		return
	}
	from.outbox(to, lanes.Of(message)).add(over, id, queued)
}

func (w *World) dropMessage(from, to *Member, id uint64, m proto.Message, why string) {
	w.Counts.Lost++
	w.events.dropped(from, to, id, m, why)
}

// arrivalDelay is how long a message takes from the time when it is on its way whole, which is
// after `took`.
func (w *World) arrivalDelay(o *outbox, took time.Duration) time.Duration {
	d := w.RandomDuration(max(w.Conditions.MinLatency, 100*time.Microsecond), w.Conditions.MaxLatency)
	if w.Chance(w.Conditions.DelayRate) {
		w.Counts.Late++
		d += w.RandomDuration(0, 20*w.Conditions.MaxLatency)
	}
	if w.Conditions.Reorders {
		return d
	}
	l := lane{direction{o.from.id, o.to.id}, o.lane}
	at := max(w.now+took+d, w.network.lastArrival[l]+1)
	w.network.lastArrival[l] = at
	return at - w.now - took
}

// SetCut cuts or restores one direction. The link reports it to both ends, unless the network hides
// it.
func (w *World) SetCut(from, to *Member, cut bool) {
	if cut != w.network.cut[direction{from.id, to.id}] {
		w.events.cutChanged(from, to, cut)
	}
	if cut {
		w.network.cut[direction{from.id, to.id}] = true
	} else {
		delete(w.network.cut, direction{from.id, to.id})
		w.connectSoon(from, to)
	}
	w.reportLink(from, to)
}

// reportLink reports a change of the link between two members to both, after a short time.
func (w *World) reportLink(a, b *Member) {
	if a == b || w.Conditions.HidesCuts {
		return
	}
	p := direction{min(a.id, b.id), max(a.id, b.id)}
	up := w.Connected(a, b)
	if w.network.reportedUp[p] == up {
		return
	}
	w.network.reportedUp[p] = up
	for _, end := range []struct{ at, of *Member }{{a, b}, {b, a}} {
		key := direction{end.at.id, end.of.id}
		at := max(w.now+w.RandomDuration(0, 5*time.Millisecond), w.network.nextReport[key]+1)
		w.network.nextReport[key] = at
		end.at.after(at-w.now, func() { end.at.postLinkChange(end.of.id, up) })
	}
}

func (m *Member) postLinkChange(peer uint64, up bool) {
	var news proto.Message = &messages.LinkDown{Peer: peer, Reason: "cut"}
	if up {
		news = &messages.LinkUp{Peer: peer}
	}
	m.Post(actors.NodePath, news)
	m.Post(actors.ReplicatorPath(peer), news)
}

// LimitRate limits the messages of one direction to so many bytes a second.
func (w *World) LimitRate(from, to *Member, bytesPerSecond int64) {
	w.network.bytesPerSecond[direction{from.id, to.id}] = bytesPerSecond
}

// LastArrival returns when the last message with entries, of those sent so far, arrives.
func (w *World) LastArrival(from, to *Member) time.Duration {
	at := w.network.lastArrival[lane{direction{from.id, to.id}, lanes.Bulk}]
	if rate := w.network.bytesPerSecond[direction{from.id, to.id}]; rate > 0 {
		at = max(at, w.now) + time.Duration(from.outbox(to, lanes.Bulk).queue.Bytes())*time.Second/time.Duration(rate)
	}
	return at
}
