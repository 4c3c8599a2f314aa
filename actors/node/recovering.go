package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// start spawns the LogStore and waits, in the behaviour `recovering`, for what it finds on disk.
func (n *Node) start() {
	n.become(roleRecovering, n.recovering)
	n.forwardStream = n.env.Random().Uint64()
	n.logStore = n.spawn(n.config.LogStore(), actors.LogStoreName)
	n.reader = actor.NewPID(n.ctx.Self().Address, n.logStore.Id+"/"+actors.LogReaderName)
}

func (n *Node) spawn(producer actor.Producer, name string) *actor.PID {
	pid, err := n.ctx.SpawnNamed(n.env.Props(producer), name)
	if err != nil {
		panic(fmt.Errorf("spawning %s/%s: %w", n.ctx.Self().Id, name, err))
	}
	return pid
}

// recovering hears only the LogStore. What peers say meanwhile is lost, as on any network; what the handle says it
// will say again.
func (n *Node) recovering(ctx actor.Context) {
	if m, ok := ctx.Message().(*messages.Recovered); ok {
		n.handleRecovered(m)
	}
}

func (n *Node) handleRecovered(m *messages.Recovered) {
	n.term, n.vote, n.commitIndex = m.HardState.GetTerm(), m.HardState.GetVote(), m.HardState.GetCommit()
	n.persistedCommit = n.commitIndex
	n.log = raft.NewLogTerms(m.BaseIndex, m.BaseTerm, m.LastIndex, m.Runs)
	n.memory = newMemoryLog(m.LastIndex)
	n.durableIndex, n.durableTerm = m.LastIndex, n.term
	n.configurations = raft.NewConfigurationHistory(m.BaseConfiguration, m.BaseIndex, m.Configurations)
	if n.commitIndex > m.LastIndex {
		panic(&actors.FatalError{Err: fmt.Errorf("the log ends at index %d but index %d was known to be committed: "+
			"this node lost part of its log; remove it from the cluster and add it again with an empty data directory",
			m.LastIndex, n.commitIndex)})
	}
	if m.LastIndex == 0 && n.config.Bootstrap != nil {
		n.bootstrap()
	}
	n.applyConfiguration()
	n.env.Log().Info().Uint64("term", n.term).Uint64("last_index", n.log.LastIndex()).Uint64("commit", n.commitIndex).
		Uint64("incarnation", n.config.Incarnation).Msg("log recovered")
	// The handle hears of this incarnation before its Machine exists: what that says at once would else be dropped.
	replayThrough := n.commitIndex
	n.becomeFollower(n.term, 0, "start")
	n.campaignAfterStart()
	n.machine = n.spawn(n.config.Machine(n.reader, replayThrough), actors.MachineName)
}

// campaignAfterStart does not wait out an election timeout after a start: pre-votes harm nobody where there is a leader, and
// where there is none, as in a new cluster or after this very node led and its actors restarted, they find one at once.
func (n *Node) campaignAfterStart() {
	n.fastCampaignUntil = n.env.Now() + 2*n.config.ElectionTimeout
	n.setDeadline(n.randomBetween(0, fastCampaignDelayMax))
}

// bootstrap writes the first configuration at index 1. It is the same bytes on every member of a new cluster, which is
// why it may count as committed without anybody having been asked.
func (n *Node) bootstrap() {
	entries := &messages.Entries{
		First: 1,
		Runs:  []*messages.TermRun{{FirstIndex: 1, Term: 1}},
		Data:  [][]byte{raft.EncodeConfiguration(n.config.Bootstrap)},
	}
	entries.Bytes = uint64(len(entries.Data[0]))
	n.term, n.vote = 1, 0
	n.appendToLog(entries)
	n.commitIndex = 1
	n.persist(&messages.Append{Entries: entries, NeedsSync: true, Notify: true})
}

// applyConfiguration takes up the configuration in effect, which is always the latest appended one (E30), and
// everything derived from it (E31).
func (n *Node) applyConfiguration() {
	_, n.members = n.configurations.Latest()
	n.quorum = raft.QuorumOf(n.members)
	n.env.SetPeers(n.members.GetMembers())
	if n.leadership != nil {
		n.syncReplicators()
	}
	n.stateChanged = true
}

// handleTerminated frees the name of a replicator that was told to stop.
func (n *Node) handleTerminated(who *actor.PID) {
	if n.stoppingReplicators[who.Id] {
		delete(n.stoppingReplicators, who.Id)
		if n.leadership != nil {
			n.syncReplicators()
		}
	}
}

// persist hands an Append to the LogStore, with the hard state as of now.
func (n *Node) persist(a *messages.Append) {
	a.Incarnation = n.config.Incarnation
	if a.Mark == nil {
		a.Mark = &messages.AppendMark{Term: n.term, Index: n.log.LastIndex()}
	}
	a.HardState = &messages.HardState{Term: n.term, Vote: n.vote, Commit: min(n.commitIndex, n.log.LastIndex())}
	n.persistedCommit = a.HardState.Commit
	if n.leadership != nil && a.Notify {
		n.leadership.expectDurable(n.env.Now(), a.Mark.Index)
	}
	n.send(n.logStore, a)
}

// newDeferredMessage makes a message that the LogStore sends to a peer after the sync.
func newDeferredMessage(to uint64, role messages.Role, coversThrough uint64, m messages.PeerMessage) *messages.DeferredMessage {
	return &messages.DeferredMessage{To: to, CoversThrough: coversThrough, Envelope: messages.NewEnvelope(role, m)}
}

// appendToLog adds entries to what is known of the log, configurations included. The bytes go to disk by persist.
func (n *Node) appendToLog(e *messages.Entries) {
	n.log.Append(e)
	n.memory.append(e)
	changed := false
	for i, data := range e.Data {
		if raft.KindOf(data) != raft.KindConfiguration {
			continue
		}
		c, err := raft.DecodeConfiguration(data)
		if err != nil {
			panic(fmt.Errorf("configuration at index %d: %w", e.First+uint64(i), err))
		}
		if n.configurations == nil {
			n.configurations = raft.NewConfigurationHistory(nil, 0, nil)
		}
		n.configurations.Append(e.First+uint64(i), c)
		changed = true
	}
	if changed {
		n.applyConfiguration()
	}
	n.stateChanged = true
}
