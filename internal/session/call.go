package session

import (
	"github.com/troupe-raft/troupe/raft"
)

// Call is an operation under way of a program that does not wait for it, but asks Poll after whatever the handle heard.
// It is used by one goroutine.
type Call struct {
	session *Session
	request proposalRequest // of a proposal, and of a read through the log
	pending pendingProposal
	mode    ReadMode
	batch   *readBatch // of a read that asks the leader
	counted bool       // a local read that waits for the replay
	ended   bool
	Outcome
}

// Outcome is what came of a Call: a proposal's Result, or a read's Index and Term.
type Outcome struct {
	Result
	Err error
}

// Begin is Propose for who does not wait.
func (h *Session) BeginProposal(command []byte) *Call {
	c := &Call{session: h}
	if err := h.proposals.checkSize(command); err != nil {
		c.end(Result{}, err)
		return c
	}
	c.request = newCommandRequest(command)
	c.Poll()
	return c
}

// BeginRead is Read for who does not wait.
func (h *Session) BeginRead(mode ReadMode) *Call {
	c := &Call{session: h, mode: mode}
	switch mode {
	case ReadLog:
		c.request = proposalRequest{encode: raft.EncodeBarrier}
		c.Poll()
	case ReadLocal:
	default:
		batch, err := h.reads.begin(mode)
		if c.batch = batch; err != nil {
			c.end(Result{}, err)
		}
	}
	return c
}

// Poll tells whether the call has ended; Outcome is what came of it.
func (c *Call) Poll() bool {
	switch {
	case c.ended:
	case c.request.encode != nil && c.pending.pendingCommand == nil:
		sent, _, err := c.session.proposals.start(&c.request)
		if err != nil {
			c.end(Result{}, err)
		}
		c.pending = sent
	case c.request.encode != nil:
		select {
		case o := <-c.pending.done:
			c.session.proposals.recycle(c.pending.pendingCommand)
			c.end(o.result, o.err)
		default:
		}
	case c.batch != nil:
		select {
		case <-c.batch.done:
			c.end(Result{Index: c.batch.point.Index, Term: c.batch.point.Term}, c.batch.err)
		default:
		}
	default:
		if point, serving, err := c.session.reads.tryLocal(&c.counted); serving == nil {
			c.end(Result{Index: point.Index, Term: point.Term}, err)
		}
	}
	return c.ended
}

// Abandon ends a call as an expired context does, because of cause.
func (c *Call) Abandon(cause error) {
	switch {
	case c.Poll():
	case c.batch != nil:
		point, err := c.session.reads.abandon(c.batch, cause)
		c.end(Result{Index: point.Index, Term: point.Term}, err)
	case c.request.encode == nil:
		c.end(Result{}, c.session.reads.abandonLocal(&c.counted, cause))
	case c.pending.pendingCommand == nil:
		c.session.proposals.abandonUnregistered(&c.request)
		c.end(Result{}, c.session.proposals.contextError(cause, false))
	default:
		c.end(c.session.proposals.abandon(c.pending, cause))
	}
}

func (c *Call) end(r Result, err error) { c.ended, c.Outcome = true, Outcome{r, err} }
