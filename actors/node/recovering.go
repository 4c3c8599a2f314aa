package node

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// recovering waits for the LogStore to open the log. Messages of peers are dropped, as if a network
// had lost them; the Session sends its proposals and reads again.
type recovering struct{ nonLeader }

func (*recovering) name() string { return roleRecovering }

func (r *recovering) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Recovered:
		r.handleRecovered(m)
	case *messages.PinFailed:
		failPin(m)
	}
}

func (r *recovering) handleRecovered(m *messages.Recovered) {
	r.log = newRaftLog(m)
	r.term, r.vote = m.HardState.GetTerm(), m.HardState.GetVote()
	if r.log.commitIndex > m.LastIndex {
		failCommittedLost(m.LastIndex, r.log.commitIndex)
	}
	if m.LastIndex == 0 && r.config.Bootstrap != nil {
		r.bootstrap()
	}
	r.applyConfiguration()
	r.confirmStorage()
	r.env.Log().Info().Uint64("term", r.term).Uint64("last_index", r.log.lastIndex()).
		Uint64("commit", r.log.commitIndex).Uint64("incarnation", r.config.Incarnation).Msg("log recovered")
	replayThrough := r.log.commitIndex
	// The Machine starts after LeaderChanged is sent: the Session ignores an applied index, and the
	// end of the replay, of an incarnation whose LeaderChanged it has not received.
	r.becomeFollower(r.term, 0, "start")
	r.campaignAfterStart()
	r.children.spawnMachine(r.ctx, r.env, r.config.Machine(r.children.logReader, replayThrough))
}

// campaignAfterStart makes the first campaign fast. If there is a leader, the pre-votes fail and
// change nothing. If there is none, as in a new cluster or after the leader's actors restarted, the
// cluster need not wait for an election timeout.
func (r *recovering) campaignAfterStart() {
	r.contact.beginFast(r.env.Now(), r.config.ElectionTimeout)
	r.setRandomDeadline(0, fastCampaignDelayMax)
}

// bootstrap writes the first configuration at index 1. All members of a new cluster write the same
// bytes, so it counts as committed at once.
func (r *recovering) bootstrap() {
	data := raft.EncodeConfiguration(r.config.Bootstrap)
	e := &messages.Entries{
		First: 1,
		Runs:  []*messages.TermRun{{FirstIndex: 1, Term: 1}},
		Data:  [][]byte{data},
		Bytes: uint64(len(data)),
	}
	r.term, r.vote = 1, 0
	r.appendEntries(e)
	r.log.commitIndex = 1
	r.persist(&messages.Append{Entries: e, NeedsSync: true, Notify: true})
}
