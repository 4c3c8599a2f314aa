package machine

import (
	"fmt"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// coldRead is a backlog that is read from disk because the Node has it in memory no more: after a start, or where the
// state machine fell far behind. While one piece is applied the next is being read.
type coldRead struct {
	through       uint64 // the backlog ends here; 0 where none is read
	next          uint64 // the first index not received yet
	token         uint64 // of the request under way; an answer with another one is of a request given up
	goneResponses int    // refusals in a row
	timer         actors.Timer
}

// readTimeout is how long a piece is waited for: a LogReader that was restarted forgot the request.
const readTimeout = time.Second

// maxGoneResponses is how often the LogReader may deny having committed entries before that is taken for what it must be, a bug.
const maxGoneResponses = 3

// readFromLog begins to apply (applied, through] from disk.
func (m *Machine) readFromLog(through uint64) {
	m.cold.through, m.cold.next, m.cold.goneResponses = through, m.applied+1, 0
	m.requestRead()
}

func (m *Machine) requestRead() {
	c := &m.cold
	c.stop()
	c.token++
	m.ctx.Request(m.config.Reader, &messages.ReadLog{
		Incarnation: m.config.Incarnation,
		From:        c.next,
		To:          c.through,
		MaxBytes:    m.config.MaxBatchBytes,
		Token:       c.token,
	})
	c.timer = m.env.After(readTimeout, m.ctx.Self(), &messages.Tick{Incarnation: m.config.Incarnation, Timer: c.token})
}

// retryRead gives up a request that was not answered in time.
func (m *Machine) retryRead(t *messages.Tick) {
	if m.cold.through == 0 || t.Timer != m.cold.token {
		return
	}
	m.env.Log().Warn().Uint64("from", m.cold.next).Uint64("to", m.cold.through).Dur("waited", readTimeout).
		Msg("the log reader did not answer, asked again")
	m.requestRead()
}

// piece applies what was read, having asked for what follows it.
func (m *Machine) receiveRead(p *messages.ReadLogResponse) {
	c := &m.cold
	if c.through == 0 || p.Token != c.token {
		return
	}
	if p.Missing {
		m.readGone()
		return
	}
	last := raft.EntriesLast(p.Entries)
	if p.Entries.GetFirst() != c.next || len(p.Entries.Data) == 0 || last > c.through {
		panic(fmt.Sprintf("asked for entries [%d, %d], the log reader gave %d from %d", c.next, c.through, len(p.Entries.GetData()), p.Entries.GetFirst()))
	}
	c.goneResponses, c.next = 0, last+1
	if last < c.through {
		m.requestRead()
	} else {
		c.stop()
		c.through = 0
	}
	m.apply(p.Entries)
	if c.through == 0 {
		m.pull()
	}
}

// denied waits for the timer of the request, which asks again: what is committed and durable cannot be gone, but a reader
// may have looked while a file was being changed.
func (m *Machine) readGone() {
	c := &m.cold
	if c.goneResponses++; c.goneResponses >= maxGoneResponses {
		panic(fmt.Sprintf("the log reader says that entries [%d, %d] are gone, which are committed and on disk", c.next, c.through))
	}
}

// stop cancels the timer.
func (c *coldRead) stop() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
