package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// modelTable is a simple model of the session table: one entry at a time, with maps, without
// batches.
type modelTable struct {
	limits   SessionLimits
	sessions map[uint64]*modelSession
	applied  []appliedCommand
	// first is the first result of each applied command of ownNodeID's sessions.
	first map[commandID]modelReply
}

type modelSession struct {
	id, node, lastUsed, lowestOutstanding, cachedFrom uint64
	nonce                                             string
	replies                                           map[uint64]modelReply
}

type modelReply struct {
	index   uint64
	value   string
	evicted bool
}

func newModelTable(l SessionLimits) *modelTable {
	return &modelTable{limits: l, sessions: map[uint64]*modelSession{}, first: map[commandID]modelReply{}}
}

func (n *modelTable) entry(index, term uint64, data []byte) {
	e, err := raft.DecodeEntry(data)
	if err != nil {
		panic(err)
	}
	switch e.Kind {
	case raft.KindRegisterSession:
		n.open(index, e.NodeID, string(e.Payload))
	case raft.KindExpireSession:
		delete(n.sessions, e.SessionID)
	case raft.KindBarrier:
		if s := n.sessions[e.SessionID]; s != nil {
			n.use(s, index)
		}
	case raft.KindConfiguration:
		c, err := raft.DecodeConfiguration(data)
		if err != nil {
			panic(err)
		}
		maps.DeleteFunc(n.sessions, func(_ uint64, s *modelSession) bool { return raft.FindMember(c, s.node) == nil })
	case raft.KindCommand:
		if s := n.sessions[e.SessionID]; s != nil {
			n.command(s, statemachine.Command{Index: index, Term: term, Data: e.Payload}, commandID{e.SessionID, e.Sequence}, e.LowestOutstanding)
		}
	}
}

func (n *modelTable) open(index, node uint64, nonce string) {
	if len(nonce) > n.limits.MaxNonceBytes {
		return
	}
	same := func(s *modelSession) bool { return s.node == node }
	for _, s := range n.sessions {
		if same(s) && s.nonce == nonce {
			return
		}
	}
	n.evictOldest(n.limits.SessionsPerNode, same)
	among := func(s *modelSession) bool { return n.newest(s.node) > s.id }
	if !slices.ContainsFunc(slices.Collect(maps.Values(n.sessions)), among) {
		among = func(*modelSession) bool { return true }
	}
	if len(n.sessions) >= n.limits.Sessions {
		n.evictOldest(0, among)
	}
	n.sessions[index] = &modelSession{id: index, node: node, nonce: nonce, lastUsed: index, replies: map[uint64]modelReply{}}
}

// newest returns the newest session of a node.
func (n *modelTable) newest(node uint64) (id uint64) {
	for _, s := range n.sessions {
		if s.node == node {
			id = max(id, s.id)
		}
	}
	return id
}

// use closes the older sessions of a member when one is used for the first time.
func (n *modelTable) use(s *modelSession, index uint64) {
	if s.lastUsed == s.id {
		maps.DeleteFunc(n.sessions, func(id uint64, other *modelSession) bool { return other.node == s.node && id < s.id })
	}
	s.lastUsed = index
}

// evictOldest makes room for one more session among those of which there may be max.
func (n *modelTable) evictOldest(max int, among func(s *modelSession) bool) {
	byUse := map[uint64]uint64{}
	for id, s := range n.sessions {
		if among(s) {
			byUse[s.lastUsed] = id
		}
	}
	if len(byUse) >= max {
		delete(n.sessions, byUse[slices.Min(slices.Collect(maps.Keys(byUse)))])
	}
}

func (n *modelTable) command(s *modelSession, c statemachine.Command, id commandID, lowest uint64) {
	n.use(s, c.Index)
	s.lowestOutstanding = max(s.lowestOutstanding, lowest)
	s.cachedFrom = max(s.cachedFrom, s.lowestOutstanding)
	maps.DeleteFunc(s.replies, func(sequence uint64, _ modelReply) bool { return sequence < s.lowestOutstanding })
	if _, known := s.replies[id.sequence]; known || id.sequence < s.cachedFrom {
		return
	}
	value := string(replyTo(c))
	n.applied = append(n.applied, appliedCommand{c.Index, c.Term, string(c.Data)})
	if s.node == ownNodeID {
		n.first[id] = modelReply{index: c.Index, value: value}
	}
	if len(value) > n.limits.MaxValueBytes {
		s.replies[id.sequence] = modelReply{index: c.Index, evicted: true}
	} else {
		s.replies[id.sequence] = modelReply{index: c.Index, value: value}
	}
	sequences := slices.Sorted(maps.Keys(s.replies))
	if len(sequences) > n.limits.RepliesPerSession {
		s.cachedFrom = sequences[0] + 1
		delete(s.replies, sequences[0])
		sequences = sequences[1:]
	}
	total := 0
	for _, sequence := range slices.Backward(sequences) { // from the newest: what fits stays
		a := s.replies[sequence]
		if total += len(a.value); total > n.limits.ValueBytesPerSession && len(a.value) > 0 {
			s.replies[sequence] = modelReply{index: a.index, evicted: true}
		}
	}
}

func (n *modelTable) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(n.sessions)) {
		s := n.sessions[id]
		fmt.Fprintf(&b, "session %d of %d (%q) last used %d lowest outstanding %d cached from %d\n", id, s.node, s.nonce, s.lastUsed, s.lowestOutstanding, s.cachedFrom)
		for _, sequence := range slices.Sorted(maps.Keys(s.replies)) {
			a := s.replies[sequence]
			fmt.Fprintf(&b, "  %d at %d: %q evicted %v\n", sequence, a.index, a.value, a.evicted)
		}
	}
	return b.String()
}

func (l *sessionTable) String() string {
	var b strings.Builder
	for _, s := range l.sessions {
		fmt.Fprintf(&b, "session %d of %d (%q) last used %d lowest outstanding %d cached from %d\n", s.id, s.node, s.nonce, s.lastUsed, s.lowestOutstanding, s.cachedFrom)
		for _, a := range s.replies {
			if a.state == inBatch {
				fmt.Fprintf(&b, "  %d at %d: pending\n", a.sequence, a.index)
				continue
			}
			fmt.Fprintf(&b, "  %d at %d: %q evicted %v\n", a.sequence, a.index, a.value, a.state == evicted)
		}
	}
	return b.String()
}

// smallLimits are reached soon.
var smallLimits = SessionLimits{Sessions: 4, SessionsPerNode: 2, RepliesPerSession: 4, ValueBytesPerSession: 40, MaxValueBytes: 20, MaxNonceBytes: 4}

// firstBarrierSequence plus the index of its first copy is the sequence of a barrier in these
// tests.
const firstBarrierSequence = 1000

// drawLog draws a log with all kinds of entries, repeated commands and unknown sessions.
func drawLog(t *rapid.T) [][]byte {
	var log [][]byte
	var sessions []uint64
	sequence := rapid.Uint64Range(0, 14)
	for range rapid.IntRange(1, 60).Draw(t, "entries") {
		index := uint64(len(log)) + 1
		switch kind := rapid.IntRange(0, 15).Draw(t, "kind"); {
		case kind == 0 && len(sessions) > 0 && rapid.Bool().Draw(t, "barrier"):
			log = append(log, raft.EncodeBarrier(rapid.SampledFrom(sessions).Draw(t, "reader"), firstBarrierSequence+index, 0))
		case kind == 0 && rapid.Bool().Draw(t, "configuration"):
			c := &messages.Configuration{Members: []*messages.Member{{Id: ownNodeID}}}
			if rapid.Bool().Draw(t, "two members") {
				c.Members = append(c.Members, &messages.Member{Id: 8})
			}
			log = append(log, raft.EncodeConfiguration(c))
		case kind == 0:
			log = append(log, raft.EncodeNoop())
		case kind <= 2 || len(sessions) == 0:
			nonce := rapid.SampledFrom([]string{"a", "b", "c", "d", "too long"}).Draw(t, "nonce")
			log = append(log, raft.EncodeRegisterSession([]byte(nonce), rapid.SampledFrom([]uint64{ownNodeID, ownNodeID, 8, 9}).Draw(t, "node")))
			sessions = append(sessions, index)
		case kind == 3:
			log = append(log, raft.EncodeExpireSession(rapid.SampledFrom(sessions).Draw(t, "expired")))
		case kind <= 6 && len(log) > 0:
			log = append(log, rapid.SampledFrom(log).Draw(t, "again"))
		default:
			session := rapid.SampledFrom(sessions).Draw(t, "session")
			if kind == 7 {
				session++ // probably unknown
			}
			s := sequence.Draw(t, "sequence")
			lowest := s - rapid.Uint64Range(0, s).Draw(t, "older outstanding")
			payload := rapid.SampledFrom([]string{"x", "yyyy", "big:19", "big:20", "big:21", "big:0"}).Draw(t, "command")
			log = append(log, raft.EncodeCommand(session, s, lowest, []byte(payload)))
		}
	}
	return log
}
