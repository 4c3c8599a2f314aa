package simulation

import (
	"context"
	"errors"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/session"
)

// consensus is the kv.Consensus of one member: the production session, on which tasks wait.
type consensus struct{ m *member }

var errMemberEnded = errors.New("the member stopped")

// operationKey is the key of the operation in the context of its request.
type operationKey struct{}

// Propose implements kv.Consensus.
func (c *consensus) Propose(ctx context.Context, command []byte) (troupe.Result, error) {
	result, err := c.await(ctx, func(number uint64, done func(session.Outcome)) { c.m.Propose(number, command, done) })
	if o, ok := ctx.Value(operationKey{}).(*operation); ok && err == nil {
		o.index = result.Index
	}
	return troupe.Result(result), err
}

// Read implements kv.Consensus.
func (c *consensus) Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error) {
	result, err := c.await(ctx, func(number uint64, done func(session.Outcome)) { c.m.Read(number, session.ReadMode(mode), done) })
	return troupe.ReadPoint{Index: result.Index}, err
}

// await begins a call and waits for its outcome, at most until the context ends.
func (c *consensus) await(ctx context.Context, begin func(uint64, func(session.Outcome))) (session.Result, error) {
	c.m.app.lastNumber++
	number := c.m.app.lastNumber
	var outcome *session.Outcome
	begin(number, func(o session.Outcome) { outcome = &o })
	c.m.schedule.WaitFor(func() bool { return outcome != nil || ctx.Err() != nil })
	if outcome == nil {
		c.m.Embedder.Cancel(number)
	}
	if outcome == nil {
		return session.Result{}, errors.Join(troupe.ErrTimeout, ctx.Err())
	}
	return outcome.Result, outcome.Err
}

// Status implements kv.Consensus.
func (c *consensus) Status() troupe.Status {
	v := c.m.View
	return troupe.Status{ID: c.m.ID(), LeaderID: v.LeaderID, Term: v.Term, Role: v.Role, CommitIndex: v.Commit, AppliedIndex: c.m.Member.Applied}
}

// Term implements kv.Consensus.
func (c *consensus) Term() uint64 { return c.m.View.Term }

// Done implements kv.Consensus: requests end with the process.
func (c *consensus) Done() <-chan struct{} { return nil }

// Err implements kv.Consensus.
func (c *consensus) Err() error { return nil }
