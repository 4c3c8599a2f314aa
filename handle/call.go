package handle

import (
	"github.com/troupe-raft/troupe/raft"
)

// Call is an operation under way of a program that does not wait for it, but asks Poll after whatever the handle heard.
// It is used by one goroutine.
type Call struct {
	h       *Handle
	request request // of a proposal, and of a read through the log
	sent    proposal
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
func (h *Handle) Begin(command []byte) *Call {
	c := &Call{h: h}
	if err := h.proposals.admits(command); err != nil {
		c.end(Result{}, err)
		return c
	}
	c.request = requestOf(command)
	c.Poll()
	return c
}

// BeginRead is Read for who does not wait.
func (h *Handle) BeginRead(mode ReadMode) *Call {
	c := &Call{h: h, mode: mode}
	switch mode {
	case ReadLog:
		c.request = request{encode: raft.EncodeBarrier}
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
	case c.request.encode != nil && c.sent.waiting == nil:
		sent, _, err := c.h.proposals.begin(&c.request)
		if err != nil {
			c.end(Result{}, err)
		}
		c.sent = sent
	case c.request.encode != nil:
		select {
		case o := <-c.sent.done:
			c.h.proposals.recycle(c.sent.waiting)
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
		if point, serving, err := c.h.reads.localNow(&c.counted); serving == nil {
			c.end(Result{Index: point.Index, Term: point.Term}, err)
		}
	}
	return c.ended
}

// GiveUp ends a call as an expired context does, because of cause.
func (c *Call) GiveUp(cause error) {
	switch {
	case c.Poll():
	case c.batch != nil:
		point, err := c.h.reads.abandon(c.batch, cause)
		c.end(Result{Index: point.Index, Term: point.Term}, err)
	case c.request.encode == nil:
		c.end(Result{}, c.h.reads.abandonLocal(&c.counted, cause))
	case c.sent.waiting == nil:
		c.h.proposals.leave(&c.request)
		c.end(Result{}, c.h.proposals.expired(cause, false))
	default:
		c.end(c.h.proposals.abandon(c.sent, cause))
	}
}

func (c *Call) end(r Result, err error) { c.ended, c.Outcome = true, Outcome{r, err} }
