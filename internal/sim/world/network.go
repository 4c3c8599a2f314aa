package world

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
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
	bulk bool
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

// send plans the arrival of a message.
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
	bytes, err := proto.Marshal(m)
	if err != nil {
		w.Fail("codec", "%T cannot be marshalled: %v", m, err)
		return
	}
	w.events.marshalled(id, bytes)
	copies := 1
	if w.Chance(w.Conditions.DuplicateRate) {
		w.Counts.Doubled++
		w.events.duplicated(from, to, id, m)
		copies = 2
	}
	for range copies {
		w.After(w.arrivalDelay(from, to, m, len(bytes)), func() {
			switch {
			case w.network.cut[direction{from.id, to.id}]:
				w.dropMessage(from, to, id, m, "cut in transit")
				return
			case !to.up:
				w.dropMessage(from, to, id, m, "receiver is down")
				return
			case !w.admitted(over):
				w.dropMessage(from, to, id, m, "data directory refused")
				return
			}
			fresh := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(bytes, fresh); err != nil {
				w.Fail("codec", "%T cannot be unmarshalled: %v", m, err)
			}
			w.events.arrived(from, to, id, m)
			path := actors.NodePath
			if role == messages.Receiver_RECEIVER_REPLICATOR {
				path = actors.ReplicatorPath(from.id)
			}
			to.Post(path, fresh)
		})
	}
}

func (w *World) dropMessage(from, to *Member, id uint64, m proto.Message, why string) {
	w.Counts.Lost++
	w.events.dropped(from, to, id, m, why)
}

// arrivalDelay is how long a message takes.
func (w *World) arrivalDelay(from, to *Member, m proto.Message, size int) time.Duration {
	d := w.RandomDuration(max(w.Conditions.MinLatency, 100*time.Microsecond), w.Conditions.MaxLatency)
	if w.Chance(w.Conditions.DelayRate) {
		w.Counts.Late++
		d += w.RandomDuration(0, 20*w.Conditions.MaxLatency)
	}
	if w.Conditions.Reorders {
		return d
	}
	l := lane{direction: direction{from.id, to.id}}
	switch m.(type) {
	case *messages.AppendEntries, *messages.ForwardedProposals:
		l.bulk = true
	}
	at := max(w.now+d, w.network.lastArrival[l]+1)
	if rate := w.network.bytesPerSecond[l.direction]; rate > 0 {
		at += time.Duration(size) * time.Second / time.Duration(rate)
	}
	w.network.lastArrival[l] = at
	return at - w.now
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
	return w.network.lastArrival[lane{direction{from.id, to.id}, true}]
}
