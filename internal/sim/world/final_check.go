package world

import (
	"fmt"
	"strings"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
)

// finalReadKeys is how many keys are read at the end: those that were used last.
const finalReadKeys = 8

// CheckConverged checks the whole history after the cluster has converged.
func (w *World) CheckConverged() {
	if w.application != nil {
		w.application.CheckConverged()
		if w.checking() {
			w.checkStatus()
			w.checkActors()
		}
		return
	}
	// A proposal that was sent twice may still be under way after the reads.
	if !w.finalReads() || !w.runUntil("after the final reads", w.Converged) {
		if w.Failure == nil {
			w.checkAcknowledged()
		}
		return
	}
	w.CompareMachines()
	w.checkStatus()
	w.checkAcknowledgedWrites()
	w.checkActors()
	w.History.CheckLinearizable(history.MaxSteps)
}

// checkAcknowledged checks the history where service has ended, since no majority is left, or where
// nothing can be guaranteed any more. All replies up to then must be right.
func (w *World) checkAcknowledged() {
	w.checkAcknowledgedWrites()
	w.History.CheckLinearizable(history.MaxSteps)
}

// recoverableMembers returns the members that are not down for good.
func (w *World) recoverableMembers() (all []*Member) {
	for _, m := range w.Members {
		if !m.PermanentlyDown {
			all = append(all, m)
		}
	}
	return all
}

// finalReads reads the newest keys at every member, so that the history ends with what each one
// has.
func (w *World) finalReads() bool {
	keys := w.History.NewestKeys(finalReadKeys)
	var asked []*history.Operation
	for _, m := range w.recoverableMembers() {
		if m.Disk.Damaged {
			continue // it may find the damage, and stop, at any moment
		}
		for _, key := range keys {
			for _, kind := range []history.Op{history.GetIndex, history.GetLocal} {
				asked = append(asked, w.History.Begin(history.ScriptClient, m, history.Command{Kind: kind, Key: key}, nil))
			}
		}
	}
	for _, o := range asked {
		if !w.runUntil("after convergence, a read was not answered", func() bool { return o.Outcome != history.Pending }) {
			return false
		}
		if o.Outcome != history.Answered {
			w.Fail("liveness", "after convergence, %v of key %d at member %d was %v", o.Kind, o.Key, o.MemberID, o.Outcome)
		}
	}
	return w.Failure == nil
}

// runUntil runs the world until what must happen soon has happened, and reports whether it did. If
// a damaged disk takes the last majority away meanwhile, it need not happen.
func (w *World) runUntil(when string, happened func() bool) bool {
	for until := w.now + 10*ElectionTimeout; w.Failure == nil && !w.beyondGuarantees && !happened(); w.Step() {
		if w.now > until && !w.quorumPossible() {
			return false
		}
		if w.now > until {
			w.Fail("liveness", "%s: %s", when, w.DescribeMembers())
		}
	}
	return w.Failure == nil && !w.beyondGuarantees
}

// CompareMachines checks that all state machines are equal, and hold what the effects make in the
// order of the log.
func (w *World) CompareMachines() {
	first := w.Leader().replica.State
	for _, m := range w.recoverableMembers() {
		is := m.replica.State
		if is == nil || is.Last != first.Last || is.Hash != first.Hash {
			w.Fail("equal state machines", "the leader ends at index %d with hash %x, member %d with %+v", first.Last, first.Hash, m.id, is)
			return
		}
		if d := is.Data.Diff(w.History.Contents()); d != "" {
			w.Fail("equal state machines", "at member %d, compared with the effects: %s", m.id, d)
		}
	}
}

// checkStatus checks what the nodes tell their programs: the observer of each has the latest views,
// and each has published the leader.
func (w *World) checkStatus() {
	leader := w.Leader()
	for _, m := range w.recoverableMembers() {
		is, told := m.node.Observer().Views(), m.Embedder.leader
		followers := 0
		if m == leader {
			followers = w.Size - 1
		}
		switch {
		case is.Node != m.View || is.Machine.Applied != m.Applied || m.node.Observer().Term() != m.View.Term:
			w.Fail("status is current", "member %d reports %+v and applied %d; it is %+v and has applied %d", m.id, is.Node, is.Machine.Applied, m.View, m.Applied)
		case len(is.Replicators) != followers:
			w.Fail("status is current", "member %d reports %d replicators, not %d", m.id, len(is.Replicators), followers)
		case told == nil || told.Leader != leader.id || told.Term != leader.View.Term:
			w.Fail("status is current", "member %d has published leader %v; member %d leads in term %d", m.id, told, leader.id, leader.View.Term)
		}
	}
}

// checkAcknowledgedWrites checks that every answered write is committed at the index of its reply.
func (w *World) checkAcknowledgedWrites() {
	for _, o := range w.History.Operations {
		if !o.Kind.Writes() || o.Outcome != history.Answered {
			continue
		}
		if at := w.Checker.EffectIndex(o.Number); at == 0 || at != o.Index || at > uint64(w.Checker.Committed()) {
			w.Fail("no acknowledged write lost", "member %d answered %v %d at index %d; at the end it is at %d of %d",
				o.MemberID, o.Kind, o.Number, o.Index, at, w.Checker.Committed())
			return
		}
	}
}

// checkActors checks that every member has the actors of its role and no others, and that none is
// stuck. A leader that has just stepped down may need a moment until its replicators have stopped.
func (w *World) checkActors() {
	for until := w.now + 2*ElectionTimeout; w.Failure == nil; w.Step() {
		wrong := ""
		for _, m := range w.recoverableMembers() {
			if wrong == "" && m.up {
				wrong = m.unexpectedActors()
			}
		}
		if wrong == "" {
			return
		}
		if w.now > until {
			w.Fail("no actor left over", "member %s", wrong)
		}
	}
}

// unexpectedActors describes an actor that should not exist, is missing or is stuck.
func (m *Member) unexpectedActors() string {
	replicators := 0
	if m.View.Role == "leader" {
		replicators = m.world.Size - 1
	}
	want := map[string]bool{"": true, "log": true, "log/reader": true, "machine": true}
	newest := m.newestMailboxes()
	for _, b := range m.Mailboxes {
		id := b.self.Id
		if _, running := m.system.ProcessRegistry.GetLocal(id); !running || newest[id] != b || id == actors.SupervisorName {
			continue
		}
		switch waiting := len(b.user) + len(b.system); {
		case b.suspended:
			return fmt.Sprintf("%d: %s is suspended with %d messages", m.id, id, waiting)
		case !b.scheduled && waiting > 0:
			return fmt.Sprintf("%d: %s has %d messages and does not handle them", m.id, id, waiting)
		case strings.HasPrefix(b.path, actors.ReplicatorPrefix):
			replicators--
		case !want[b.path]:
			return fmt.Sprintf("%d: %s should have stopped", m.id, id)
		}
		delete(want, b.path)
	}
	if replicators != 0 || len(want) > 0 {
		return fmt.Sprintf("%d, a %s, lacks %d replicators and %v", m.id, m.View.Role, replicators, want)
	}
	return ""
}

// newestMailboxes returns the mailbox of the latest actor of each name.
func (m *Member) newestMailboxes() map[string]*mailbox {
	newest := map[string]*mailbox{}
	for _, b := range m.Mailboxes {
		newest[b.self.Id] = b
	}
	return newest
}
