package replicator

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

const stateStreaming = "streaming"

// becomeStreaming: the logs agree up to matchIndex, so the rest can be sent without waiting for answers.
func (r *Replicator) becomeStreaming() {
	r.become(stateStreaming, r.streaming)
	r.timeout = r.config.ResponseTimeout
	r.fetchNext()
}

func (r *Replicator) streaming(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Replicate:
		e := m.Entries
		if e != nil && e.First == r.progress.Next && r.pendingToken == 0 && !r.window.Full() {
			r.sendEntries(e, m.PrevTerm)
			return
		}
		r.fetchNext()
	case *messages.Fetched:
		switch {
		case m.Compacted:
			r.becomeProbing()
		case m.OnDiskThrough != 0:
			r.readCold(m)
		default:
			r.sendFetched(m.Entries, m.PrevTerm)
		}
	case *messages.ReadLogResponse:
		if m.Missing {
			r.becomeProbing()
			r.probe()
			return
		}
		r.sendFetched(m.Entries, r.readPrevTerm)
	case *messages.AppendResponse:
		if !m.Accepted {
			// Something before it was lost on the way, or the peer lost its log.
			r.becomeProbing()
			r.probe()
			return
		}
		r.window.FreeThrough(m.Index)
		news := m.DiskLow != r.peerDiskLow
		r.peerDiskLow = m.DiskLow
		if r.progress.RecordAccepted(m.Index) || news {
			r.reportProgress()
		}
		r.fetchNext()
	}
}

// take sends entries that were asked for, unless the window filled up meanwhile: then they are asked for again later.
func (r *Replicator) sendFetched(e *messages.Entries, prevTerm uint64) {
	if e.GetFirst() == r.progress.Next && len(e.Data) > 0 && !r.window.Full() {
		r.sendEntries(e, prevTerm)
	}
	r.fetchNext()
}

func (r *Replicator) sendEntries(e *messages.Entries, prevTerm uint64) {
	r.sendAppend(e, prevTerm)
	r.progress.RecordSent(e.First - 1 + uint64(len(e.Data)))
}

// fetchNext asks for what comes next, if there is more and the window is open.
func (r *Replicator) fetchNext() {
	if r.pendingToken == 0 && !r.window.Full() && r.progress.Next <= r.lastIndex {
		r.fetch(r.progress.Next)
	}
}
