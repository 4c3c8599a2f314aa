package replicator

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

const stateStreaming = "streaming"

// becomeStreaming begins to send without waiting for responses: the logs agree up to matchIndex.
func (r *Replicator) becomeStreaming() {
	r.become(stateStreaming, r.streaming)
	r.wait.timeout = r.config.ResponseTimeout
	r.fetchNext()
}

func (r *Replicator) streaming(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Replicate:
		e := m.Entries
		if e != nil && e.First == r.progress.Next && r.source.token == 0 && !r.stream.window.Full() {
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
		r.sendFetched(m.Entries, r.source.prevTerm)
	case *messages.AppendResponse:
		if !m.Accepted {
			// An earlier request was lost, or the peer lost its log.
			r.becomeProbing()
			r.probe()
			return
		}
		r.stream.window.FreeThrough(m.Index)
		diskChanged := m.DiskLow != r.peerDiskLow
		r.peerDiskLow = m.DiskLow
		if r.progress.RecordAccepted(m.Index) || diskChanged {
			r.reportProgress()
		}
		r.fetchNext()
	}
}

// sendFetched sends entries that were requested. If the window became full meanwhile, they are
// requested again later.
func (r *Replicator) sendFetched(e *messages.Entries, prevTerm uint64) {
	if e.GetFirst() == r.progress.Next && len(e.Data) > 0 && !r.stream.window.Full() {
		r.sendEntries(e, prevTerm)
	}
	r.fetchNext()
}

func (r *Replicator) sendEntries(e *messages.Entries, prevTerm uint64) {
	r.sendAppend(e, prevTerm)
	r.progress.RecordSent(e.First - 1 + uint64(len(e.Data)))
}

// fetchNext requests the next entries if there are any and the window is not full.
func (r *Replicator) fetchNext() {
	if r.source.token == 0 && !r.stream.window.Full() && r.progress.Next <= r.lastIndex {
		r.fetch(r.progress.Next)
	}
}
