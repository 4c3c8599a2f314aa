package machine

import (
	"fmt"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// diskRead reads committed entries from disk that the Node no longer has in memory: after a start,
// or after the state machine has fallen far behind. The range is read in pieces of MaxBatchBytes,
// and the next piece is requested before the present one is applied:
//
//	applied                  next                through
//	   │ being applied        │ requested          │
//	… 7│ 8 9 10 11 12 13 14 15│ 16 17 …         900│
type diskRead struct {
	through          uint64 // the end of the range; 0: no range is read
	next             uint64 // the first index that was not received
	token            uint64 // of the pending request; a response with another token is old
	missingResponses int    // in a row
	timer            actors.Timer
}

// readTimeout is the time after which a request is repeated: a LogReader that restarted has lost
// it.
const readTimeout = time.Second

// maxMissingResponses is how many times in a row the LogReader may report committed entries as
// missing. It may have looked while a file was being replaced; more often than that, it is an
// internal error.
const maxMissingResponses = 3

// readFromLog begins to read and apply the entries from applied+1 through an index.
func (m *Machine) readFromLog(through uint64) {
	m.cold.through, m.cold.next, m.cold.missingResponses = through, m.applied+1, 0
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

// retryRead repeats a request that got no response in time.
func (m *Machine) retryRead(t *messages.Tick) {
	if m.cold.through == 0 || t.Timer != m.cold.token {
		return
	}
	m.env.Log().Warn().Uint64("from", m.cold.next).Uint64("to", m.cold.through).Dur("waited", readTimeout).
		Msg("log reader did not respond, repeating the request")
	m.requestRead()
}

// receiveRead requests the next piece, then applies this one.
func (m *Machine) receiveRead(p *messages.ReadLogResponse) {
	c := &m.cold
	if c.through == 0 || p.Token != c.token {
		return
	}
	if p.Missing {
		// The timer of the request repeats it.
		if c.missingResponses++; c.missingResponses >= maxMissingResponses {
			panic(fmt.Sprintf("log reader reports entries [%d, %d] as missing, which are committed and on disk", c.next, c.through))
		}
		return
	}
	last := raft.EntriesLast(p.Entries)
	if p.Entries.GetFirst() != c.next || len(p.Entries.Data) == 0 || last > c.through {
		panic(fmt.Sprintf("log reader returned %d entries from %d to a request for [%d, %d]",
			len(p.Entries.GetData()), p.Entries.GetFirst(), c.next, c.through))
	}
	c.missingResponses, c.next = 0, last+1
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

// stop cancels the timer.
func (c *diskRead) stop() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
