package replicator

import (
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

const stateProbing = "probing"

// becomeProbing gives up what is in flight and looks for where the logs agree: from one past what is known to match.
func (r *Replicator) becomeProbing() {
	was := r.state
	r.become(stateProbing, r.probing)
	if was == stateStreaming {
		r.progress.Rewind(r.progress.Match + 1)
		r.report(false)
	}
}

// probe sends the one request that may be outstanding, with the entries from nextIndex on.
func (r *Replicator) probe() {
	if r.token != 0 || r.window.Len() > 0 {
		return
	}
	if !r.begun {
		r.fetch(0)
		return
	}
	r.fetch(r.progress.Next)
}

func (r *Replicator) probing(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Fetched:
		r.probeWith(m)
	case *messages.LogPiece:
		if !m.Gone && r.window.Len() == 0 && m.Entries.GetFirst() == r.progress.Next {
			r.transmit(m.Entries, r.piecePrevTerm)
		}
	case *messages.Replicate, *messages.LinkUp:
		r.probe()
	case *messages.AppendAnswer:
		r.window.Reset()
		if m.Accepted {
			r.progress.Accepted(m.Index)
			r.becomeStreaming()
			r.report(m.DiskLow)
			return
		}
		r.refused(m)
	}
}

// refused goes where the conflict hint leads. A peer that refuses what it acknowledged has lost it: there is nowhere to
// back off to, so it is only probed on, and told of.
func (r *Replicator) refused(m *messages.AppendAnswer) {
	switch {
	case m.Index != r.progress.Next-1:
	case m.Index > r.progress.Match:
		r.resolve(m)
	case !r.accused:
		r.accused = true
		r.env.Log().Error().Str("peer", strconv.FormatUint(r.config.Peer, 16)).Uint64("acknowledged", r.progress.Match).
			Uint64("its_last_index", m.LastIndex).
			Msg("a peer lost entries that it had acknowledged: remove it from the cluster and add it as a new member")
	}
}

func (r *Replicator) probeWith(m *messages.Fetched) {
	if m.Resolved != 0 {
		r.progress.Refused(r.progress.Next-1, m.Resolved)
	}
	switch {
	case m.Compacted:
	case m.Entries.First != r.progress.Next:
		r.progress.Rewind(m.Entries.First)
		r.probe()
	case m.ColdTo != 0:
		r.readCold(m)
	case r.window.Len() == 0:
		r.transmit(m.Entries, m.PrevTerm)
	}
}
