package world

import (
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
)

// After the faults the cluster must serve again: first, in some worlds, without a minority of its
// members, and then with all that are left.

// convergeWithin is how long that may take.
const convergeWithin = 60 * time.Second

// run runs the world with faults, then without faults until it has converged.
func (w *World) run() {
	for w.checking() && w.steps < w.Options.Steps {
		w.Step()
	}
	if w.Failure == nil {
		absent := w.chooseAbsent()
		w.Heal()
		w.serveWithout(absent)
		w.converge("all members")
	}
	switch {
	case w.Failure != nil:
	case w.beyondGuarantees || !w.Converged():
		w.checkAcknowledged()
	default:
		w.CheckConverged()
	}
	w.Finish()
}

// converge runs the world until it has converged. Without a majority it may end earlier.
func (w *World) converge(with string) {
	began := w.now
	for w.checking() && !w.Converged() {
		if w.now > began+10*time.Second && !w.quorumPossible() {
			return // service cannot be expected, and no invariant has failed
		}
		if w.now > began+convergeWithin {
			w.Fail("liveness", "with %s, a minute after the last fault: %s", with, w.DescribeMembers())
		}
		w.Step()
	}
}

// chooseAbsent chooses, in some worlds, members that stay down for a while. Together with those
// whose disks are damaged they are a minority, so the others can serve.
func (w *World) chooseAbsent() (absent []*Member) {
	if len(w.Options.Profile.Faults) == 0 || !w.Chance(0.3) {
		return nil
	}
	spare := (w.Size - 1) / 2
	for _, m := range w.Members {
		if m.PermanentlyDown || m.Disk.Damaged {
			spare--
		}
	}
	for _, at := range w.Random.Perm(w.Size) {
		if m := w.Members[at]; len(absent) < spare && !m.PermanentlyDown && !m.Disk.Damaged {
			absent = append(absent, m)
		}
	}
	for _, m := range absent {
		if m.up {
			m.KillProcess()
		}
		m.PermanentlyDown = true
	}
	return absent
}

// serveWithout waits until the others have converged. Then one of them stalls for longer than an
// election timeout, while its clients write, and they must converge once more: a cluster that
// serves only when it is whole has no fault tolerance left. At the end the absent members return.
func (w *World) serveWithout(absent []*Member) {
	if len(absent) == 0 {
		return
	}
	w.Counts.Degraded++
	w.events.note("some members stay down; the others must serve")
	w.converge("a minority down")
	if w.checking() {
		w.stallOne()
		w.converge("a minority down, after a stall")
	}
	for _, m := range absent {
		m.PermanentlyDown = false
		m.Restart()
	}
}

// stallOne stalls the disk or the process of one member that is up, most often of the leader, and
// begins a write at each.
func (w *World) stallOne() {
	stalled := w.Leader()
	if stalled == nil || w.Chance(0.4) {
		stalled = w.RandomMember()
	}
	until := w.now + w.RandomDuration(ElectionTimeout, 3*ElectionTimeout)
	if w.Chance(0.5) {
		stalled.Disk.StalledUntil = until
	} else {
		stalled.PausedUntil = until
	}
	for _, m := range w.recoverableMembers() {
		if w.application != nil {
			w.application.Write(m)
			continue
		}
		c := history.Command{Kind: history.Append, Key: w.keys.pick(w.Random.IntN(keysInUse)), Value: "z."}
		w.History.Begin(history.ScriptClient, m, c, nil)
	}
}

// Converged reports whether there is one leader, all logs are equal and applied, and no call is
// pending.
func (w *World) Converged() bool {
	l := w.Leader()
	if l == nil {
		return false
	}
	for _, m := range w.Members {
		v := m.View
		if m.PermanentlyDown {
			continue
		}
		if !m.up || m.shuttingDown || m.Disk.failedRecently() || v.LeaderID != l.id || v.Term != l.View.Term || v.Role == "leader" && m != l {
			return false
		}
		if v.LastIndex != l.View.LastIndex || v.LastTerm != l.View.LastTerm || v.Commit != v.LastIndex || m.Applied != v.LastIndex {
			return false
		}
		if len(m.Embedder.calls) > 0 || !m.Embedder.serving {
			return false
		}
	}
	return w.application == nil || !w.application.Pending()
}
