package sim

import (
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// misfortune lets something go wrong, and plans the next.
func (w *World) misfortune() {
	if w.calm {
		return
	}
	m := w.anyone()
	if l := w.leader(); l != nil && w.chance(0.4) {
		m = l // whoever leads is hit most
	}
	kinds := w.profile.Faults
	if kind := kinds[w.random.IntN(len(kinds))]; m.up && w.strikes(kind) {
		w.strike(kind, m)
	}
	w.after(w.between(0, 2*w.weather.every), w.misfortune)
}

func (w *World) strike(kind Fault, m *member) {
	if kind != Pause && kind != SlowDisk {
		w.chronicle.struck(kind, m, nil, 0)
	}
	switch kind {
	case Kill:
		w.killAndReturn(m)
	case Crash:
		w.crashActor(m)
	case Cut:
		w.cutSome(m)
	case Isolate:
		w.isolate(m)
	case Flap:
		w.flap(m, w.anyone())
	case Pause:
		m.pausedUntil = w.now + w.between(10*time.Millisecond, 2500*time.Millisecond)
		w.chronicle.struck(kind, m, nil, m.pausedUntil)
	case SlowDisk:
		m.diskSlowUntil = w.now + w.between(100*time.Millisecond, 3*time.Second)
		w.chronicle.struck(kind, m, nil, m.diskSlowUntil)
	case Transfer:
		if w.chance(0.5) {
			m.post(actors.NodePath, &messages.TransferLeadership{})
		} else {
			m.post(actors.NodePath, &messages.Campaign{})
		}
	}
}

func (m *member) slowDisk() bool { return m.world.now < m.diskSlowUntil }

// killAndReturn ends a process and starts it again on what its disk kept.
func (w *World) killAndReturn(m *member) {
	choose := vfs.Choice(vfs.LoseAll)
	switch w.random.IntN(4) {
	case 0:
		choose = vfs.KeepAll
	case 1:
		choose = w.random.IntN
	}
	m.kill(choose)
	away := w.between(time.Millisecond, 200*time.Millisecond)
	if w.chance(0.3) {
		away = w.between(time.Second, 4*time.Second)
	}
	w.after(away, m.return_)
}

func (m *member) return_() {
	if !m.up {
		m.boot()
	}
}

// crashActor panics one actor of the tree, before or after its next message; sometimes twice in a row.
func (w *World) crashActor(m *member) {
	var candidates []*mailbox
	for _, b := range m.mailboxes {
		if b.self.Id == actors.SupervisorName {
			continue
		}
		if process, ok := m.system.ProcessRegistry.GetLocal(b.self.Id); ok && process != nil {
			candidates = append(candidates, b)
		}
	}
	if len(candidates) == 0 {
		return
	}
	b := candidates[w.random.IntN(len(candidates))]
	b.crash = crashBefore
	if w.chance(0.5) {
		b.crash = crashAfter
	}
	if w.chance(0.2) {
		m.after(w.between(0, 10*time.Millisecond), func() { b.crash = crashBefore })
	}
}

// cutSome breaks the connections of a member to some others, one way or both.
func (w *World) cutSome(m *member) {
	for _, other := range w.members {
		if other == m || !w.chance(0.6) {
			continue
		}
		both := w.chance(0.5)
		w.setCut(m, other, true)
		if both {
			w.setCut(other, m, true)
		}
		w.after(w.between(20*time.Millisecond, 4*time.Second), func() { w.setCut(m, other, false); w.setCut(other, m, false) })
	}
}

func (w *World) isolate(m *member) {
	for _, other := range w.members {
		if other != m {
			w.setCut(m, other, true)
			w.setCut(other, m, true)
		}
	}
	w.after(w.between(20*time.Millisecond, 5*time.Second), func() {
		for _, other := range w.members {
			w.setCut(m, other, false)
			w.setCut(other, m, false)
		}
	})
}

// flap is a link that breaks and is back at once, and a queue that dropped something.
func (w *World) flap(a, b *member) {
	if a == b {
		return
	}
	a.linkNews(b.id, false)
	a.post(replicatorPath(b.id), &messages.LinkDropped{Peer: b.id})
	a.after(w.between(0, 100*time.Millisecond), func() { a.linkNews(b.id, true) })
}

// heal ends all misfortune: whoever is away returns, the network is whole and loses nothing.
func (w *World) heal() {
	w.calm = true
	w.weather.loss, w.weather.double, w.weather.late = 0, 0, 0
	for _, r := range w.network.rules {
		r.end()
	}
	for _, m := range w.members {
		m.diskSlowUntil, m.pausedUntil = 0, 0
		m.traps, m.dice = nil, nil
		for _, b := range m.mailboxes {
			b.crash = noCrash
		}
		for _, other := range w.members {
			w.setCut(m, other, false)
		}
	}
	for _, m := range w.members {
		m.return_()
	}
}
