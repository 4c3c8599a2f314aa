package sim

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

	rules          []*rule             // of a script
	bytesPerSecond map[direction]int64 // bytes a second, where a direction is that slow
}

type lane struct {
	direction
	bulk bool
}

func (w *World) connected(a, b *member) bool {
	return a.up && b.up && !w.network.cut[direction{a.id, b.id}] && !w.network.cut[direction{b.id, a.id}]
}

// transmit sends a message over the network: as bytes, so that nothing is shared.
func (w *World) transmit(from, to *member, role messages.Role, m proto.Message) {
	w.counts.Messages++
	id := uint64(w.counts.Messages)
	w.events.sent(from, to, id, m)
	w.checker.MessageSent(w.currentMailbox, from, to.id, m)
	if len(w.network.rules) > 0 && w.applyRules(from, to, id, m, func() { w.send(from, to, role, id, m) }) {
		return
	}
	w.send(from, to, role, id, m)
}

// send puts a message on its way.
func (w *World) send(from, to *member, role messages.Role, id uint64, m proto.Message) {
	if w.network.cut[direction{from.id, to.id}] {
		w.dropMessage(from, to, id, m, "cut")
		return
	}
	if w.chance(w.conditions.LossRate + w.conditions.BurstLossRate) {
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
	if w.chance(w.conditions.DuplicateRate) {
		w.counts.Doubled++
		w.events.duplicated(from, to, id, m)
		copies = 2
	}
	for range copies {
		w.after(w.arrivalDelay(from, to, m, len(bytes)), func() {
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
			to.post(path, fresh)
		})
	}
}

func (w *World) dropMessage(from, to *member, id uint64, m proto.Message, why string) {
	w.counts.Lost++
	w.events.dropped(from, to, id, m, why)
}

// arrival is how long a message takes.
func (w *World) arrivalDelay(from, to *member, m proto.Message, size int) time.Duration {
	d := w.randomDuration(max(w.conditions.MinLatency, 100*time.Microsecond), w.conditions.MaxLatency)
	if w.chance(w.conditions.DelayRate) {
		w.counts.Late++
		d += w.randomDuration(0, 20*w.conditions.MaxLatency)
	}
	if w.conditions.Reorders {
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

// setCut breaks or mends one direction. Whether the ends hear of it is for the link to notice.
func (w *World) setCut(from, to *member, cut bool) {
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
func (w *World) reportLink(a, b *member) {
	if a == b || w.conditions.HidesCuts {
		return
	}
	p := direction{min(a.id, b.id), max(a.id, b.id)}
	up := w.connected(a, b)
	if w.network.reportedUp[p] == up {
		return
	}
	w.network.reportedUp[p] = up
	for _, end := range []struct{ at, of *member }{{a, b}, {b, a}} {
		key := direction{end.at.id, end.of.id}
		at := max(w.now+w.randomDuration(0, 5*time.Millisecond), w.network.nextReport[key]+1)
		w.network.nextReport[key] = at
		end.at.after(at-w.now, func() { end.at.postLinkChange(end.of.id, up) })
	}
}

func (m *member) postLinkChange(peer uint64, up bool) {
	var news proto.Message = &messages.LinkDown{Peer: peer, Reason: "cut"}
	if up {
		news = &messages.LinkUp{Peer: peer}
	}
	m.post(actors.NodePath, news)
	m.post(actors.ReplicatorPath(peer), news)
}
