// Package handle is what a program holds of its member: it proposes commands and asks for reads, says again what is not
// answered, and tells each caller what came of it.
//
// Its rules are those of docs/protocol.md, "Exactly once" and "Reads". Callers of Propose and Read wait; Begin and
// BeginRead are for who must not wait, as the simulator, which runs this very code. Time, randomness and the way to the
// Node come from Config.
package session

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
)

// Config is what a Session needs from outside.
type Config struct {
	// Node is this member's id.
	NodeID uint64
	Limits Limits
	// Nonce makes a new one: no two origins may have the same.
	NewNonce func() []byte
	// FirstReadID is where the ids of reads begin: at random, so that an answer to an earlier process's does not pass for ours.
	FirstReadID uint64
	Now         func() time.Duration
	// Send says something to this member's Node. It must not call back.
	Send func(proto.Message)
}

// Session is safe for concurrent use.
type Session struct {
	leader    atomic.Uint64
	proposals *proposals
	reads     *reads
	refusals  refusalCounters
}

// New makes the handle of a member whose actors have not begun to live.
func New(c Config) *Session {
	h := &Session{}
	c.Limits.MaxPendingReads = cmp.Or(c.Limits.MaxPendingReads, defaults.MaxPendingReads)
	h.proposals = newProposals(c, &h.refusals, h.leader.Load)
	h.reads = newReads(c, &h.refusals, h.leader.Load)
	return h
}

// Propose has a command applied exactly once, and waits for what came of it.
func (h *Session) Propose(ctx context.Context, command []byte) (Result, error) {
	return h.proposals.propose(ctx, command)
}

// Read waits until the state machine reflects what the mode promises.
func (h *Session) Read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	if mode == ReadLog {
		return h.proposals.barrier(ctx)
	}
	return h.reads.read(ctx, mode)
}

// Hear takes what the member's actors say to the program.
func (h *Session) Deliver(message any) {
	switch m := message.(type) {
	case *messages.CommandResults:
		h.proposals.deliverResults(m)
		h.reads.deliverApplied(m.Incarnation, m.Applied, m.Term)
	case *messages.ReadPoint:
		h.reads.deliverReadPoint(m)
	case *messages.LeaderChanged:
		h.leader.Store(m.Leader)
		h.reads.deliverIncarnation(m.Incarnation)
		if m.Leader != 0 {
			h.proposals.resend()
			h.reads.resend()
		}
	case *messages.ProposalsRefused:
		h.proposals.deliverRefused(m)
	case *messages.SessionRegistered:
		h.proposals.deliverRegistered(m)
	case *messages.ReplayComplete:
		h.reads.deliverServing(m.Incarnation, m.Applied)
	}
}

// Retry says again what has waited for too long: commands for the given time, reads, which cost less, for half of it; and
// commands that were refused for the moment, however long they have waited. It is to be called now and then: once a heartbeat,
// so that what a leader refused while it was about to hand over is not late for longer where it leads on.
func (h *Session) Retry(patience time.Duration) {
	h.proposals.retry(patience)
	h.reads.retry(patience / 2)
}

// Close ends everything that waits with err, and whatever is asked from now on. What is heard after that changes nothing.
func (h *Session) Close(err error) {
	h.proposals.close(err)
	h.reads.close(err)
}

// Pending is how many commands wait, and their bytes.
func (h *Session) Pending() (commands int, bytes uint64) {
	h.proposals.mu.Lock()
	defer h.proposals.mu.Unlock()
	return h.proposals.queuedCommands + h.proposals.unregistered, h.proposals.queuedBytes + h.proposals.unregisteredBytes
}
