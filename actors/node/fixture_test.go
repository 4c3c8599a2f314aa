package node

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around one Node, number 1 of its cluster: a LogStore, a Machine, Replicators,
// peers and a handle that only write down what they hear, and a clock that stands still until the
// test moves it. Nothing runs but in run, so that a test is one goroutine and tells its story in
// order: what arrives, what must be said, what must not be said before the disk has it.
type fixture struct {
	*actortest.Env
	t           testing.TB
	randomInt64 func(n int64) int64
	config      Config
	incarnation uint64

	supervisor, pid, logStore, machine *actor.PID
	node                               *Node
	replicators                        map[uint64]*actor.PID

	pendingAppends   []*messages.Append // handed to the LogStore and not on its disk yet
	sentToPeers      []peerMessage      // to peers
	sentToSession    []proto.Message    // by the handle
	sentToMachine    []*messages.Committed
	sentToReplicator map[uint64][]proto.Message
	members          []*messages.Member // as SetPeers last told
	nodeViews        []actors.NodeView
	spawned          []string // names of children, in order; and what the handle had heard when the Machine was made
}

// said is one message to a peer.
type peerMessage struct {
	to      uint64
	role    messages.Role
	message proto.Message
}

const (
	heartbeatInterval = 100 * time.Millisecond
	electionTimeout   = 1000 * time.Millisecond
)

// newFixture sets up a Node in a cluster of voters 1 … size, which has not heard from its disk yet.
func newFixture(t testing.TB, size int) *fixture {
	s := &fixture{
		Env: actortest.New(1), t: t, replicators: map[uint64]*actor.PID{}, sentToReplicator: map[uint64][]proto.Message{},
		randomInt64: func(int64) int64 { return 0 },
	}
	s.config = Config{
		Bootstrap: newConfiguration(size), HeartbeatInterval: heartbeatInterval, ElectionTimeout: electionTimeout, Limits: defaultLimits(),
		LogStore: func() actor.Producer { return s.childActor("log", func(m proto.Message) { s.receiveAppend(m) }) },
		Machine: func(*actor.PID, uint64) actor.Producer {
			s.spawned = append(s.spawned, fmt.Sprintf("machine after %d of the handle", len(s.sentToSession)))
			return s.childActor("machine", func(m proto.Message) {
				if c, ok := m.(*messages.Committed); ok {
					s.sentToMachine = append(s.sentToMachine, c)
				}
			})
		},
		Replicator: func(peer uint64, _ *actor.PID, _ uint64) actor.Producer {
			return s.childActor("peer "+raft.FormatID(peer), func(m proto.Message) {
				s.sentToReplicator[peer] = append(s.sentToReplicator[peer], m)
			})
		},
	}
	s.spawnNode()
	return s
}

func newConfiguration(size int) *messages.Configuration {
	c := &messages.Configuration{ClusterId: 1}
	for id := uint64(1); id <= uint64(size); id++ {
		c.Members = append(c.Members, &messages.Member{Id: id, Address: fmt.Sprintf("n%d:1", id)})
	}
	return c
}

// child is an actor of the Node's subtree that hands on what it hears.
func (s *fixture) childActor(name string, hear func(proto.Message)) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				s.spawned = append(s.spawned, name)
				switch peer, isPeer := strings.CutPrefix(name, "peer "); {
				case isPeer:
					id, _ := strconv.ParseUint(peer, 16, 64)
					s.replicators[id] = ctx.Self()
				case name == "log":
					s.logStore = ctx.Self()
				default:
					s.machine = ctx.Self()
				}
			case *actor.Terminated:
			case proto.Message:
				hear(m)
			}
		})
	}
}

func (s *fixture) receiveAppend(m proto.Message) {
	if a, ok := m.(*messages.Append); ok {
		s.pendingAppends = append(s.pendingAppends, a)
	}
}

// spawn brings the next incarnation of the Node to life.
func (s *fixture) spawnNode() {
	s.supervisor = s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				s.pid = ctx.Spawn(s.Props(func() actor.Actor {
					s.incarnation++
					config := s.config
					config.Incarnation = s.incarnation
					s.node = New(s, config)().(*Node)
					return s.node
				}))
			}
		})
	}))
	s.Run()
}

// crash ends the subtree as a panic does; the next incarnation is born, its mailbox is kept.
func (s *fixture) crashNode() {
	s.pendingAppends = nil
	s.Crash(s.pid)
}

// hears puts messages into the Node's mailbox, all of them before it handles the first.
func (s *fixture) deliver(all ...proto.Message) {
	s.Send(s.pid, all...)
}

// armed counts the timers that will fire.
func (s *fixture) runningTimers() (n int) {
	for _, t := range s.Timers {
		if !t.Stopped {
			n++
		}
	}
	return n
}

// recovered lets the LogStore tell what it found: a log whose entry i+1 is of terms[i]; the first
// is the bootstrap configuration.
func (s *fixture) deliverRecovered(term, vote, commit uint64, terms ...uint64) *fixture {
	m := &messages.Recovered{
		Incarnation: s.incarnation, LastIndex: uint64(len(terms)), Runs: newRuns(1, terms),
		HardState: &messages.HardState{Term: term, Vote: vote, Commit: commit},
	}
	if len(terms) > 0 {
		m.Configurations = []*messages.IndexedConfiguration{{Index: 1, Configuration: s.config.Bootstrap}}
	}
	s.deliver(m)
	return s
}

// settled is a member that found its log, campaigned in vain after its start, and now follows
// `leader` in `term`.
func (s *fixture) asFollower(term, leader, commit uint64, terms ...uint64) *fixture {
	s.deliverRecovered(term, 0, commit, terms...)
	s.deliver(&messages.Heartbeat{Term: term, Leader: leader})
	s.clearRecorded()
	return s
}

// leads makes the Node leader of term+1, with the votes of all others; its first entry is not on
// its disk yet.
func (s *fixture) asLeader(term uint64, terms ...uint64) *fixture {
	s.deliverRecovered(term, 0, 1, terms...)
	s.deliver(&messages.Campaign{})
	for id := uint64(2); id <= uint64(len(s.config.Bootstrap.Members)); id++ {
		s.deliver(&messages.VoteResponse{Term: term + 1, Voter: id, Granted: true, PreVote: true})
	}
	s.syncAll()
	for id := uint64(2); id <= uint64(len(s.config.Bootstrap.Members)); id++ {
		s.deliver(&messages.VoteResponse{Term: term + 1, Voter: id, Granted: true})
	}
	s.expectRole(roleLeader, term+1)
	s.sentToPeers, s.sentToSession = nil, nil
	return s
}

// syncOldest lets the LogStore finish its oldest Append: what waited for the disk is said, and the
// Node hears Durable.
func (s *fixture) syncOldest() {
	a := s.pendingAppends[0]
	s.pendingAppends = s.pendingAppends[1:]
	for _, p := range a.Deferred {
		s.sentToPeers = append(s.sentToPeers, peerMessage{p.To, p.Envelope.Role, p.Envelope.PeerMessage()})
	}
	if a.Notify {
		s.deliver(&messages.Durable{Incarnation: a.Incarnation, Mark: a.Mark})
	}
}

// sync lets the LogStore finish everything.
func (s *fixture) syncAll() {
	for len(s.pendingAppends) > 0 {
		s.syncOldest()
	}
}

func (s *fixture) clearRecorded() {
	s.sentToPeers, s.sentToSession, s.sentToMachine, s.pendingAppends = nil, nil, nil, nil
	s.sentToReplicator = map[uint64][]proto.Message{}
}

// leader returns the Node's role, which must be leader.
func (s *fixture) leader() *leader {
	s.t.Helper()
	l, ok := s.node.role.(*leader)
	if !ok {
		s.t.Fatalf("the node is %s", s.node.role.name())
	}
	return l
}

// expectRole checks and term.
func (s *fixture) expectRole(role string, term uint64) {
	s.t.Helper()
	if len(s.Failures) > 0 {
		s.t.Fatalf("the node failed: %v", s.Failures)
	}
	if s.node.role.name() != role || s.node.term != term {
		s.t.Fatalf("the node is %s in term %d, want %s in term %d", s.node.role.name(), s.node.term, role, term)
	}
}

// the finds the messages of a kind that were said to peers, in order.
func sentMessages[M proto.Message](s *fixture) (all []M) {
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// only is the one message of a kind that was said to peers.
func onlySent[M proto.Message](s *fixture) M {
	s.t.Helper()
	all := sentMessages[M](s)
	if len(all) != 1 {
		s.t.Fatalf("said %d times, want once: %T; all that was said: %v", len(all), *new(M), s.sentToPeers)
	}
	return all[0]
}

// none checks that no message of a kind was said to peers.
func noneSent[M proto.Message](s *fixture) {
	s.t.Helper()
	if all := sentMessages[M](s); len(all) > 0 {
		s.t.Fatalf("said to peers and should not be: %T %v", *new(M), all)
	}
}

// sessionMessages finds the messages of a kind that the handle heard.
func sessionMessages[M proto.Message](s *fixture) (all []M) {
	for _, x := range s.sentToSession {
		if m, ok := x.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// Messages.

func newRuns(first uint64, terms []uint64) (runs []*messages.TermRun) {
	for i, t := range terms {
		if i == 0 || terms[i-1] != t {
			runs = append(runs, &messages.TermRun{FirstIndex: first + uint64(i), Term: t})
		}
	}
	return runs
}

// newEntries are entries from first on, of these terms.
func newEntries(first uint64, terms ...uint64) *messages.Entries {
	if len(terms) == 0 {
		return nil
	}
	e := &messages.Entries{First: first, Runs: newRuns(first, terms)}
	for i, t := range terms {
		e.Data = append(e.Data, raft.EncodeCommand(9, first+uint64(i), 0, fmt.Appendf(nil, "term %d", t)))
		e.Bytes += uint64(len(e.Data[i]))
	}
	return e
}

// newAppendEntries is an AppendEntries of node 2, leader of term.
func newAppendEntries(term, prevIndex, prevTerm, commit uint64, terms ...uint64) *messages.AppendEntries {
	return &messages.AppendEntries{
		Term: term, Leader: 2, PrevIndex: prevIndex, PrevTerm: prevTerm, Commit: commit, Stream: 5, Sequence: 1,
		Entries: newEntries(prevIndex+1, terms...),
	}
}

func (s *fixture) newProgress(peer, match uint64) *messages.Progress {
	return &messages.Progress{Incarnation: s.incarnation, Peer: peer, MatchIndex: match, State: "streaming", Term: s.node.term}
}

// newProposal is an entry as a handle would make it.
func newProposal(sequence uint64, size int) []byte {
	return raft.EncodeCommand(9, sequence, 0, make([]byte, size))
}

func defaultLimits() Limits {
	return Limits{
		MaxUncommittedBytes: defaults.MaxUncommittedBytes, MaxBatchBytes: defaults.MaxBatchBytes,
		MemoryBytes: defaults.LogMemoryBytes, MaxPendingReads: defaults.MaxPendingReads,
	}
}
