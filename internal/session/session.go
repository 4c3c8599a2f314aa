// Package session submits proposals and reads for one member and retries them.
//
// A Session is the client side of the protocol, inside the member: the program calls it, it sends
// requests to the member's Node actor, and the member's actors send results to it through Deliver.
// It has no goroutine and no clock of its own. The simulator runs the same code.
//
// docs/protocol.md states the rules: "Exactly once" for proposals, "Reads" for reads.
package session

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/messages"
)

// Config configures a Session.
type Config struct {
	// NodeID is this member's id.
	NodeID uint64
	Limits Limits
	// NewNonce returns bytes that no other client session has, of this member or of another.
	NewNonce func() []byte
	// FirstReadID is where the ids of read requests start. It must be random, so that a response to a
	// request of an earlier process is not taken for one of this process (P55).
	FirstReadID uint64
	// Now returns the time on a monotonic clock.
	Now func() time.Duration
	// Send sends a message to this member's Node actor. It is called with a lock held, so it must
	// neither wait nor call the Session.
	Send func(proto.Message)
	// Schedule, if not nil, has the callers as tasks: those of tests.
	Schedule *interleave.Scheduler
}

// Session submits the proposals and reads of one member. It is safe for concurrent use.
//
// # Exactly once, from the caller's side
//
// A caller wants one outcome for one call of Propose: the command took effect once and here is its
// result, or it did not and never will. Between the caller and the log stand a leader that may
// change and messages that may be lost. So the Session sends a command again until it has a result,
// and the cluster recognizes the copies (dissertation §6.3):
//
//   - The Session registers a client session: an entry in the log, whose index becomes the session
//     id (P60).
//   - Each command carries that id and a sequence number, so all its copies are equal. It also
//     carries the lowest sequence that is still pending (P61).
//   - Every member's session table keeps the replies from that sequence on. A copy of a command
//     that was applied is not applied again; the cached reply is delivered (P62).
//
// At the Session a client session has three states:
//
//	               LeaderChanged: send the registration
//	New ──▶ registering ◀─────────────────────────────┐
//	            │                                     │ a pending command has the outcome
//	            │ SessionRegistered with our nonce    │ "unknown": the cluster expired the
//	            ▼                                     │ session; all pending commands fail with
//	        registered ───────────────────────────────┘ ErrOutcomeUnknown, new nonce
//	            │
//	            ▼ Close, from each state: all calls fail with the error of Close
//	         closed
//
// While it is registering, commands wait in their callers' goroutines and count against the limits,
// but have no sequence. When it is registered, a command gets the next sequence and is sent. From
// then on exactly one of these ends it:
//
//	result of the command                       its Result
//	refusal for overload or a full disk, once   ErrOverloaded or ErrDiskFull: the caller knows that
//	  no other copy can be in the log (P65)       it had no effect
//	the caller's context ends                   ErrTimeout or ErrNoLeader: it may still take effect,
//	                                              unless it is ErrNotProposed too (P65)
//	the session expires                         ErrOutcomeUnknown
//	Close                                       the error of Close
//
// Every other refusal is temporary: the next Retry sends the command again (P66). Otherwise a
// command is sent once to each leader that becomes known (P67, see sendState). A command may be at
// most maxPendingSpan sequences ahead of the oldest pending one: the session table keeps as many
// replies, so a copy from further back could not be recognized (P68).
//
// A registration lasts as long as the process. If the process ends, the outcome of its pending
// commands is unknown to everybody; that is why exactly-once is guaranteed for the process only.
type Session struct {
	leader    atomic.Uint64 // 0: none known
	proposals *proposals
	reads     *reads
	refusals  refusalCounters
}

// New makes the Session of a member. The member's actors need not run yet.
func New(c Config) *Session {
	s := &Session{}
	c.Limits.MaxPendingReads = cmp.Or(c.Limits.MaxPendingReads, defaults.MaxPendingReads)
	s.proposals = newProposals(c, &s.refusals, s.leader.Load)
	s.reads = newReads(c, &s.refusals, s.leader.Load)
	return s
}

// Propose submits a command and waits for its result. troupe.Node.Propose describes the errors.
func (s *Session) Propose(ctx context.Context, command []byte) (Result, error) {
	return s.proposals.propose(ctx, command)
}

// Read waits until the state machine is as recent as the mode requires.
func (s *Session) Read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	if err := mode.check(); err != nil {
		return ReadPoint{}, err
	}
	if mode == ReadLog {
		return s.proposals.barrier(ctx)
	}
	return s.reads.read(ctx, mode)
}

// Deliver handles a message from one of the member's actors. It ignores types that it does not
// know.
func (s *Session) Deliver(message any) {
	switch m := message.(type) {
	case *messages.CommandResults:
		s.proposals.deliverResults(m)
		s.reads.deliverApplied(m.Incarnation, m.Applied, m.Term)
	case *messages.ReadPoint:
		s.reads.deliverReadPoint(m)
	case *messages.LeaderChanged:
		s.leader.Store(m.Leader)
		s.reads.deliverIncarnation(m.Incarnation)
		s.proposals.deliverLeader(m)
		if m.Leader != 0 {
			s.reads.resend()
		}
	case *messages.ContinueProposals:
		s.proposals.deliverContinue(m)
	case *messages.ProposalsRefused:
		s.proposals.deliverRefused(m)
	case *messages.SessionRegistered:
		s.proposals.deliverRegistered(m)
	case *messages.ReplayComplete:
		s.reads.deliverReplayComplete(m.Incarnation, m.Applied)
	}
}

// Retry sends pending requests again: commands that were refused temporarily, and reads that were
// sent at least half of patience ago. Call it once per heartbeat: a leader whose leadership
// transfer failed does not report that it accepts commands again.
func (s *Session) Retry(patience time.Duration) {
	s.proposals.retry()
	s.reads.retry(patience / 2)
}

// Close fails all pending calls, and all later ones, with err. Messages that arrive later have no
// effect.
func (s *Session) Close(err error) {
	s.proposals.close(err)
	s.reads.close(err)
}

// Pending returns the number of commands that wait for their result, and their size.
func (s *Session) Pending() (commands int, bytes uint64) { return s.proposals.pending() }

// Registered reports whether the cluster has registered the client session, so that a command is
// sent at once.
func (s *Session) Registered() bool { return s.proposals.registered() }
