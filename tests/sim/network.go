package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// pair is a direction.
type pair struct{ from, to uint64 }

// network is what lies between the members.
type network struct {
	cut  map[pair]bool
	up   map[pair]bool          // what both ends were told; from < to
	news map[pair]time.Duration // when an end (from) hears the latest news of another
	last map[lane]time.Duration // when the latest message of a lane arrives, where lanes keep their order

	rules []*rule        // of a script
	rates map[pair]int64 // bytes a second, where a direction is that slow
}

type lane struct {
	pair
	bulk bool
}

func (w *World) connected(a, b *member) bool {
	return a.up && b.up && !w.network.cut[pair{a.id, b.id}] && !w.network.cut[pair{b.id, a.id}]
}

// transmit sends a message over the network: as bytes, so that nothing is shared.
func (w *World) transmit(from, to *member, role messages.Role, m proto.Message) {
	w.counts.Messages++
	id := uint64(w.counts.Messages)
	w.chronicle.sent(from, to, id, m)
	w.ghost.spoke(from, to, m)
	if len(w.network.rules) > 0 && w.ruled(from, to, id, m, func() { w.send(from, to, role, id, m) }) {
		return
	}
	w.send(from, to, role, id, m)
}

// send puts a message on its way.
func (w *World) send(from, to *member, role messages.Role, id uint64, m proto.Message) {
	if w.network.cut[pair{from.id, to.id}] {
		w.lost(from, to, id, m, "cut")
		return
	}
	if w.chance(w.weather.loss + w.weather.burst) {
		w.lost(from, to, id, m, "bad luck")
		return
	}
	bytes, err := proto.Marshal(m)
	if err != nil {
		w.fail("codec", "%T cannot be marshalled: %v", m, err)
		return
	}
	w.chronicle.marshalled(id, bytes)
	copies := 1
	if w.chance(w.weather.double) {
		w.counts.Doubled++
		w.chronicle.doubled(from, to, id, m)
		copies = 2
	}
	for range copies {
		w.after(w.arrival(from, to, m, len(bytes)), func() {
			switch {
			case w.network.cut[pair{from.id, to.id}]:
				w.lost(from, to, id, m, "cut on its way")
				return
			case !to.up:
				w.lost(from, to, id, m, "nobody there")
				return
			}
			fresh := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(bytes, fresh); err != nil {
				w.fail("codec", "%T cannot be unmarshalled: %v", m, err)
			}
			w.chronicle.arrived(from, to, id, m)
			path := actors.NodePath
			if role == messages.Role_ROLE_REPLICATOR {
				path = actors.ReplicatorPath(from.id)
			}
			to.post(path, fresh)
		})
	}
}

func (w *World) lost(from, to *member, id uint64, m proto.Message, why string) {
	w.counts.Lost++
	w.chronicle.lost(from, to, id, m, why)
}

// arrival is how long a message takes.
func (w *World) arrival(from, to *member, m proto.Message, size int) time.Duration {
	d := w.between(max(w.weather.least, 100*time.Microsecond), w.weather.latency)
	if w.chance(w.weather.late) {
		w.counts.Late++
		d += w.between(0, 20*w.weather.latency)
	}
	if w.weather.reorders {
		return d
	}
	l := lane{pair: pair{from.id, to.id}}
	switch m.(type) {
	case *messages.AppendEntries, *messages.ForwardedProposals:
		l.bulk = true
	}
	at := max(w.now+d, w.network.last[l]+1)
	if rate := w.network.rates[l.pair]; rate > 0 {
		at += time.Duration(size) * time.Second / time.Duration(rate)
	}
	w.network.last[l] = at
	return at - w.now
}

// setCut breaks or mends one direction. Whether the ends hear of it is for the link to notice.
func (w *World) setCut(from, to *member, cut bool) {
	if cut != w.network.cut[pair{from.id, to.id}] {
		w.chronicle.cut(from, to, cut)
	}
	if cut {
		w.network.cut[pair{from.id, to.id}] = true
	} else {
		delete(w.network.cut, pair{from.id, to.id})
	}
	w.settleLink(from, to)
}

// settleLink tells both ends what became of their connection, soon.
func (w *World) settleLink(a, b *member) {
	if a == b || w.weather.silent {
		return
	}
	p := pair{min(a.id, b.id), max(a.id, b.id)}
	up := w.connected(a, b)
	if w.network.up[p] == up {
		return
	}
	w.network.up[p] = up
	for _, end := range []struct{ at, of *member }{{a, b}, {b, a}} {
		key := pair{end.at.id, end.of.id}
		at := max(w.now+w.between(0, 5*time.Millisecond), w.network.news[key]+1)
		w.network.news[key] = at
		end.at.after(at-w.now, func() { end.at.linkNews(end.of.id, up) })
	}
}

func (m *member) linkNews(peer uint64, up bool) {
	var news proto.Message = &messages.LinkDown{Peer: peer, Reason: "cut"}
	if up {
		news = &messages.LinkUp{Peer: peer}
	}
	m.post(actors.NodePath, news)
	m.post(actors.ReplicatorPath(peer), news)
}
