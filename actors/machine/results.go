package machine

import (
	"cmp"
	"slices"

	"github.com/troupe-raft/troupe/messages"
)

// delivery is a reply to a command of this node's Session: a result of this batch, or a cached one.
type delivery struct {
	commandID
	index         uint64
	batchPosition int // of the command; notInBatch if value has the result
	value         []byte
	outcome       messages.Outcome
}

// notInBatch is the position of a command that is not in the batch.
const notInBatch = -1

// deliver sends the replies to the Session, in one message for each session id; there is more than
// one only around a registration. A batch without replies is reported by an empty message, because
// reads wait for the applied index.
func (m *Machine) deliver(results [][]byte, term uint64) {
	all := m.work.deliveries
	bySession := func(a, b delivery) int { return cmp.Compare(a.session, b.session) }
	if !slices.IsSortedFunc(all, bySession) {
		slices.SortStableFunc(all, bySession)
	}
	for {
		n := 0
		for n < len(all) && all[n].session == all[0].session {
			n++
		}
		r := m.results(all[:n], results, term)
		all = all[n:]
		r.More = len(all) > 0
		m.ctx.Send(m.env.ReplySink(), r)
		if !r.More {
			return
		}
	}
}

func (m *Machine) results(deliveries []delivery, results [][]byte, term uint64) *messages.CommandResults {
	r := &messages.CommandResults{Incarnation: m.config.Incarnation, Applied: m.applied, Term: term}
	n := len(deliveries)
	if n == 0 {
		return r
	}
	r.SessionId = deliveries[0].session
	numbers := make([]uint64, 2*n)
	r.Sequences, r.Indexes = numbers[:n:n], numbers[n:]
	r.Values, r.Outcomes = make([][]byte, n), make([]messages.Outcome, n)
	for i, d := range deliveries {
		value := d.value
		if d.batchPosition != notInBatch {
			value = results[d.batchPosition]
		}
		r.Sequences[i], r.Indexes[i], r.Values[i], r.Outcomes[i] = d.sequence, d.index, m.work.delivered.copy(value), d.outcome
	}
	return r
}
