package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// modelTable says the same as ledger one entry at a time, with maps and without any batch: exactly-once as one would
// explain it.
type modelTable struct {
	limits   sessionLimits
	sessions map[uint64]*modelSession
	applied  []appliedCommand
	// first is, for each command of ownNodeID's origins that took effect, where and with what answer.
	first map[commandID]modelReply
}

type modelSession struct {
	node, lastUsed, lowestOutstanding, cachedFrom uint64
	nonce                                         string
	replies                                       map[uint64]modelReply
}

type modelReply struct {
	index   uint64
	value   string
	evicted bool
}

func newModelTable(l sessionLimits) *modelTable {
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
	case raft.KindCommand:
		if o := n.sessions[e.SessionID]; o != nil {
			n.command(o, statemachine.Command{Index: index, Term: term, Data: e.Payload}, commandID{e.SessionID, e.Sequence}, e.LowestOutstanding)
		}
	}
}

func (n *modelTable) open(index, node uint64, nonce string) {
	if len(nonce) > n.limits.maxNonceBytes {
		return
	}
	same := func(o *modelSession) bool { return o.node == node }
	for _, o := range n.sessions {
		if same(o) && o.nonce == nonce {
			o.lastUsed = index
			return
		}
	}
	n.evictOldest(n.limits.sessionsPerNode, same)
	n.evictOldest(n.limits.sessions, func(*modelSession) bool { return true })
	n.sessions[index] = &modelSession{node: node, nonce: nonce, lastUsed: index, replies: map[uint64]modelReply{}}
}

// evictOldest makes room for one among those that may be at most max.
func (n *modelTable) evictOldest(max int, among func(o *modelSession) bool) {
	byUse := map[uint64]uint64{}
	for id, o := range n.sessions {
		if among(o) {
			byUse[o.lastUsed] = id
		}
	}
	if len(byUse) >= max {
		delete(n.sessions, byUse[slices.Min(slices.Collect(maps.Keys(byUse)))])
	}
}

func (n *modelTable) command(o *modelSession, c statemachine.Command, id commandID, lowest uint64) {
	o.lastUsed = c.Index
	o.lowestOutstanding = max(o.lowestOutstanding, lowest)
	o.cachedFrom = max(o.cachedFrom, o.lowestOutstanding)
	maps.DeleteFunc(o.replies, func(s uint64, _ modelReply) bool { return s < o.lowestOutstanding })
	if _, known := o.replies[id.sequence]; known || id.sequence < o.cachedFrom {
		return
	}
	value := string(replyTo(c))
	n.applied = append(n.applied, appliedCommand{c.Index, c.Term, string(c.Data)})
	if o.node == ownNodeID {
		n.first[id] = modelReply{index: c.Index, value: value}
	}
	if len(value) > n.limits.maxValueBytes {
		o.replies[id.sequence] = modelReply{index: c.Index, evicted: true}
	} else {
		o.replies[id.sequence] = modelReply{index: c.Index, value: value}
	}
	sequences := slices.Sorted(maps.Keys(o.replies))
	if len(sequences) > n.limits.repliesPerSession {
		o.cachedFrom = sequences[0] + 1
		delete(o.replies, sequences[0])
		sequences = sequences[1:]
	}
	total := 0
	for _, s := range slices.Backward(sequences) { // from the newest, what fits stays
		a := o.replies[s]
		if total += len(a.value); total > n.limits.valueBytesPerSession && len(a.value) > 0 {
			o.replies[s] = modelReply{index: a.index, evicted: true}
		}
	}
}

func (n *modelTable) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(n.sessions)) {
		o := n.sessions[id]
		fmt.Fprintf(&b, "origin %d of %d (%q) last used %d watermark %d floor %d\n", id, o.node, o.nonce, o.lastUsed, o.lowestOutstanding, o.cachedFrom)
		for _, s := range slices.Sorted(maps.Keys(o.replies)) {
			fmt.Fprintf(&b, "  %d at %d: %q lost %v\n", s, o.replies[s].index, o.replies[s].value, o.replies[s].evicted)
		}
	}
	return b.String()
}

func (l *sessionTable) String() string {
	var b strings.Builder
	for _, o := range l.sessions {
		fmt.Fprintf(&b, "origin %d of %d (%q) last used %d watermark %d floor %d\n", o.id, o.node, o.nonce, o.lastUsed, o.lowestOutstanding, o.cachedFrom)
		for _, a := range o.replies {
			if a.state == pending {
				fmt.Fprintf(&b, "  %d at %d: pending\n", a.sequence, a.index)
				continue
			}
			fmt.Fprintf(&b, "  %d at %d: %q lost %v\n", a.sequence, a.index, a.value, a.state == evicted)
		}
	}
	return b.String()
}

// small limits are met soon.
var smallLimits = sessionLimits{sessions: 4, sessionsPerNode: 2, repliesPerSession: 4, valueBytesPerSession: 40, maxValueBytes: 20, maxNonceBytes: 4}

// barriers have sequences from here on in these tests: the index where they stand in the log first, above this.
const firstBarrierSequence = 1000

// drawLog is a log with everything in it that the ledger must cope with.
func drawLog(t *rapid.T) [][]byte {
	var log [][]byte
	var origins []uint64
	sequence := rapid.Uint64Range(0, 14)
	for range rapid.IntRange(1, 60).Draw(t, "entries") {
		index := uint64(len(log)) + 1
		switch kind := rapid.IntRange(0, 15).Draw(t, "kind"); {
		case kind == 0 && len(origins) > 0 && rapid.Bool().Draw(t, "barrier"):
			log = append(log, raft.EncodeBarrier(rapid.SampledFrom(origins).Draw(t, "reader"), firstBarrierSequence+index, 0))
		case kind == 0:
			log = append(log, raft.EncodeNoop())
		case kind <= 2 || len(origins) == 0:
			nonce := rapid.SampledFrom([]string{"a", "b", "c", "d", "too long"}).Draw(t, "nonce")
			log = append(log, raft.EncodeRegisterSession([]byte(nonce), rapid.SampledFrom([]uint64{ownNodeID, ownNodeID, 8, 9}).Draw(t, "node")))
			origins = append(origins, index)
		case kind == 3:
			log = append(log, raft.EncodeExpireSession(rapid.SampledFrom(origins).Draw(t, "closed")))
		case kind <= 6 && len(log) > 0:
			log = append(log, rapid.SampledFrom(log).Draw(t, "again"))
		default:
			origin := rapid.SampledFrom(origins).Draw(t, "origin")
			if kind == 7 {
				origin++ // most likely none
			}
			s := sequence.Draw(t, "sequence")
			lowest := s - rapid.Uint64Range(0, s).Draw(t, "older outstanding")
			payload := rapid.SampledFrom([]string{"x", "yyyy", "big:19", "big:20", "big:21", "big:0"}).Draw(t, "command")
			log = append(log, raft.EncodeCommand(origin, s, lowest, []byte(payload)))
		}
	}
	return log
}
