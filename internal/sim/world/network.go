package world

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// pair is a direction.
type direction struct{ from, to uint64 }

// network is what lies between the members.
type network struct {
	cut         map[direction]bool
	reportedUp  map[direction]bool          // what both ends were told; from < to
	nextReport  map[direction]time.Duration // when an end (from) hears the latest news of another
	lastArrival map[lane]time.Duration      // when the latest message of a lane arrives, where lanes keep their order

	rules          []*Rule             // of a script
	bytesPerSecond map[direction]int64 // bytes a second, where a direction is that slow
}

type lane struct {
	direction
	bulk bool
}

func (w *World) Connected(a, b *Member) bool {
	return a.up && b.up && !w.network.cut[direction{a.id, b.id}] && !w.network.cut[direction{b.id, a.id}]
}

// transmit sends a message over the network: as bytes, so that nothing is shared.
func (w *World) transmit(from, to *Member, role messages.Role, m proto.Message) {
	w.Counts.Messages++
	id := uint64(w.Counts.Messages)
	w.events.sent(from, to, id, m)
	w.Checker.MessageSent(w.currentMailbox, from, to.id, m)
	if len(w.network.rules) > 0 && w.applyRules(from, to, id, m, func() { w.send(from, to, role, id, m) }) {
		return
	}
	w.send(from, to, role, id, m)
}

// send puts a message on its way.
func (w *World) send(from, to *Member, role messages.Role, id uint64, m proto.Message) {
	if w.network.cut[direction{from.id, to.id}] {
		w.dropMessage(from, to, id, m, "cut")
		return
	}
	if w.Chance(w.Conditions.LossRate + w.Conditions.BurstLossRate) {
		w.dropMessage(from, to, id, m, "bad luck")
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
				w.dropMessage(from, to, id, m, "cut on its way")
				return
			case !to.up:
				w.dropMessage(from, to, id, m, "nobody there")
				return
			}
			fresh := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(bytes, fresh); err != nil {
				w.Fail("codec", "%T cannot be unmarshalled: %v", m, err)
			}
			w.events.arrived(from, to, id, m)
			path := actors.NodePath
			if role == messages.Role_ROLE_REPLICATOR {
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

// arrival is how long a message takes.
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

// SetCut breaks or mends one direction. Whether the ends hear of it is for the link to notice.
func (w *World) SetCut(from, to *Member, cut bool) {
	if cut != w.network.cut[direction{from.id, to.id}] {
		w.events.cutChanged(from, to, cut)
	}
	if cut {
		w.network.cut[direction{from.id, to.id}] = true
	} else {
		delete(w.network.cut, direction{from.id, to.id})
	}
	w.reportLink(from, to)
}

// reportLink tells both ends what became of their connection, soon.
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
