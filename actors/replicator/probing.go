package replicator

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

const stateProbing = "probing"

// becomeProbing gives up what is in flight and looks for where the logs agree: from one past what is known to match.
func (r *Replicator) becomeProbing() {
	was := r.state
	r.become(stateProbing, r.probing)
	if was != stateProbing {
		r.timeout = r.config.ProbeInterval
	}
	if was == stateStreaming {
		r.progress.Rewind(r.progress.Match + 1)
		r.reportProgress()
	}
}

// retryProbe says the request once more, or what it has become meanwhile. It goes on in the same stream: if the peer is
// only slow, its answer to the first one is as good.
func (r *Replicator) retryProbe(patience time.Duration) {
	r.cancelPending()
	r.timeout = patience
	r.probe()
}

// probe sends the one request that may be outstanding, with the entries from nextIndex on.
func (r *Replicator) probe() {
	if r.awaitingResponse() {
		return
	}
	if !r.initialized {
		r.fetch(0)
		return
	}
	r.fetch(r.progress.Next)
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
			r.probeAccepted(m)
		} else {
			r.probeRejected(m)
		}
	}
}

// accepted goes on to streaming as soon as the logs are known to agree up to where the next request begins.
func (r *Replicator) probeAccepted(m *messages.AppendResponse) {
	advanced := r.progress.RecordAccepted(m.Index)
	if r.progress.Next == r.progress.Match+1 {
		r.becomeStreaming()
		advanced = true // the Node should know of the state too
	}
	if advanced {
		r.reportProgress()
	}
}

// refused goes where the conflict hint leads. A peer that refuses what it acknowledged has lost it: there is nowhere to
// back off to, so it is only probed on, and told of.
func (r *Replicator) probeRejected(m *messages.AppendResponse) {
	switch {
	case m.Index != r.progress.Next-1:
	case m.Index > r.progress.Match:
		r.cancelPending()
		r.timeout = r.config.ProbeInterval
		r.resolveConflict(m)
	case !r.lossLogged:
		r.lossLogged = true
		r.env.Log().Error().Str("peer", raft.FormatID(r.config.PeerID)).Uint64("acknowledged", r.progress.Match).
			Uint64("its_last_index", m.LastIndex).
			Msg("a peer lost entries that it had acknowledged: remove it from the cluster and add it as a new member")
	}
}

func (r *Replicator) sendProbe(m *messages.Fetched) {
	if m.ConflictNextIndex != 0 {
		r.progress.RecordRefused(r.progress.Next-1, m.ConflictNextIndex)
	}
	switch {
	case m.Compacted:
	case m.Entries.First != r.progress.Next:
		r.progress.Rewind(m.Entries.First)
		r.probe()
	case r.window.Len() == 0:
		// Without entries where they would have to be read from disk: first let the peer say that it is there.
		r.sendAppend(m.Entries, m.PrevTerm)
	}
}
