package sim

import (
	"slices"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/messages"
)

// misfortune lets something go wrong, and plans the next.
func (w *World) injectFaults() {
	if w.healing {
		return
	}
	m := w.randomMember()
	if l := w.leader(); l != nil && w.chance(0.4) {
		m = l // whoever leads is hit most
	}
	kinds := w.profile.Faults
	if kind := kinds[w.random.IntN(len(kinds))]; m.up && w.faultAllowed(kind) && w.applicable(kind, m) {
		w.counts.Faults[kind]++
		w.inject(kind, m)
	}
	w.after(w.randomDuration(0, 2*w.conditions.FaultInterval), w.injectFaults)
}

// maybeCutFirstStart has the power fail, at times, while a member makes its data directory: nobody else would ever see that.
func (w *World) maybeCutFirstStart(m *member) {
	if slices.Contains(w.profile.Faults, fault.PowerCut) && w.chance(0.1) && w.faultAllowed(fault.PowerCut) {
		w.counts.Faults[fault.PowerCut]++
		m.disk.operationsToPowerCut, m.disk.crashChoice = 1+w.random.IntN(60), w.randomChoice()
	}
}

// possible tells whether a fault would be one for this member, at present.
func (w *World) applicable(kind fault.Kind, m *member) bool {
	switch kind {
	case fault.Cut, fault.OneWay, fault.Bridge, fault.Isolate, fault.Flap, fault.Flapping, fault.LossBurst:
		return w.size > 1
	case fault.CrashLoop:
		return w.restartLimit != fault.UnlimitedRestarts
	case fault.LostDisk:
		return w.mayLoseDisk(m)
	case fault.FlippedBit:
		return w.mayLoseDisk(m) && len(m.disk.oldFiles()) > 0
	case fault.FailedState, fault.FullState, fault.LostState, fault.DamagedState:
		return m.machineDisk != nil
	}
	return true
}

// strike lets a fault happen to a member.
func (w *World) inject(kind fault.Kind, m *member) {
	switch kind {
	case fault.Cut, fault.OneWay, fault.Bridge, fault.Isolate, fault.Flap, fault.Flapping, fault.LossBurst:
		w.events.faultInjected(kind, m, nil, 0)
		w.injectNetworkFault(kind, m)
	case fault.SlowDisk, fault.StalledDisk, fault.FullDisk, fault.FailedWrite, fault.FailedSync, fault.FlippedBit, fault.LostDisk, fault.LyingDisk,
		fault.FailedRead, fault.FlippedRead, fault.FailedState, fault.FullState, fault.LostState, fault.DamagedState:
		w.events.faultInjected(kind, m, nil, w.injectDiskFault(kind, m))
	case fault.ClockDrift, fault.ClockFast, fault.ClockJump, fault.ClockFrozen:
		w.events.faultInjected(kind, m, nil, w.injectClockFault(kind, m))
	case fault.Pause:
		m.pausedUntil = w.now + w.randomDuration(10*time.Millisecond, 2500*time.Millisecond)
		w.events.faultInjected(kind, m, nil, m.pausedUntil)
	default:
		w.events.faultInjected(kind, m, nil, 0)
		w.injectProcessFault(kind, m)
	}
}

func (w *World) injectProcessFault(kind fault.Kind, m *member) {
	switch kind {
	case fault.Kill:
		w.killAndRestart(m)
	case fault.PowerCut:
		w.cutPower(m)
	case fault.Crash:
		w.crashActor(m, 0)
	case fault.CrashTwice:
		w.crashActor(m, 1)
	case fault.CrashRecovering:
		w.crashRecovering(m)
	case fault.CrashLoop:
		w.crashLoop(m)
	case fault.Transfer:
		if w.chance(0.5) {
			m.post(actors.NodePath, &messages.TransferLeadership{})
		} else {
			m.post(actors.NodePath, &messages.Campaign{})
		}
	}
}

// killAndRestart ends a process and starts it again.
func (w *World) killAndRestart(m *member) {
	m.killProcess()
	w.after(w.downtime(), m.restart)
}

// cutPower ends the life of a machine between two messages, or at one of its disk's next operations. At times the power
// fails again while the node recovers.
func (w *World) cutPower(m *member) {
	m.disk.crashChoice = w.randomChoice()
	if w.chance(0.6) {
		m.disk.operationsToPowerCut = 1 + w.random.IntN(20)
		return
	}
	m.powerCut(m.disk.crashChoice)
	if w.chance(0.5) {
		m.disk.operationsToPowerCut = 1 + w.random.IntN(30)
	}
	w.after(w.downtime(), m.restart)
}

func (w *World) injectNetworkFault(kind fault.Kind, m *member) {
	switch kind {
	case fault.Cut:
		w.cutSome(m)
	case fault.OneWay:
		w.cutOneWay(m)
	case fault.Bridge:
		w.bridge(m)
	case fault.Isolate:
		w.isolate(m, true)
		w.after(w.randomDuration(20*time.Millisecond, 5*time.Second), func() { w.isolate(m, false) })
	case fault.Flap:
		w.flap(m, w.randomMember())
	case fault.Flapping:
		w.flapping(m, 2+w.random.IntN(8))
	case fault.LossBurst:
		w.conditions.BurstLossRate = 0.3 + 0.6*w.random.Float64()
		w.after(w.randomDuration(200*time.Millisecond, 3*time.Second), func() { w.conditions.BurstLossRate = 0 })
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
		w.after(w.randomDuration(20*time.Millisecond, 4*time.Second), func() { w.setCut(m, other, false); w.setCut(other, m, false) })
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
	w.after(w.randomDuration(20*time.Millisecond, 4*time.Second), func() { set(false) })
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
	w.after(w.randomDuration(100*time.Millisecond, 5*time.Second), func() { set(false) })
}

// isolate cuts a member off from all others, or joins it again.
func (w *World) isolate(m *member, cut bool) {
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
	a.postLinkChange(b.id, false)
	a.post(actors.ReplicatorPath(b.id), &messages.EnvelopesDropped{Peer: b.id})
	a.after(w.randomDuration(0, 100*time.Millisecond), func() { a.postLinkChange(b.id, true) })
}

// flapping is a member that is cut off and joined, again and again.
func (w *World) flapping(m *member, times int) {
	if times == 0 || w.healing {
		return
	}
	w.isolate(m, true)
	w.after(w.randomDuration(20*time.Millisecond, 600*time.Millisecond), func() {
		w.isolate(m, false)
		w.after(w.randomDuration(20*time.Millisecond, 600*time.Millisecond), func() { w.flapping(m, times-1) })
	})
}

// heal ends all misfortune: whoever is away and has its data returns, the network is whole and loses nothing, disks work,
// clocks run well.
func (w *World) heal() {
	w.healing = true
	w.events.note("misfortune ends: the network is whole, and who is away returns")
	w.conditions.LossRate, w.conditions.DuplicateRate, w.conditions.DelayRate, w.conditions.BurstLossRate = 0, 0, 0, 0
	for _, r := range w.network.rules {
		r.end()
	}
	for _, m := range w.members {
		m.pausedUntil, m.failpoints, m.randomOverride = 0, nil, nil
		m.disk.heal()
		m.repairClock()
		for _, b := range m.mailboxes {
			b.nextCrash = noCrash
		}
		for _, other := range w.members {
			w.setCut(m, other, false)
		}
	}
	for _, m := range w.members {
		m.restart()
	}
}

// may tells whether a fault of a kind may happen now.
func (w *World) faultAllowed(f fault.Kind) bool {
	total := 0
	for _, n := range w.counts.Faults {
		total += n
	}
	return !w.healing && !slices.Contains(w.options.Without, f) && (w.options.FaultLimit == 0 || total < w.options.FaultLimit)
}
