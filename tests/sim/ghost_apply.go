package sim

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// machine holds what a Machine shows of itself against what is committed and on its own disk.
func (g *ghost) machine(m *member, v actors.MachineView) {
	s := g.members[m.id]
	if v.Applied > uint64(len(g.committed)) {
		g.fail("apply after commit", "member %d has applied %d; %d are committed", m.id, v.Applied, len(g.committed))
	}
	if v.Incarnation != s.incarnation {
		return
	}
	if v.Applied > uint64(len(s.disk)) {
		g.fail("apply after the own disk", "member %d has applied %d; its disk holds %d entries, so a power cut would leave it ahead of its log", m.id, v.Applied, len(s.disk))
	}
	if v.Applied > s.applied && v.Applied <= uint64(len(g.committed)) && s.plate.term < g.committedIn[v.Applied-1] {
		g.fail("apply after the own disk", "member %d has applied %d, committed in term %d; on its disk is term %d: after a crash a leader of that one could replace the entry",
			m.id, v.Applied, g.committedIn[v.Applied-1], s.plate.term)
	}
	if v.Applied < s.applied {
		g.fail("applied is monotone", "member %d goes from %d applied to %d", m.id, s.applied, v.Applied)
	}
	s.applied = v.Applied
	if v.Serving && v.Applied < s.replay {
		g.fail("serve after replay", "member %d serves reads with %d applied; it came back with commit index %d", m.id, v.Applied, s.replay)
	}
}

// asCommitted: what a Machine is handed is what was committed, byte for byte.
func (g *ghost) asCommitted(m *member, e *messages.Entries) {
	for i, data := range e.GetData() {
		index := e.First + uint64(i)
		if index > uint64(len(g.committed)) {
			g.fail("apply after commit", "the Machine of member %d is handed entry %d; %d are committed", m.id, index, len(g.committed))
			return
		}
		if is := g.facts.of(index, g.committed[index-1]); is.sum != sumOf(data) {
			g.fail("state machine safety", "the Machine of member %d is handed as entry %d something else than was committed", m.id, index)
			return
		}
	}
}

// applied holds state machines against each other, and commands to once.
func (g *ghost) applied(m *member, index, command, hash uint64) {
	for uint64(len(g.hashes)) < index {
		g.hashes = append(g.hashes, 0)
	}
	if was := g.hashes[index-1]; was != 0 && was != hash {
		g.fail("state machine safety", "member %d applied something else up to %d than another", m.id, index)
	}
	g.hashes[index-1] = hash
	if was, known := g.commands[command]; known && was != index {
		g.fail("exactly once", "command %d took effect at %d and at %d", command, was, index)
	}
	g.commands[command] = index
}

// awaited is a read that waits for its point. Whatever was committed, by whichever leader, when it was first asked, it must
// see: ReadIndex promises more than that what was acknowledged to somebody is seen (dissertation §6.4).
type awaited struct{ id, floor uint64 }

// maxAsked is more reads than ever wait at one member.
const maxAsked = 256

func (g *ghost) readAsked(m *member, a *messages.RequestRead) {
	if a.Mode != messages.ReadMode_READ_MODE_INDEX && a.Mode != messages.ReadMode_READ_MODE_LEASE {
		return
	}
	s := g.members[m.id]
	for _, r := range s.reads {
		if r.id == a.Id {
			return
		}
	}
	if len(s.reads) == maxAsked {
		s.reads = append(s.reads[:0], s.reads[1:]...)
	}
	s.reads = append(s.reads, awaited{a.Id, uint64(len(g.committed))})
}

func (g *ghost) readPoint(m *member, p *messages.ReadPoint) {
	if p.Refusal != messages.Refusal_REFUSAL_UNSPECIFIED {
		return
	}
	s := g.members[m.id]
	for i, r := range s.reads {
		if r.id != p.Id {
			continue
		}
		if p.Index < r.floor {
			g.fail("linearizable reads", "member %d gets %d as a read point; index %d was committed when the read was asked", m.id, p.Index, r.floor)
		}
		if p.Index > uint64(len(g.committed)) {
			g.fail("apply after commit", "member %d gets %d as a read point; %d are committed", m.id, p.Index, len(g.committed))
		}
		s.reads = append(s.reads[:i], s.reads[i+1:]...)
		return
	}
}

// overheard: what a program is told is a promise too.
func (g *ghost) overheard(m *member, message any) {
	if g.hush.mailbox != nil {
		g.disturbed(message)
	}
	switch told := message.(type) {
	case *messages.CommandResults:
		for _, index := range told.Indexes {
			if index > uint64(len(g.committed)) {
				g.fail("acknowledged is committed", "member %d is told that a command took effect at %d; %d are committed", m.id, index, len(g.committed))
			}
		}
	case *messages.ReadPoint:
		g.readPoint(m, told)
	}
}
