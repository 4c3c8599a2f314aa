package world

import (
	"slices"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/messages"
)

// injectFaults injects a fault, and plans the next one.
func (w *World) injectFaults() {
	if w.Healing {
		return
	}
	m := w.RandomMember()
	if l := w.Leader(); l != nil && w.Chance(0.4) {
		m = l // leaders are hit most
	}
	kinds := w.Options.Profile.Faults
	if kind := kinds[w.Random.IntN(len(kinds))]; m.up && w.faultAllowed(kind) && w.applicable(kind, m) {
		w.Counts.Faults[kind]++
		w.Inject(kind, m)
	}
	w.After(w.RandomDuration(0, 2*w.Conditions.FaultInterval), w.injectFaults)
}

// maybeCutFirstStart cuts the power, at times, while a member makes its data directory; no other
// fault comes that early.
func (w *World) maybeCutFirstStart(m *Member) {
	if slices.Contains(w.Options.Profile.Faults, fault.PowerCut) && w.Chance(0.1) && w.faultAllowed(fault.PowerCut) {
		w.Counts.Faults[fault.PowerCut]++
		m.Disk.OperationsToPowerCut, m.Disk.CrashChoice = 1+w.Random.IntN(60), w.randomChoice()
	}
}

// applicable reports whether a fault can happen to this member at present.
func (w *World) applicable(kind fault.Kind, m *Member) bool {
	switch kind {
	case fault.Cut, fault.OneWay, fault.Bridge, fault.Isolate, fault.Flap, fault.Flapping, fault.SlowLink, fault.LossBurst:
		return w.Size > 1
	case fault.CrashLoop:
		return w.RestartLimit != fault.UnlimitedRestarts
	case fault.LostDisk, fault.LostLog:
		return w.mayLoseDisk(m)
	case fault.EmptiedDisk:
		return w.mayForget(m)
	case fault.RestoredDisk:
		return m.application == nil && m.olderCopyIsKnown() && w.mayForget(m)
	case fault.FlippedBit:
		return w.mayLoseDisk(m) && len(m.Disk.OldFiles()) > 0
	case fault.LostState:
		return m.MachineDisk != nil || m.application != nil
	case fault.FailedState, fault.FullState, fault.DamagedState:
		return m.MachineDisk != nil
	}
	return true
}

// Inject injects a fault into a member.
func (w *World) Inject(kind fault.Kind, m *Member) {
	switch kind {
	case fault.Cut, fault.OneWay, fault.Bridge, fault.Isolate, fault.Flap, fault.Flapping, fault.SlowLink, fault.LossBurst:
		w.events.faultInjected(kind, m, nil, 0)
		w.injectNetworkFault(kind, m)
	case fault.SlowDisk, fault.StalledDisk, fault.FullDisk, fault.FailedWrite, fault.FailedSync, fault.FlippedBit, fault.LostDisk, fault.LostLog,
		fault.EmptiedDisk, fault.RestoredDisk, fault.LyingDisk, fault.FailedRead, fault.FlippedRead,
		fault.FailedState, fault.FullState, fault.LostState, fault.DamagedState:
		w.events.faultInjected(kind, m, nil, w.injectDiskFault(kind, m))
	case fault.ClockDrift, fault.ClockFast, fault.ClockJump, fault.ClockFrozen:
		w.events.faultInjected(kind, m, nil, w.injectClockFault(kind, m))
	case fault.Pause:
		m.PausedUntil = w.now + w.RandomDuration(10*time.Millisecond, 2500*time.Millisecond)
		w.events.faultInjected(kind, m, nil, m.PausedUntil)
	default:
		w.events.faultInjected(kind, m, nil, 0)
		w.injectProcessFault(kind, m)
	}
}

func (w *World) injectProcessFault(kind fault.Kind, m *Member) {
	switch kind {
	case fault.Kill:
		w.killAndRestart(m)
	case fault.Stop:
		m.ShutDown(true)
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
		if w.Chance(0.5) {
			m.Post(actors.NodePath, &messages.TransferLeadership{})
		} else {
			m.Post(actors.NodePath, &messages.Campaign{})
		}
	}
}

// killAndRestart kills a process and starts it again.
func (w *World) killAndRestart(m *Member) {
	m.KillProcess()
	w.After(w.downtime(), m.Restart)
}

// cutPower cuts the power of a member between two messages, or at one of the next operations of its
// disk. At times the power fails again while the node recovers.
func (w *World) cutPower(m *Member) {
	m.Disk.CrashChoice = w.randomChoice()
	if w.Chance(0.6) {
		m.Disk.OperationsToPowerCut = 1 + w.Random.IntN(20)
		return
	}
	m.PowerCut(m.Disk.CrashChoice)
	if w.Chance(0.5) {
		m.Disk.OperationsToPowerCut = 1 + w.Random.IntN(30)
	}
	w.After(w.downtime(), m.Restart)
}

func (w *World) injectNetworkFault(kind fault.Kind, m *Member) {
	switch kind {
	case fault.Cut:
		w.cutSome(m)
	case fault.OneWay:
		w.cutOneWay(m)
	case fault.Bridge:
		w.bridge(m)
	case fault.Isolate:
		w.Isolate(m, true)
		w.After(w.RandomDuration(20*time.Millisecond, 5*time.Second), func() { w.Isolate(m, false) })
	case fault.Flap:
		w.Flap(m, w.RandomMember())
	case fault.Flapping:
		w.flapping(m, 2+w.Random.IntN(8))
	case fault.SlowLink:
		w.slowLinks(m)
	case fault.LossBurst:
		w.Conditions.BurstLossRate = 0.3 + 0.6*w.Random.Float64()
		w.After(w.RandomDuration(200*time.Millisecond, 3*time.Second), func() { w.Conditions.BurstLossRate = 0 })
	}
}

// cutSome cuts the connections of a member to some others, one way or both.
func (w *World) cutSome(m *Member) {
	for _, other := range w.Members {
		if other == m || !w.Chance(0.6) {
			continue
		}
		both := w.Chance(0.5)
		w.SetCut(m, other, true)
		if both {
			w.SetCut(other, m, true)
		}
		w.After(w.RandomDuration(20*time.Millisecond, 4*time.Second), func() { w.SetCut(m, other, false); w.SetCut(other, m, false) })
	}
}

// cutOneWay cuts all messages from a member, or all to it.
func (w *World) cutOneWay(m *Member) {
	inbound := w.Chance(0.5)
	set := func(cut bool) {
		for _, other := range w.Members {
			if from, to := m, other; other != m {
				if inbound {
					from, to = other, m
				}
				w.SetCut(from, to, cut)
			}
		}
	}
	set(true)
	w.After(w.RandomDuration(20*time.Millisecond, 4*time.Second), func() { set(false) })
}

// bridge splits the members into two halves that only one member connects.
func (w *World) bridge(m *Member) {
	left := make([]bool, w.Size)
	for i := range left {
		left[i] = w.Chance(0.5)
	}
	set := func(cut bool) {
		for i, a := range w.Members {
			for k, b := range w.Members {
				if a != m && b != m && left[i] != left[k] {
					w.SetCut(a, b, cut)
				}
			}
		}
	}
	set(true)
	w.After(w.RandomDuration(100*time.Millisecond, 5*time.Second), func() { set(false) })
}

// Isolate cuts a member off from all others, or connects it again.
func (w *World) Isolate(m *Member, cut bool) {
	for _, other := range w.Members {
		if other != m {
			w.SetCut(m, other, cut)
			w.SetCut(other, m, cut)
		}
	}
}

// Flap breaks a link and restores it at once; the link reports dropped messages.
func (w *World) Flap(a, b *Member) {
	if a == b || !a.up {
		return
	}
	a.postLinkChange(b.id, false)
	a.Post(actors.ReplicatorPath(b.id), &messages.EnvelopesDropped{Peer: b.id})
	a.after(w.RandomDuration(0, 100*time.Millisecond), func() { a.postLinkChange(b.id, true) })
}

// slowLinks makes what a member sends slow, to some or to all.
func (w *World) slowLinks(m *Member) {
	all := w.Chance(0.5)
	for _, other := range w.Members {
		if other != m && (all || w.Chance(0.5)) {
			w.LimitRate(m, other, 300+w.Random.Int64N(5000))
			w.After(w.RandomDuration(100*time.Millisecond, 4*time.Second), func() { w.LimitRate(m, other, 0) })
		}
	}
}

// flapping cuts a member off and connects it again, several times.
func (w *World) flapping(m *Member, times int) {
	if times == 0 || w.Healing {
		return
	}
	w.Isolate(m, true)
	w.After(w.RandomDuration(20*time.Millisecond, 600*time.Millisecond), func() {
		w.Isolate(m, false)
		w.After(w.RandomDuration(20*time.Millisecond, 600*time.Millisecond), func() { w.flapping(m, times-1) })
	})
}

// Heal ends all faults: members whose data is left start again, the network is whole and loses
// nothing, disks work, clocks run well.
func (w *World) Heal() {
	w.Healing = true
	w.events.note("faults end: the network is whole, and members that are down restart")
	w.Conditions.LossRate, w.Conditions.DuplicateRate, w.Conditions.DelayRate, w.Conditions.BurstLossRate = 0, 0, 0, 0
	for _, r := range w.network.rules {
		r.End()
	}
	for _, m := range w.Members {
		m.PausedUntil, m.Failpoints, m.RandomOverride = 0, nil, nil
		m.Disk.heal()
		m.RepairClock()
		for _, b := range m.Mailboxes {
			b.nextCrash = noCrash
		}
		for _, other := range w.Members {
			w.SetCut(m, other, false)
			w.LimitRate(m, other, 0)
		}
	}
	for _, m := range w.Members {
		m.Restart()
	}
}

// faultAllowed reports whether a fault of a kind may happen now.
func (w *World) faultAllowed(f fault.Kind) bool {
	total := 0
	for _, n := range w.Counts.Faults {
		total += n
	}
	return !w.Healing && !slices.Contains(w.Options.Without, f) && (w.Options.FaultLimit == 0 || total < w.Options.FaultLimit)
}
