package sim

import (
	"slices"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// ghost knows what no member knows: all of them at once. It holds what happens against what Raft promises, and keeps for
// that what was promised, voted, led, committed and applied, over all lives.
type ghost struct {
	world   *World
	members map[uint64]*shadow

	leaders map[uint64]uint64            // by term (Election Safety)
	votes   map[uint64]map[uint64]uint64 // by term and voter, as said to anybody
	facts   map[position]fact            // of every entry that ever stood in a log (Log Matching)
	// committed[i] is the term of entry i+1; in committedIn the lowest term of a node that was seen to know of it.
	committed, committedIn []uint64
	hashes                 map[uint64]uint64 // of the state machine after each command
	commands               map[uint64]uint64 // command → index: exactly once
}

type position struct{ index, term uint64 }

type fact struct{ prevTerm, hash uint64 }

// shadow is what one member's log is, and what it must never forget.
type shadow struct {
	incarnation uint64
	log         []uint64 // terms, as its Node has them
	disk        []uint64 // as its disk has them
	toDisk      []change // handled by its LogStore, not synced yet
	// What it said and therefore must still have after any crash.
	term, vote uint64
	promised   position
	// In this incarnation.
	viewTerm, viewVote, commit uint64
}

type change struct {
	from  uint64 // the log ends before
	terms []uint64
}

func newGhost(w *World) *ghost {
	g := &ghost{
		world: w, members: map[uint64]*shadow{}, leaders: map[uint64]uint64{}, votes: map[uint64]map[uint64]uint64{},
		facts: map[position]fact{}, hashes: map[uint64]uint64{}, commands: map[uint64]uint64{},
	}
	for id := uint64(1); id <= uint64(w.size); id++ {
		g.members[id] = &shadow{}
	}
	return g
}

// posted sees a message enter a mailbox: the Node's log changes with what it says to its LogStore.
func (g *ghost) posted(b *mailbox, message any) {
	switch m := message.(type) {
	case *messages.Append:
		g.appended(b.member, m)
	case *messages.Recovered:
		g.recovered(b.member, m)
	}
}

func (g *ghost) appended(m *member, a *messages.Append) {
	s := g.members[m.id]
	if a.Incarnation != s.incarnation {
		return
	}
	if a.TruncateFrom != 0 && m.view.Role == "leader" && m.view.Term == a.HardState.Term {
		g.world.fail("leader append-only", "leader %d of term %d truncates its log from %d", m.id, m.view.Term, a.TruncateFrom)
	}
	s.log = changeOf(a).applyTo(s.log)
	for i, data := range a.GetEntries().GetData() {
		index := a.Entries.First + uint64(i)
		at := position{index, raft.EntriesTerm(a.Entries, index)}
		is := fact{termAt(s.log, index-1), hashOf(data)}
		if was, known := g.facts[at]; known && was != is {
			g.world.fail("log matching", "two entries at index %d of term %d: %+v and, at member %d, %+v", at.index, at.term, was, m.id, is)
		}
		g.facts[at] = is
	}
}

func changeOf(a *messages.Append) change {
	c := change{from: a.TruncateFrom}
	if e := a.GetEntries(); len(e.GetData()) > 0 {
		c.from = e.First
		for i := range e.Data {
			c.terms = append(c.terms, raft.EntriesTerm(e, e.First+uint64(i)))
		}
	}
	return c
}

func (c change) applyTo(log []uint64) []uint64 {
	if c.from == 0 {
		return log
	}
	return append(slices.Clip(log[:c.from-1]), c.terms...)
}

func hashOf(data []byte) uint64 {
	h := uint64(len(data))
	for _, b := range data {
		h = mix(h, uint64(b))
	}
	return h
}

func termAt(log []uint64, index uint64) uint64 {
	if index == 0 || index > uint64(len(log)) {
		return 0
	}
	return log[index-1]
}

// handled sees the LogStore take an Append.
func (g *ghost) handled(b *mailbox, message any) {
	if a, ok := message.(*messages.Append); ok && a.Incarnation == g.members[b.member.id].incarnation {
		s := g.members[b.member.id]
		s.toDisk = append(s.toDisk, changeOf(a))
	}
}

// synced: what the LogStore has handled is on its disk.
func (g *ghost) synced(m *member) {
	s := g.members[m.id]
	for _, c := range s.toDisk {
		if c.from != 0 && c.from <= s.promised.index {
			s.promised = position{} // replaced by a leader who may
		}
		s.disk = c.applyTo(s.disk)
	}
	s.toDisk = nil
}

// recovered holds what a disk gave back against what was promised on it.
func (g *ghost) recovered(m *member, r *messages.Recovered) {
	s := g.members[m.id]
	if r.HardState.GetTerm() < s.term || r.HardState.GetTerm() == s.term && s.vote != 0 && r.HardState.GetVote() != s.vote {
		g.world.fail("term and vote survive", "member %d came back with term %d and vote %d, and had voted for %d in term %d",
			m.id, r.HardState.GetTerm(), r.HardState.GetVote(), s.vote, s.term)
	}
	var log []uint64
	for i := uint64(1); i <= r.LastIndex; i++ {
		log = append(log, raft.EntriesTerm(&messages.Entries{First: 1, Runs: r.Runs, Data: make([][]byte, r.LastIndex)}, i))
	}
	if p := s.promised; p.index != 0 && termAt(log, p.index) != p.term {
		g.world.fail("write, then speak", "member %d came back without entry %d of term %d, which it had acknowledged", m.id, p.index, p.term)
	}
	s.incarnation, s.log, s.disk, s.toDisk = r.Incarnation, log, slices.Clone(log), nil
	s.viewTerm, s.viewVote, s.commit = 0, 0, 0
	m.view = actors.NodeView{}
	m.seen = r.HardState.GetCommit() // below which nothing is served any more
}

// spoke sees what a member says to another: promises must be on disk.
func (g *ghost) spoke(from, to *member, message any) {
	s := g.members[from.id]
	if g.world.current.name == "log" {
		g.synced(from) // it says only what it has written; its own tests prove that
	}
	switch m := message.(type) {
	case *messages.RequestVote:
		if !m.PreVote {
			g.voted(m.Term, from.id, from.id)
		}
	case *messages.VoteAnswer:
		if m.Granted && !m.PreVote {
			g.voted(m.Term, from.id, to.id)
		}
	case *messages.AppendAnswer:
		if !m.Accepted {
			return
		}
		if m.Index > uint64(len(s.disk)) {
			g.world.fail("write, then speak", "member %d acknowledges index %d and has %d on its disk", from.id, m.Index, len(s.disk))
			return
		}
		if g.world.current.name == "" && termAt(s.disk, m.Index) != termAt(s.log, m.Index) {
			g.world.fail("write, then speak", "member %d acknowledges entry %d of term %d and has one of term %d on its disk",
				from.id, m.Index, termAt(s.log, m.Index), termAt(s.disk, m.Index))
		}
		if m.Index > s.promised.index {
			s.promised = position{m.Index, termAt(s.disk, m.Index)}
		}
	}
}

func (g *ghost) voted(term, voter, candidate uint64) {
	votes := g.votes[term]
	if votes == nil {
		votes = map[uint64]uint64{}
		g.votes[term] = votes
	}
	if was := votes[voter]; was != 0 && was != candidate {
		g.world.fail("one vote a term", "member %d votes for %d and for %d in term %d", voter, was, candidate, term)
	}
	votes[voter] = candidate
	if s := g.members[voter]; term > s.term {
		s.term, s.vote = term, candidate
	}
}

// node holds a Node's state against all others.
func (g *ghost) node(m *member, v actors.NodeView) {
	was := m.view
	m.view = v
	s := g.members[m.id]
	if v.Role == "recovering" || v.Incarnation != s.incarnation {
		return
	}
	if v.Term < s.viewTerm || v.Term == s.viewTerm && s.viewVote != 0 && v.Vote != s.viewVote {
		g.world.fail("term and vote are monotone", "member %d goes from term %d, vote %d to %d, %d", m.id, s.viewTerm, s.viewVote, v.Term, v.Vote)
	}
	s.viewTerm, s.viewVote = v.Term, v.Vote
	if v.LastIndex != uint64(len(s.log)) || v.LastTerm != termAt(s.log, v.LastIndex) {
		g.world.fail("log as told", "member %d shows a log that ends with (%d, %d), its LogStore was told %v", m.id, v.LastIndex, v.LastTerm, s.log)
	}
	if v.Durable > uint64(len(s.disk)) || v.Durable > 0 && termAt(s.disk, v.Durable) != termAt(s.log, v.Durable) {
		g.world.fail("write, then speak", "member %d takes index %d for durable; its disk has %v, its log %v", m.id, v.Durable, s.disk, s.log)
	}
	if v.Role == "leader" && (was.Role != "leader" || was.Term != v.Term) {
		g.elected(m, v.Term)
	}
	g.commits(m, v)
}

func (g *ghost) elected(m *member, term uint64) {
	g.world.counts.Elections++
	if other := g.leaders[term]; other != 0 && other != m.id {
		g.world.fail("election safety", "members %d and %d both lead in term %d", other, m.id, term)
	}
	g.leaders[term] = m.id
	log := g.members[m.id].log
	for i, t := range g.committed {
		if g.committedIn[i] < term && termAt(log, uint64(i+1)) != t {
			g.world.fail("leader completeness", "leader %d of term %d lacks entry %d of term %d, committed in term %d", m.id, term, i+1, t, g.committedIn[i])
			return
		}
	}
}

func (g *ghost) commits(m *member, v actors.NodeView) {
	s := g.members[m.id]
	if v.Commit < s.commit {
		g.world.fail("commit is monotone", "commit index of member %d goes from %d to %d", m.id, s.commit, v.Commit)
	}
	for i := s.commit + 1; i <= v.Commit; i++ {
		term := termAt(s.log, i)
		if i <= uint64(len(g.committed)) {
			if g.committed[i-1] != term {
				g.world.fail("state machine safety", "member %d commits entry %d of term %d; one of term %d was committed", m.id, i, term, g.committed[i-1])
				return
			}
			g.committedIn[i-1] = min(g.committedIn[i-1], v.Term)
			continue
		}
		g.committed, g.committedIn = append(g.committed, term), append(g.committedIn, v.Term)
		holders := 0
		for id := uint64(1); id <= uint64(g.world.size); id++ {
			if termAt(g.members[id].disk, i) == term {
				holders++
			}
		}
		if i > 1 && holders <= g.world.size/2 {
			g.world.fail("commit needs a quorum", "member %d commits entry %d, which is on %d disks of %d", m.id, i, holders, g.world.size)
		}
	}
	s.commit = max(s.commit, v.Commit)
}

func (g *ghost) machine(m *member, v actors.MachineView) {
	if v.Applied > uint64(len(g.committed)) {
		g.world.fail("apply after commit", "member %d has applied %d; %d are committed", m.id, v.Applied, len(g.committed))
	}
}

func (g *ghost) replicator(m *member, v actors.ReplicatorView) {
	if v.Next != 0 && v.Next <= v.Match {
		g.world.fail("nextIndex above matchIndex", "at member %d, for %d: nextIndex %d is not above matchIndex %d", m.id, v.Peer, v.Next, v.Match)
	}
	if limit := g.world.flight(); v.InFlight > limit.MaxInFlight {
		g.world.fail("bounded window", "at member %d, for %d: %d requests in flight", m.id, v.Peer, v.InFlight)
	}
}

// applied holds state machines against each other, and commands to once.
func (g *ghost) applied(m *member, index, command, hash uint64) {
	if was, known := g.hashes[index]; known && was != hash {
		g.world.fail("state machine safety", "member %d applied something else up to %d than another", m.id, index)
	}
	g.hashes[index] = hash
	if was, known := g.commands[command]; known && was != index {
		g.world.fail("exactly once", "command %d took effect at %d and at %d", command, was, index)
	}
	g.commands[command] = index
}
