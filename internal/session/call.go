package session

import "github.com/troupe-raft/troupe/raft"

// Call is a pending proposal or read of a caller that must not wait, such as the simulator. The
// caller calls Poll after each message that was delivered to the Session. Only one goroutine may
// use a Call.
type Call struct {
	session  *Session
	request  proposalRequest // of a proposal, or of a read with ReadLog
	proposal pendingProposal // once the request has a sequence
	batch    *readBatch      // of a read that needs a response of the leader
	counted  bool            // a local read that waits for the replay
	ended    bool
	Outcome
}

// Outcome is the outcome of a Call: the Result of a proposal, or the Index and Term of a read.
type Outcome struct {
	Result
	Err error
}

// BeginProposal submits a command, as Propose does, and does not wait.
func (s *Session) BeginProposal(command []byte) *Call {
	c := &Call{session: s}
	if err := s.proposals.checkSize(command); err != nil {
		return c.end(Outcome{Err: err})
	}
	c.request = newCommandRequest(command)
	c.Poll()
	return c
}

// BeginRead starts a read, as Read does, and does not wait.
func (s *Session) BeginRead(mode ReadMode) *Call {
	c := &Call{session: s}
	if err := mode.check(); err != nil {
		return c.end(Outcome{Err: err})
	}
	switch mode {
	case ReadLog:
		c.request = proposalRequest{encode: raft.EncodeBarrier}
		c.Poll()
	case ReadLocal:
	default:
		batch, err := s.reads.begin(mode)
		if c.batch = batch; err != nil {
			c.end(Outcome{Err: err})
		}
	}
	return c
}

// Poll reports whether the call has ended. Then its Outcome is set.
func (c *Call) Poll() bool {
	switch {
	case c.ended:
	case c.request.encode != nil && c.proposal.pendingCommand == nil:
		proposal, _, err := c.session.proposals.start(&c.request)
		if err != nil {
			c.end(Outcome{Err: err})
		}
		c.proposal = proposal
	case c.request.encode != nil:
		select {
		case o := <-c.proposal.done:
			c.session.proposals.recycle(c.proposal.pendingCommand)
			c.end(o)
		default:
		}
	case c.batch != nil:
		select {
		case <-c.batch.done:
			c.endRead(c.batch.point, c.batch.err)
		default:
		}
	default:
		if point, replayed, err := c.session.reads.tryLocal(&c.counted); replayed == nil {
			c.endRead(point, err)
		}
	}
	return c.ended
}

// Abandon ends the call as a context that ends with cause would.
func (c *Call) Abandon(cause error) {
	switch {
	case c.Poll():
	case c.batch != nil:
		c.endRead(c.session.reads.abandon(c.batch, cause))
	case c.request.encode == nil:
		c.end(Outcome{Err: c.session.reads.abandonLocal(&c.counted, cause)})
	case c.proposal.pendingCommand == nil:
		c.session.proposals.abandonUnregistered(&c.request)
		c.end(Outcome{Err: c.session.proposals.contextError(cause, false)})
	default:
		r, err := c.session.proposals.abandon(c.proposal, cause)
		c.end(Outcome{r, err})
	}
}

func (c *Call) endRead(point ReadPoint, err error) {
	c.end(Outcome{Result{Index: point.Index, AppliedTerm: point.Term}, err})
}

func (c *Call) end(o Outcome) *Call {
	c.ended, c.Outcome = true, o
	return c
}
