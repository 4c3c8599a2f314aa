package machine

import (
	"cmp"
	"slices"

	"github.com/troupe-raft/troupe/messages"
)

// delivery is an answer on its way to the handle: the result of a command of this batch, or one that was kept.
type delivery struct {
	commandID
	index         uint64
	batchPosition int // its place in the batch; none where value holds the answer
	value         []byte
	outcome       messages.Outcome
}

// none is the place of a command that is not in the batch.
const notInBatch = -1

// deliver tells the handle what came of its commands: one message an origin, of which there is one in all but the rarest
// batches. Where none of the batch was its own, an empty message still says how far this node has applied, since readers
// may wait for that.
func (m *Machine) deliver(results [][]byte, term uint64) {
	all := m.work.deliveries
	byOrigin := func(a, b delivery) int { return cmp.Compare(a.session, b.session) }
	if !slices.IsSortedFunc(all, byOrigin) {
		slices.SortStableFunc(all, byOrigin)
	}
	for {
		n := 0
		for n < len(all) && all[n].session == all[0].session {
			n++
		}
		m.ctx.Send(m.env.Session(), m.results(all[:n], results, term))
		if all = all[n:]; len(all) == 0 {
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
		r.Sequences[i], r.Indexes[i], r.Values[i], r.Outcomes[i] = d.sequence, d.index, d.value, d.outcome
		if d.batchPosition != notInBatch {
			r.Values[i] = results[d.batchPosition]
		}
	}
	return r
}
