package world

import (
	"fmt"
	"strings"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
)

// finalReadKeys is how many keys are read once more when all is well: those that were used last.
const finalReadKeys = 8

// conclude holds the whole history against what was promised, once all is well: the last word of a
// world whose members have all they ever will have.
func (w *World) CheckConverged() {
	// A proposal that was said twice may still be on its way when all has been read.
	if !w.finalReads() || !w.runUntil("when all had been read once more", w.Converged) {
		if w.Failure == nil {
			w.checkAcknowledged()
		}
		return
	}
	w.CompareMachines()
	w.checkAcknowledgedWrites()
	w.checkActors()
	w.History.CheckLinearizable(history.MaxSteps)
}

// judge holds a history against what was promised where service has ended, since no majority is
// left, or where nobody can promise anything more. What was answered until then must be right.
func (w *World) checkAcknowledged() {
	w.checkAcknowledgedWrites()
	w.History.CheckLinearizable(history.MaxSteps)
}

// present are the members that are not away for ever.
func (w *World) recoverableMembers() (all []*Member) {
	for _, m := range w.Members {
		if !m.PermanentlyDown {
			all = append(all, m)
		}
	}
	return all
}

// finalReads has every member asked for the newest keys, so that the history ends with what
// everybody sees.
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
		if !w.runUntil("when all was well, a read was not answered", func() bool { return o.Outcome != history.Pending }) {
			return false
		}
		if o.Outcome != history.Answered {
			w.Fail("liveness", "when all was well, %v of key %d at member %d was %v", o.Kind, o.Key, o.MemberID, o.Outcome)
		}
	}
	return w.Failure == nil
}

// settle lets things happen until what must happen soon has, and tells whether it did. Where a
// damaged disk takes the last majority away meanwhile, nothing must.
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

// CompareMachines: all state machines are equal, and hold what the effects in the order of the log
// make of them.
func (w *World) CompareMachines() {
	first := w.Leader().replica.State
	for _, m := range w.recoverableMembers() {
		is := m.replica.State
		if is == nil || is.Last != first.Last || is.Hash != first.Hash {
			w.Fail("equal state machines", "the leader ends at index %d with hash %x, member %d with %+v", first.Last, first.Hash, m.id, is)
			return
		}
		if d := is.Data.Diff(w.History.Contents()); d != "" {
			w.Fail("equal state machines", "at member %d, against the effects: %s", m.id, d)
		}
	}
}

// checkAcknowledgedWrites: every write that was answered is committed where its client was told.
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

// checkActors: at every member there are the actors of its role and no others, and none has
// messages that it will not handle. Who has just ceased to lead may need a moment until its
// replicators have stopped.
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

// unexpectedActors says which actor should not be there, is missing or is stuck.
func (m *Member) unexpectedActors() string {
	replicators := 0
	if m.View.Role == "leader" {
		replicators = m.world.Size - 1
	}
	want := map[string]bool{"": true, "log": true, "log/reader": true, "machine": true}
	newest := m.newestMailboxes()
	for _, b := range m.Mailboxes {
		id := b.self.Id
		if _, lives := m.system.ProcessRegistry.GetLocal(id); !lives || newest[id] != b || id == actors.SupervisorName {
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
			return fmt.Sprintf("%d: %s lives", m.id, id)
		}
		delete(want, b.path)
	}
	if replicators != 0 || len(want) > 0 {
		return fmt.Sprintf("%d, a %s, lacks %d replicators and %v", m.id, m.View.Role, replicators, want)
	}
	return ""
}

// newestMailboxes are those of the actors that were made last under each name.
func (m *Member) newestMailboxes() map[string]*mailbox {
	newest := map[string]*mailbox{}
	for _, b := range m.Mailboxes {
		newest[b.self.Id] = b
	}
	return newest
}
