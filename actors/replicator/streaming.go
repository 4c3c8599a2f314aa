package replicator

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

const stateStreaming = "streaming"

// becomeStreaming: the logs agree up to matchIndex, so the rest can be sent without waiting for answers.
func (r *Replicator) becomeStreaming() {
	r.become(stateStreaming, r.streaming)
	r.patience = r.config.RetryAfter
	r.catchUp()
}

func (r *Replicator) streaming(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Replicate:
		e := m.Entries
		if e != nil && e.First == r.progress.Next && r.token == 0 && !r.window.Full() {
			r.push(e, m.PrevTerm)
			return
		}
		r.catchUp()
	case *messages.Fetched:
		switch {
		case m.Compacted:
			r.becomeProbing()
		case m.ColdTo != 0:
			r.readCold(m)
		default:
			r.take(m.Entries, m.PrevTerm)
		}
	case *messages.LogPiece:
		if m.Gone {
			r.becomeProbing()
			r.probe()
			return
		}
		r.take(m.Entries, r.piecePrevTerm)
	case *messages.AppendAnswer:
		if !m.Accepted {
			// Something before it was lost on the way, or the peer lost its log.
			r.becomeProbing()
			r.probe()
			return
		}
		r.window.FreeThrough(m.Index)
		news := m.DiskLow != r.diskLow
		r.diskLow = m.DiskLow
		if r.progress.Accepted(m.Index) || news {
			r.report()
		}
		r.catchUp()
	}
}

// take sends entries that were asked for, unless the window filled up meanwhile: then they are asked for again later.
func (r *Replicator) take(e *messages.Entries, prevTerm uint64) {
	if e.GetFirst() == r.progress.Next && len(e.Data) > 0 && !r.window.Full() {
		r.push(e, prevTerm)
	}
	r.catchUp()
}

func (r *Replicator) push(e *messages.Entries, prevTerm uint64) {
	r.transmit(e, prevTerm)
	r.progress.Sent(e.First - 1 + uint64(len(e.Data)))
}

// catchUp asks for what comes next, if there is more and the window is open.
func (r *Replicator) catchUp() {
	if r.token == 0 && !r.window.Full() && r.progress.Next <= r.last {
		r.fetch(r.progress.Next)
	}
}
