package checker

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
)

// MachineView observes the state that a Machine reports, and compares it with the committed entries
// and the own disk.
func (c *Checker) MachineView(id uint64, v actors.MachineView) {
	s := c.models[id]
	if v.Applied > uint64(len(c.committed)) {
		c.fail("apply after commit", "member %d has applied %d; %d are committed", id, v.Applied, len(c.committed))
	}
	if v.Incarnation != s.logIncarnation {
		return
	}
	if v.Applied > uint64(len(s.durableLog)) {
		c.fail("apply after durable", "member %d has applied %d; its disk holds %d entries, so a power cut would leave it ahead of its log", id, v.Applied, len(s.durableLog))
	}
	if v.Applied > s.applied && v.Applied <= uint64(len(c.committed)) && s.disk.term < c.committedIn[v.Applied-1] {
		c.fail("apply after durable", "member %d has applied %d, committed in term %d; on its disk is term %d: after a crash a leader of that one could replace the entry",
			id, v.Applied, c.committedIn[v.Applied-1], s.disk.term)
	}
	if v.Applied < s.applied {
		c.fail("applied index monotonic", "member %d goes from %d applied to %d", id, s.applied, v.Applied)
	}
	s.applied = v.Applied
	if v.Serving && v.Applied < s.replayIndex {
		c.fail("serve after replay", "member %d serves reads with %d applied; it recovered commit index %d", id, v.Applied, s.replayIndex)
	}
}

// SessionTable compares the session table of a member with that of the others at the same applied
// index. It is replicated state: where it differs, a command takes effect on some members only.
func (c *Checker) SessionTable(id, incarnation, applied uint64, encoded []byte) {
	if incarnation != c.models[id].logIncarnation {
		return
	}
	for uint64(len(c.sessionTables)) <= applied {
		c.sessionTables = append(c.sessionTables, sessionTableSum{})
	}
	sum, known := hash.Checksum(encoded), &c.sessionTables[applied]
	if known.id != 0 && known.sum != sum {
		c.fail("session tables equal", "members %d and %d have different session tables at index %d", known.id, id, applied)
	}
	*known = sessionTableSum{id, sum}
}

// sessionTableSum is the checksum of the session table that a member had at an index.
type sessionTableSum struct {
	id  uint64
	sum uint32
}

// checkCommittedEntries: a Machine receives what was committed, byte for byte.
func (c *Checker) checkCommittedEntries(id uint64, e *messages.Entries) {
	for i, data := range e.GetData() {
		index := e.First + uint64(i)
		if index > uint64(len(c.committed)) {
			c.fail("apply after commit", "the Machine of member %d receives entry %d; %d are committed", id, index, len(c.committed))
			return
		}
		if is := c.entries.lookup(index, c.committed[index-1]); is.sum != hash.Checksum(data) {
			c.fail("state machine safety", "the Machine of member %d receives as entry %d something else than was committed", id, index)
			return
		}
	}
}

// CommandApplied observes that a state machine applied a command. stateHash is of its state after
// that.
func (c *Checker) CommandApplied(id, index, command, stateHash uint64) {
	for uint64(len(c.stateHashes)) < index {
		c.stateHashes = append(c.stateHashes, 0)
	}
	if was := c.stateHashes[index-1]; was != 0 && was != stateHash {
		c.fail("state machine safety", "member %d applied something else up to %d than another member", id, index)
	}
	c.stateHashes[index-1] = stateHash
	if was, known := c.effects[command]; known && was != index {
		c.fail("exactly once", "command %d took effect at %d and at %d", command, was, index)
	}
	c.effects[command] = index
}

// pendingRead is a read that waits for its read point. It must see all that was committed when it
// was first requested, by whichever leader: ReadIndex guarantees more than that it sees what was
// acknowledged (dissertation §6.4).
type pendingRead struct{ id, minIndex uint64 }

// maxPendingReads is more reads than ever wait at one member.
const maxPendingReads = 256

func (c *Checker) readRequested(id uint64, r *messages.RequestRead) {
	if r.Mode != messages.ReadMode_READ_MODE_INDEX && r.Mode != messages.ReadMode_READ_MODE_LEASE {
		return
	}
	s := c.models[id]
	for _, p := range s.pendingReads {
		if p.id == r.Id {
			return
		}
	}
	if len(s.pendingReads) == maxPendingReads {
		s.pendingReads = append(s.pendingReads[:0], s.pendingReads[1:]...)
	}
	s.pendingReads = append(s.pendingReads, pendingRead{r.Id, uint64(len(c.committed))})
}

func (c *Checker) readPoint(id uint64, p *messages.ReadPoint) {
	if p.Refusal != messages.Refusal_REFUSAL_UNSPECIFIED {
		return
	}
	s := c.models[id]
	for i, r := range s.pendingReads {
		if r.id != p.Id {
			continue
		}
		if p.Index < r.minIndex {
			c.fail("linearizable reads", "member %d gets %d as a read point; index %d was committed when the read was requested", id, p.Index, r.minIndex)
		}
		if p.Index > uint64(len(c.committed)) {
			c.fail("apply after commit", "member %d gets %d as a read point; %d are committed", id, p.Index, len(c.committed))
		}
		s.pendingReads = append(s.pendingReads[:i], s.pendingReads[i+1:]...)
		return
	}
}

// SessionReceived observes a message to the session of a member.
func (c *Checker) SessionReceived(id uint64, message any) {
	c.sideEffect(message)
	switch m := message.(type) {
	case *messages.CommandResults:
		for _, index := range m.Indexes {
			if index > uint64(len(c.committed)) {
				c.fail("acknowledged means committed", "member %d acknowledges a command at %d; %d are committed", id, index, len(c.committed))
			}
		}
	case *messages.ReadPoint:
		c.readPoint(id, m)
	}
}
