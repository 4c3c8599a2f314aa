package sim

import (
	"slices"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
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
	if kind := kinds[w.random.IntN(len(kinds))]; m.up && w.may(kind) && w.possible(kind, m) {
		w.counts.Faults[kind]++
		w.strike(kind, m)
	}
	w.after(w.between(0, 2*w.weather.every), w.misfortune)
}

// badStart has the power fail, at times, while a member makes its data directory: nobody else would ever see that.
func (w *World) badStart(m *member) {
	if slices.Contains(w.profile.Faults, PowerCut) && w.chance(0.1) && w.may(PowerCut) {
		w.counts.Faults[PowerCut]++
		m.disk.powerCut, m.disk.survives = 1+w.random.IntN(60), w.anyChoice()
	}
}

// possible tells whether a fault would be one for this member, at present.
func (w *World) possible(kind Fault, m *member) bool {
	switch kind {
	case Cut, OneWay, Bridge, Isolate, Flap, Flapping, LossBurst:
		return w.size > 1
	case CrashLoop:
		return w.window != endless
	case LostDisk:
		return w.mayLose(m)
	case FlippedBit:
		return w.mayLose(m) && len(m.disk.oldFiles()) > 0
	case FailedState, FullState, LostState, DamagedState:
		return m.store != nil
	}
	return true
}

// strike lets a fault happen to a member.
func (w *World) strike(kind Fault, m *member) {
	switch kind {
	case Cut, OneWay, Bridge, Isolate, Flap, Flapping, LossBurst:
		w.chronicle.struck(kind, m, nil, 0)
		w.strikeNetwork(kind, m)
	case SlowDisk, StalledDisk, FullDisk, FailedWrite, FailedSync, FlippedBit, LostDisk, LyingDisk,
		FailedRead, FlippedRead, FailedState, FullState, LostState, DamagedState:
		w.chronicle.struck(kind, m, nil, w.strikeDisk(kind, m))
	case ClockDrift, ClockFast, ClockJump, ClockFrozen:
		w.chronicle.struck(kind, m, nil, w.strikeClock(kind, m))
	case Pause:
		m.pausedUntil = w.now + w.between(10*time.Millisecond, 2500*time.Millisecond)
		w.chronicle.struck(kind, m, nil, m.pausedUntil)
	default:
		w.chronicle.struck(kind, m, nil, 0)
		w.strikeProcess(kind, m)
	}
}

func (w *World) strikeProcess(kind Fault, m *member) {
	switch kind {
	case Kill:
		w.killAndReturn(m)
	case PowerCut:
		w.cutPower(m)
	case Crash:
		w.crashActor(m, 0)
	case CrashTwice:
		w.crashActor(m, 1)
	case CrashRecovering:
		w.crashRecovering(m)
	case CrashLoop:
		w.crashLoop(m)
	case Transfer:
		if w.chance(0.5) {
			m.post(actors.NodePath, &messages.TransferLeadership{})
		} else {
			m.post(actors.NodePath, &messages.Campaign{})
		}
	}
}

// killAndReturn ends a process and starts it again.
func (w *World) killAndReturn(m *member) {
	m.killProcess()
	w.after(w.absence(), m.return_)
}

// cutPower ends the life of a machine between two messages, or at one of its disk's next operations. At times the power
// fails again while the node recovers.
func (w *World) cutPower(m *member) {
	m.disk.survives = w.anyChoice()
	if w.chance(0.6) {
		m.disk.powerCut = 1 + w.random.IntN(20)
		return
	}
	m.kill(m.disk.survives)
	if w.chance(0.5) {
		m.disk.powerCut = 1 + w.random.IntN(30)
	}
	w.after(w.absence(), m.return_)
}

func (w *World) strikeNetwork(kind Fault, m *member) {
	switch kind {
	case Cut:
		w.cutSome(m)
	case OneWay:
		w.cutOneWay(m)
	case Bridge:
		w.bridge(m)
	case Isolate:
		w.cutAll(m, true)
		w.after(w.between(20*time.Millisecond, 5*time.Second), func() { w.cutAll(m, false) })
	case Flap:
		w.flap(m, w.anyone())
	case Flapping:
		w.flapping(m, 2+w.random.IntN(8))
	case LossBurst:
		w.weather.burst = 0.3 + 0.6*w.random.Float64()
		w.after(w.between(200*time.Millisecond, 3*time.Second), func() { w.weather.burst = 0 })
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

// cutOneWay leaves a member deaf or mute.
func (w *World) cutOneWay(m *member) {
	deaf := w.chance(0.5)
	set := func(cut bool) {
		for _, other := range w.members {
			if from, to := m, other; other != m {
				if deaf {
					from, to = other, m
				}
				w.setCut(from, to, cut)
			}
		}
	}
	set(true)
	w.after(w.between(20*time.Millisecond, 4*time.Second), func() { set(false) })
}

// bridge parts the members in two halves that only one member connects.
func (w *World) bridge(m *member) {
	left := make([]bool, w.size)
	for i := range left {
		left[i] = w.chance(0.5)
	}
	set := func(cut bool) {
		for i, a := range w.members {
			for k, b := range w.members {
				if a != m && b != m && left[i] != left[k] {
					w.setCut(a, b, cut)
				}
			}
		}
	}
	set(true)
	w.after(w.between(100*time.Millisecond, 5*time.Second), func() { set(false) })
}

// cutAll cuts a member off from all others, or joins it again.
func (w *World) cutAll(m *member, cut bool) {
	for _, other := range w.members {
		if other != m {
			w.setCut(m, other, cut)
			w.setCut(other, m, cut)
		}
	}
}

// flap is a link that breaks and is back at once, and a queue that dropped something.
func (w *World) flap(a, b *member) {
	if a == b || !a.up {
		return
	}
	a.linkNews(b.id, false)
	a.post(actors.ReplicatorPath(b.id), &messages.EnvelopesDropped{Peer: b.id})
	a.after(w.between(0, 100*time.Millisecond), func() { a.linkNews(b.id, true) })
}

// flapping is a member that is cut off and joined, again and again.
func (w *World) flapping(m *member, times int) {
	if times == 0 || w.calm {
		return
	}
	w.cutAll(m, true)
	w.after(w.between(20*time.Millisecond, 600*time.Millisecond), func() {
		w.cutAll(m, false)
		w.after(w.between(20*time.Millisecond, 600*time.Millisecond), func() { w.flapping(m, times-1) })
	})
}

// heal ends all misfortune: whoever is away and has its data returns, the network is whole and loses nothing, disks work,
// clocks run well.
func (w *World) heal() {
	w.calm = true
	w.chronicle.noted("misfortune ends: the network is whole, and who is away returns")
	w.weather.loss, w.weather.double, w.weather.late, w.weather.burst = 0, 0, 0, 0
	for _, r := range w.network.rules {
		r.end()
	}
	for _, m := range w.members {
		m.pausedUntil, m.traps, m.dice = 0, nil, nil
		m.disk.heal()
		m.setClockRight()
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
