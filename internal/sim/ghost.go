package sim

import (
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/messages"
)

// ghost knows what no member knows: all of them at once. It holds what happens against what Raft promises (Invariants), and
// keeps for that what was promised, voted, led, committed and applied, over all lives.
//
// It sees four things, each of which could lie alone: the messages between actors, as they are posted, handled and said
// (this file, ghost_log.go, ghost_speech.go); the actors' own views of themselves (ghost_node.go, ghost_apply.go); the bytes
// that each sync makes durable, read by its own decoder (ghost_disk.go); and, every thousand steps, what the production
// code reads back from the disks (ghost_full.go).
type Checker struct {
	world   *World
	members []*memberModel // by id

	leaders map[uint64]uint64            // by term (Election Safety)
	votes   map[uint64]map[uint64]uint64 // by term and voter, as said to anybody
	entries entryTable                   // of every entry that ever stood in a log (Log Matching)
	// committed[i] is the term of entry i+1; in committedInTerm the lowest term of a node that was seen to know of it.
	committedTerms, committedInTerm []uint64
	stateHashes                     []uint64          // of the state machine after the command at index i+1; 0: not known
	commandIndexes                  map[uint64]uint64 // command → index: exactly once

	mustIgnore   ignoreRule
	largestEntry uint64 // entry, in bytes
	// scratch for what is compared.
	terms []uint64
}

// shadow is what one member's log is, and what it must never forget.
type memberModel struct {
	nodeIncarnation  uint64   // the incarnation that its Node showed last
	logIncarnation   uint64   // the one that log is of
	log              []uint64 // terms, as its Node has them
	cumulativeBytes  []uint64 // of all entries of this incarnation up to each
	durableLog       []uint64 // terms, as its disk has them for sure
	writtenLog       []uint64 // as its LogStore was told to have it, up to its last write
	pendingChanges   []change // handled by its LogStore since
	durableDisk      durableDisk
	undamaged        *diskContents        // nil: its disk is whole
	configurations   []configurationEntry // configurations of the log
	pendingAcks      []pendingAck         // what its LogStore is to say when it has written
	pendingReads     []pendingRead
	matched          []uint64    // by peer: what it, as a leader, last took for that peer's matchIndex
	nodeLimits       node.Limits // of this life
	replicatorLimits replicator.Limits
	// What it said and therefore must still have after any crash.
	term, vote   uint64
	acknowledged position
	// In this incarnation.
	viewTerm, viewVote, commit, applied, replayIndex uint64
	shownConfiguration                               *messages.Configuration
}

type position struct{ index, term uint64 }

// placed is a configuration and the index of its entry.
type configurationEntry struct {
	index         uint64
	configuration *messages.Configuration
}

func newChecker(w *World) *Checker {
	g := &Checker{
		world: w, leaders: map[uint64]uint64{}, votes: map[uint64]map[uint64]uint64{}, commandIndexes: map[uint64]uint64{},
		members: make([]*memberModel, w.size+1),
	}
	for id := range g.members {
		g.members[id] = &memberModel{matched: make([]uint64, w.size+1)}
	}
	return g
}

func (g *Checker) fail(invariant, format string, values ...any) {
	g.world.Fail(invariant, format, values...)
}

// hush is an actor that handles a message which must not touch anything.
type ignoreRule struct {
	mailbox   *mailbox // nil: nobody
	invariant string
	message   any
}

// posted sees a message enter a mailbox.
func (g *Checker) posted(b *mailbox, message any) {
	if g.mustIgnore.mailbox != nil {
		g.sideEffect(message)
	}
	switch m := message.(type) {
	case *messages.Append:
		g.appended(b.member, m) // the Node's log changes with what it says to its LogStore
	case *messages.Recovered:
		g.recovered(b.member, m)
	case *messages.RequestRead:
		g.readRequested(b.member, m)
	case *messages.Committed:
		g.checkSingleCredit(b, message, func(other any) bool {
			o, ok := other.(*messages.Committed)
			return ok && o.Incarnation == m.Incarnation
		})
	case *messages.Flush:
		g.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Flush); return ok && o.Incarnation == m.Incarnation })
	case *messages.Pull:
		g.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Pull); return ok && o.Incarnation == m.Incarnation })
	case *messages.Fetched:
		g.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Fetched); return ok && o.Token == m.Token })
	}
}

// checkSingleCredit: what is given for a credit stands in a mailbox once, however slow its owner is (E45).
func (g *Checker) checkSingleCredit(b *mailbox, message any, same func(other any) bool) {
	for _, other := range b.user {
		if same(other) {
			g.fail("bounded mailboxes", "the mailbox of %s of member %d gets a second %T before the first is handled", b.self.Id, b.member.id, message)
			return
		}
	}
}

// handling sees an actor take a message; handled, that it is done with it.
func (g *Checker) handling(b *mailbox, message any) {
	g.mustIgnore = ignoreRule{}
	s := g.members[b.member.id]
	switch m := message.(type) {
	case *messages.Append:
		if m.Incarnation == s.logIncarnation && m.Incarnation == s.nodeIncarnation {
			s.pendingChanges = append(s.pendingChanges, changeOf(m))
			return
		}
	case *messages.RequestVote:
		if m.PreVote {
			g.mustIgnore = ignoreRule{b, "a pre-vote changes nothing", message}
		}
		return
	case *messages.ForwardedProposals:
		if m.Number != 0 && m.Term < b.member.view.Term {
			g.mustIgnore = ignoreRule{b, "late forwards are refused", message}
		}
		return
	case *messages.HeartbeatResponse, *messages.Progress:
		if m.(interface{ GetTerm() uint64 }).GetTerm() < b.member.view.Term {
			g.mustIgnore = ignoreRule{b, "term by term", message}
			return
		}
	}
	switch m := message.(type) { // not when it is posted: a Node shows its commit index at the end of its message
	case *messages.Committed:
		g.checkCommittedEntries(b.member, m.Entries)
	case *messages.ReadLogResponse:
		if b.path == "machine" {
			g.checkCommittedEntries(b.member, m.Entries)
		}
	}
	if local, ok := message.(interface{ GetIncarnation() uint64 }); ok && local.GetIncarnation() != s.nodeIncarnation {
		g.mustIgnore = ignoreRule{b, "life by life", message}
	}
}

func (g *Checker) handled() { g.mustIgnore = ignoreRule{} }

// disturbed: an actor that should only have looked at its message does something.
func (g *Checker) sideEffect(by any) {
	h := g.mustIgnore
	switch by.(type) {
	case *messages.VoteResponse:
		if h.invariant == "a pre-vote changes nothing" {
			return
		}
	case *messages.ProposalsRefused:
		if h.invariant == "late forwards are refused" {
			return
		}
	}
	switch h.invariant {
	case "term by term":
		g.fail("term by term", "member %d, in term %d, is moved by %T %v: %T %v", h.mailbox.member.id, h.mailbox.member.view.Term,
			h.message, h.message, by, by)
	case "late forwards are refused":
		g.fail("late forwards are refused", "member %d, in term %d, handles what was forwarded in term %d and does more than to refuse it: %T %v",
			h.mailbox.member.id, h.mailbox.member.view.Term, h.message.(*messages.ForwardedProposals).Term, by, by)
	case "a pre-vote changes nothing":
		g.fail("a pre-vote changes nothing", "member %d handles %v and does more than to answer: %T %v", h.mailbox.member.id, h.message, by, by)
	default:
		g.fail("life by life", "%s of member %d, in incarnation %d, obeys %T %v: %T %v", h.mailbox.self.Id, h.mailbox.member.id,
			g.members[h.mailbox.member.id].nodeIncarnation, h.message, h.message, by, by)
	}
}

// timed sees an actor set a timer.
func (g *Checker) timerSet(message any) {
	if g.mustIgnore.mailbox != nil {
		g.sideEffect(message)
	}
}
