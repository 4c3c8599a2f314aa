// Package checker compares every step of a simulated cluster with a model of it and reports
// violated invariants.
package checker

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Checker checks the invariants of Raft, of the log and of the actors (Invariants) after every
// step.
//
// The model. For each member the Checker keeps its log as its Node has it, as its LogStore was
// given it, and as its disk holds it for certain. For the cluster it keeps every vote, every
// leader, every entry that ever stood in a log, the term of each committed entry, and the effect of
// each command. Nothing in the model is ever forgotten, so an invariant such as "one vote per term"
// spans all crashes of a member.
//
// What it observes. There are four sources, and each one alone could be wrong:
//
//  1. the messages between actors, when they are posted, handled and sent to another member
//     (log.go, sent.go);
//  2. the states that actors report of themselves (node.go, machine.go);
//  3. the bytes that each sync makes durable, read by a decoder that shares no code with the
//     product (disk.go);
//  4. every thousand steps and at the end, what the production code reads back from the disks
//     (full.go).
//
// An invariant about two of them fails as soon as they disagree: an acknowledgement is compared
// with the synced bytes, and not with what the LogStore says of itself.
//
// The Checker changes nothing and draws no random number, so a world runs the same with or without
// it.
type Checker struct {
	sim       Simulation
	bootstrap *messages.Configuration
	members   []Member
	models    []*memberModel // by member id

	leaders map[uint64]uint64            // by term (Election Safety)
	votes   map[uint64]map[uint64]uint64 // by term and voter, as sent to any member
	entries entryTable                   // every entry that ever stood in a log (Log Matching)
	// committed[i] is the term of entry i+1, and committedIn[i] the lowest term of a Node that was
	// seen to know of the commit.
	committed, committedIn []uint64
	// Of the state machine after the command at index i+1; 0: unknown
	stateHashes []uint64
	// sessionTables are those that members reported, by applied index.
	sessionTables []sessionTableSum
	effects       map[uint64]uint64 // command → the index at which it took effect

	inert        inertMessage
	largestEntry uint64   // in bytes
	terms        []uint64 // scratch for comparisons
}

// Simulation is the world that is checked.
type Simulation interface {
	// Fail reports a violated invariant. Only the first report counts.
	Fail(invariant, format string, values ...any)
	// Elected counts an election.
	Elected()
}

// Member is a member of the cluster.
type Member interface {
	ID() uint64
	Up() bool
	NodeStopped() bool // the node stopped by itself
	Storage() Disk
	LogOptions() persistence.Options
}

// Disk is the disk of a member.
type Disk interface {
	Peek(path string) []byte
	CrashClone(vfs.CrashChoice) *vfs.MemFS
	HasDamage() bool    // data that it held is damaged or lost
	DroppedSyncs() bool // a sync reported success and did nothing
}

// Mailbox is the mailbox of an actor.
type Mailbox interface {
	MemberID() uint64
	ActorID() string
	Path() string // of the actor below the Node: "", "log", "log/reader", "machine", "peer-0x2"
	Queued() []any
}

// New returns a Checker for members 1 to size.
func New(sim Simulation, size int, bootstrap *messages.Configuration) *Checker {
	c := &Checker{
		sim: sim, bootstrap: bootstrap, leaders: map[uint64]uint64{}, votes: map[uint64]map[uint64]uint64{}, effects: map[uint64]uint64{},
		models: make([]*memberModel, size+1),
	}
	for id := range c.models {
		c.models[id] = &memberModel{matched: make([]uint64, size+1)}
	}
	return c
}

// Add adds a member, in the order of ids.
func (c *Checker) Add(m Member) { c.members = append(c.members, m) }

func (c *Checker) fail(invariant, format string, values ...any) {
	c.sim.Fail(invariant, format, values...)
}

// Posted observes a message that enters a mailbox.
func (c *Checker) Posted(b Mailbox, message any) {
	c.sideEffect(message)
	id := b.MemberID()
	switch m := message.(type) {
	case *messages.Append:
		c.appended(id, m) // the Node's log changes with what it sends to its LogStore
	case *messages.Recovered:
		c.recovered(id, m)
	case *messages.RequestRead:
		c.readRequested(id, m)
	case *messages.Committed:
		c.checkSingleCredit(b, message, func(other any) bool {
			o, ok := other.(*messages.Committed)
			return ok && o.Incarnation == m.Incarnation
		})
	case *messages.Flush:
		c.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Flush); return ok && o.Incarnation == m.Incarnation })
	case *messages.Pull:
		c.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Pull); return ok && o.Incarnation == m.Incarnation })
	case *messages.Fetched:
		c.checkSingleCredit(b, message, func(other any) bool { o, ok := other.(*messages.Fetched); return ok && o.Token == m.Token })
	}
}

// checkSingleCredit: what is sent for a credit is in a mailbox once, however slow the actor is
// (E45).
func (c *Checker) checkSingleCredit(b Mailbox, message any, same func(other any) bool) {
	for _, other := range b.Queued() {
		if same(other) {
			c.fail("bounded mailboxes", "the mailbox of %s of member %d gets a second %T before the first is handled", b.ActorID(), b.MemberID(), message)
			return
		}
	}
}

// inertMessage is the current message, if the actor that handles it must only look at it.
type inertMessage struct {
	mailbox   Mailbox // nil: the current message may have effects
	invariant string
	message   any
}

// Handling observes that an actor begins to handle a message.
func (c *Checker) Handling(b Mailbox, message any) {
	c.inert = inertMessage{}
	id := b.MemberID()
	s := c.models[id]
	switch m := message.(type) {
	case *messages.Append:
		if m.Incarnation == s.logIncarnation && m.Incarnation == s.nodeIncarnation {
			s.pendingChanges = append(s.pendingChanges, changeOf(m))
			return
		}
	case *messages.RequestVote:
		if m.PreVote {
			c.inert = inertMessage{b, "pre-vote changes nothing", message}
		}
		return
	case *messages.ForwardedProposals:
		if m.Number != 0 && m.Term < s.view.Term {
			c.inert = inertMessage{b, "stale forwards refused", message}
		}
		return
	case *messages.HeartbeatResponse, *messages.ReplicationProgress:
		if m.(interface{ GetTerm() uint64 }).GetTerm() < s.view.Term {
			c.inert = inertMessage{b, "stale term ignored", message}
			return
		}
	}
	// Not when it is posted: a Node reports its commit index after it has handled its message
	switch m := message.(type) {
	case *messages.Committed:
		c.checkCommittedEntries(id, m.Entries)
	case *messages.ReadLogResponse:
		if b.Path() == actors.MachineName {
			c.checkCommittedEntries(id, m.Entries)
		}
	}
	if local, ok := message.(interface{ GetIncarnation() uint64 }); ok && local.GetIncarnation() != s.nodeIncarnation {
		c.inert = inertMessage{b, "stale incarnation ignored", message}
	}
}

// Handled observes that the current message was handled.
func (c *Checker) Handled() { c.inert = inertMessage{} }

// TimerSet observes that an actor sets a timer.
func (c *Checker) TimerSet(message any) { c.sideEffect(message) }

// sideEffect observes that an actor does something, which it must not while the current message is
// inert. The refusals that the message asks for are no effects.
func (c *Checker) sideEffect(by any) {
	h := c.inert
	if h.mailbox == nil {
		return
	}
	switch by.(type) {
	case *messages.EnvelopesDropped:
		return // by the link: the refusal displaced others in a full queue
	case *messages.VoteResponse:
		if h.invariant == "pre-vote changes nothing" {
			return
		}
	case *messages.ProposalsRefused:
		if h.invariant == "stale forwards refused" {
			return
		}
	}
	id := h.mailbox.MemberID()
	s := c.models[id]
	switch h.invariant {
	case "stale term ignored":
		c.fail("stale term ignored", "member %d, in term %d, reacts to %T %v: %T %v", id, s.view.Term, h.message, h.message, by, by)
	case "stale forwards refused":
		c.fail("stale forwards refused", "member %d, in term %d, handles proposals forwarded in term %d and does more than refuse them: %T %v",
			id, s.view.Term, h.message.(*messages.ForwardedProposals).Term, by, by)
	case "pre-vote changes nothing":
		c.fail("pre-vote changes nothing", "member %d handles %v and does more than respond: %T %v", id, h.message, by, by)
	default:
		c.fail("stale incarnation ignored", "%s of member %d, in incarnation %d, reacts to %T %v: %T %v", h.mailbox.ActorID(), id,
			s.nodeIncarnation, h.message, h.message, by, by)
	}
}

// Committed returns how many entries are committed.
func (c *Checker) Committed() int { return len(c.committed) }

// LogTerm returns the term of an entry in the log of a member's Node; 0: it has none.
func (c *Checker) LogTerm(id, index uint64) uint64 { return termAt(c.models[id].log, index) }

// LogTerms returns the terms of all entries in the log of a member's Node.
func (c *Checker) LogTerms(id uint64) []uint64 { return c.models[id].log }

// DurableTerm returns the term of an entry that the disk of a member holds for certain; 0: it holds
// none.
func (c *Checker) DurableTerm(id, index uint64) uint64 { return termAt(c.models[id].durableLog, index) }

// VotedTerm returns the highest term in which a member sent a vote.
func (c *Checker) VotedTerm(id uint64) uint64 { return c.models[id].term }

// Vote returns for whom a member sent a vote in a term; 0: for none.
func (c *Checker) Vote(term, voter uint64) uint64 { return c.votes[term][voter] }

// EffectIndex returns the index at which a command took effect; 0: it did not.
func (c *Checker) EffectIndex(command uint64) uint64 { return c.effects[command] }

// LogIncarnation returns the incarnation of the log of a member's Node.
func (c *Checker) LogIncarnation(id uint64) uint64 { return c.models[id].logIncarnation }
