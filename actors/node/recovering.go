package node

import (
	"fmt"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// start spawns the LogStore and waits, in the behaviour `recovering`, for what it finds on disk.
func (n *Node) start() {
	n.become(roleRecovering, n.recovering)
	n.forwardStream = n.env.Random().Uint64()
	n.logStore = n.spawn(n.config.LogStore(), actors.LogName)
	n.reader = actor.NewPID(n.ctx.Self().Address, n.logStore.Id+"/"+actors.ReaderName)
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
		n.recovered(m)
	}
}

func (n *Node) recovered(m *messages.Recovered) {
	n.term, n.vote, n.commit = m.HardState.GetTerm(), m.HardState.GetVote(), m.HardState.GetCommit()
	n.persistedCommit = n.commit
	n.log = raft.NewLogIndex(m.BaseIndex, m.BaseTerm, m.LastIndex, m.Runs)
	n.memory = newMemoryLog(m.LastIndex)
	n.durable, n.durableTerm = m.LastIndex, n.term
	n.configurations = raft.NewConfigurations(m.BaseConfiguration, m.BaseIndex, m.Configurations)
	if n.commit > m.LastIndex {
		panic(&actors.Fatal{Err: fmt.Errorf("the log ends at index %d but index %d was known to be committed: "+
			"this node lost part of its log; remove it from the cluster and add it again with an empty data directory",
			m.LastIndex, n.commit)})
	}
	if m.LastIndex == 0 && n.config.Bootstrap != nil {
		n.bootstrap()
	}
	n.configurationChanged()
	n.env.Log().Info().Uint64("term", n.term).Uint64("last_index", n.log.Last()).Uint64("commit", n.commit).
		Uint64("incarnation", n.config.Incarnation).Msg("log recovered")
	// The handle hears of this incarnation before its Machine exists: what that says at once would else be dropped.
	replayThrough := n.commit
	n.becomeFollower(n.term, 0, "start")
	n.campaignSoon()
	n.machine = n.spawn(n.config.Machine(n.reader, replayThrough), actors.MachineName)
}

// campaignSoon does not wait out an election timeout after a start: pre-votes harm nobody where there is a leader, and
// where there is none, as in a new cluster or after this very node led and its actors restarted, they find one at once.
func (n *Node) campaignSoon() {
	n.fastUntil = n.env.Now() + 2*n.config.Election
	n.setDeadline(n.random(0, fastDelay))
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
	n.commit = 1
	n.persist(&messages.Append{Entries: entries, Urgent: true, Tell: true})
}

// configurationChanged takes up the configuration in effect, which is always the latest appended one (E30), and
// everything derived from it (E31).
func (n *Node) configurationChanged() {
	_, n.members = n.configurations.Latest()
	n.quorum = raft.QuorumOf(n.members)
	n.env.SetPeers(n.members.GetMembers())
	if n.lead != nil {
		n.syncReplicators()
	}
	n.viewChange = true
}

// childTerminated frees the name of a replicator that was told to stop.
func (n *Node) childTerminated(who *actor.PID) {
	if n.stopping[who.Id] {
		delete(n.stopping, who.Id)
		if n.lead != nil {
			n.syncReplicators()
		}
	}
}

func replicatorName(peer uint64) string {
	return actors.PeerPrefix + strconv.FormatUint(peer, 16)
}

// persist hands an Append to the LogStore, with the hard state as of now.
func (n *Node) persist(a *messages.Append) {
	a.Incarnation = n.config.Incarnation
	if a.Mark == nil {
		a.Mark = &messages.Mark{Term: n.term, Index: n.log.Last()}
	}
	a.HardState = &messages.HardState{Term: n.term, Vote: n.vote, Commit: min(n.commit, n.log.Last())}
	n.persistedCommit = a.HardState.Commit
	if n.lead != nil && a.Tell {
		n.lead.diskAsked(n.env.Now(), a.Mark.Index)
	}
	n.send(n.logStore, a)
}

// promise wraps a message to a peer's actor that may leave only after the sync.
func promise(to uint64, role messages.Role, holdsThrough uint64, m proto.Message) *messages.Promise {
	letter := &messages.Letter{Role: role}
	switch m := m.(type) {
	case *messages.RequestVote:
		letter.Message = &messages.Letter_RequestVote{RequestVote: m}
	case *messages.VoteAnswer:
		letter.Message = &messages.Letter_VoteAnswer{VoteAnswer: m}
	case *messages.AppendAnswer:
		letter.Message = &messages.Letter_AppendAnswer{AppendAnswer: m}
	default:
		panic(fmt.Errorf("%T promises nothing", m))
	}
	return &messages.Promise{To: to, HoldsThrough: holdsThrough, Letter: letter}
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
			n.configurations = raft.NewConfigurations(nil, 0, nil)
		}
		n.configurations.Append(e.First+uint64(i), c)
		changed = true
	}
	if changed {
		n.configurationChanged()
	}
	n.viewChange = true
}
