package replicator

import (
	"github.com/asynkron/protoactor-go/actor"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

const stateProbing = "probing"

// becomeProbing takes all that is in flight for lost, and probes from the index after matchIndex.
func (r *Replicator) becomeProbing() {
	was := r.state
	r.become(stateProbing, r.probing)
	if was != stateProbing {
		r.wait.timeout = r.config.ProbeInterval
	}
	if was == stateStreaming {
		r.progress.Rewind(r.progress.Match + 1)
		r.reportProgress()
	}
}

// retryProbe repeats the probe, from where nextIndex is by this time. It stays in the same stream:
// if the peer is only slow, its response to the first probe serves as well.
func (r *Replicator) retryProbe(timeout time.Duration) {
	r.cancelPending()
	r.wait.timeout = timeout
	r.probe()
}

// probe begins a probe unless one is in flight: it fetches the entries for it.
func (r *Replicator) probe() {
	switch {
	case r.awaitingResponse():
	case r.initialized:
		r.fetch(r.progress.Next)
	default:
		r.fetch(0)
	}
}

func (r *Replicator) probing(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Fetched:
		r.sendProbe(m)
	case *messages.Replicate:
		r.probe()
	case *messages.AppendResponse:
		r.peerDiskLow = m.DiskLow
		if m.Accepted {
			r.lostEntries = false
			r.probeAccepted(m)
		} else {
			r.probeRejected(m)
		}
	}
}

// probeAccepted becomes streaming as soon as the logs are known to agree up to where the next
// request begins.
func (r *Replicator) probeAccepted(m *messages.AppendResponse) {
	advanced := r.progress.RecordAccepted(m.Index)
	if r.progress.Next == r.progress.Match+1 {
		r.becomeStreaming()
		advanced = true // report the state too
	}
	if advanced {
		r.reportProgress()
	}
}

// probeRejected follows the conflict hint. A peer that refuses an index that it acknowledged has
// lost its log: nextIndex cannot go back further. The Node is notified each time, so that the peer
// stops when it is started again, and the probes continue.
//
// The refusal cannot be older than the acknowledgement: the request that it answers was sent after
// matchIndex was known, because a matchIndex that rises to its prevIndex begins another stream.
func (r *Replicator) probeRejected(m *messages.AppendResponse) {
	switch {
	case m.Index != r.progress.Next-1:
	case m.Index > r.progress.Match:
		r.cancelPending()
		r.wait.timeout = r.config.ProbeInterval
		r.resolveConflict(m)
	default:
		if !r.lostEntries {
			r.env.Log().Error().Str("peer", raft.FormatID(r.config.PeerID)).Uint64("acknowledged", r.progress.Match).
				Uint64("its_last_index", m.LastIndex).
				Str("advice", "move its data directory away, start it with --initial-cluster-state=rejoin, and run `troupe member rejoin`").
				Msg("peer lost entries that it had acknowledged: its data directory is an older copy, or its disk lost writes")
		}
		r.lostEntries = true
		r.reportProgress()
	}
}

// sendProbe sends the probe. It is empty if its entries are on disk only.
func (r *Replicator) sendProbe(m *messages.Fetched) {
	if m.ConflictNextIndex != 0 {
		r.progress.RecordRefused(r.progress.Next-1, m.ConflictNextIndex)
	}
	switch {
	case m.Compacted:
	case m.Entries.First != r.progress.Next:
		r.progress.Rewind(m.Entries.First)
		r.probe()
	case r.stream.window.Len() == 0:
		r.sendAppend(m.Entries, m.PrevTerm)
	}
}
