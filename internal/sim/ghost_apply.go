package sim

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
)

// machine holds what a Machine shows of itself against what is committed and on its own disk.
func (g *Checker) machineView(m *member, v actors.MachineView) {
	s := g.members[m.id]
	if v.Applied > uint64(len(g.committedTerms)) {
		g.fail("apply after commit", "member %d has applied %d; %d are committed", m.id, v.Applied, len(g.committedTerms))
	}
	if v.Incarnation != s.logIncarnation {
		return
	}
	if v.Applied > uint64(len(s.durableLog)) {
		g.fail("apply after the own disk", "member %d has applied %d; its disk holds %d entries, so a power cut would leave it ahead of its log", m.id, v.Applied, len(s.durableLog))
	}
	if v.Applied > s.applied && v.Applied <= uint64(len(g.committedTerms)) && s.durableDisk.term < g.committedInTerm[v.Applied-1] {
		g.fail("apply after the own disk", "member %d has applied %d, committed in term %d; on its disk is term %d: after a crash a leader of that one could replace the entry",
			m.id, v.Applied, g.committedInTerm[v.Applied-1], s.durableDisk.term)
	}
	if v.Applied < s.applied {
		g.fail("applied is monotone", "member %d goes from %d applied to %d", m.id, s.applied, v.Applied)
	}
	s.applied = v.Applied
	if v.Serving && v.Applied < s.replayIndex {
		g.fail("serve after replay", "member %d serves reads with %d applied; it came back with commit index %d", m.id, v.Applied, s.replayIndex)
	}
}

// checkCommittedEntries: what a Machine is handed is what was committed, byte for byte.
func (g *Checker) checkCommittedEntries(m *member, e *messages.Entries) {
	for i, data := range e.GetData() {
		index := e.First + uint64(i)
		if index > uint64(len(g.committedTerms)) {
			g.fail("apply after commit", "the Machine of member %d is handed entry %d; %d are committed", m.id, index, len(g.committedTerms))
			return
		}
		if is := g.entries.lookup(index, g.committedTerms[index-1]); is.sum != hash.Checksum(data) {
			g.fail("state machine safety", "the Machine of member %d is handed as entry %d something else than was committed", m.id, index)
			return
		}
	}
}

// applied holds state machines against each other, and commands to once.
func (g *Checker) commandApplied(m *member, index, command, hash uint64) {
	for uint64(len(g.stateHashes)) < index {
		g.stateHashes = append(g.stateHashes, 0)
	}
	if was := g.stateHashes[index-1]; was != 0 && was != hash {
		g.fail("state machine safety", "member %d applied something else up to %d than another", m.id, index)
	}
	g.stateHashes[index-1] = hash
	if was, known := g.commandIndexes[command]; known && was != index {
		g.fail("exactly once", "command %d took effect at %d and at %d", command, was, index)
	}
	g.commandIndexes[command] = index
}

// awaited is a read that waits for its point. Whatever was committed, by whichever leader, when it was first asked, it must
// see: ReadIndex promises more than that what was acknowledged to somebody is seen (dissertation §6.4).
type pendingRead struct{ id, minIndex uint64 }

// maxTrackedReads is more reads than ever wait at one member.
const maxTrackedReads = 256

func (g *Checker) readRequested(m *member, a *messages.RequestRead) {
	if a.Mode != messages.ReadMode_READ_MODE_INDEX && a.Mode != messages.ReadMode_READ_MODE_LEASE {
		return
	}
	s := g.members[m.id]
	for _, r := range s.pendingReads {
		if r.id == a.Id {
			return
		}
	}
	if len(s.pendingReads) == maxTrackedReads {
		s.pendingReads = append(s.pendingReads[:0], s.pendingReads[1:]...)
	}
	s.pendingReads = append(s.pendingReads, pendingRead{a.Id, uint64(len(g.committedTerms))})
}

func (g *Checker) readPoint(m *member, p *messages.ReadPoint) {
	if p.Refusal != messages.Refusal_REFUSAL_UNSPECIFIED {
		return
	}
	s := g.members[m.id]
	for i, r := range s.pendingReads {
		if r.id != p.Id {
			continue
		}
		if p.Index < r.minIndex {
			g.fail("linearizable reads", "member %d gets %d as a read point; index %d was committed when the read was asked", m.id, p.Index, r.minIndex)
		}
		if p.Index > uint64(len(g.committedTerms)) {
			g.fail("apply after commit", "member %d gets %d as a read point; %d are committed", m.id, p.Index, len(g.committedTerms))
		}
		s.pendingReads = append(s.pendingReads[:i], s.pendingReads[i+1:]...)
		return
	}
}

// overheard: what a program is told is a promise too.
func (g *Checker) sessionReceived(m *member, message any) {
	if g.mustIgnore.mailbox != nil {
		g.sideEffect(message)
	}
	switch told := message.(type) {
	case *messages.CommandResults:
		for _, index := range told.Indexes {
			if index > uint64(len(g.committedTerms)) {
				g.fail("acknowledged is committed", "member %d is told that a command took effect at %d; %d are committed", m.id, index, len(g.committedTerms))
			}
		}
	case *messages.ReadPoint:
		g.readPoint(m, told)
	}
}
