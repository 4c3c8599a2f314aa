package node

import (
	"fmt"
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

// fixture is a Node, number 1 of its cluster, with everything around it: LogStore, Machine,
// Replicators, peers and Session only record what they receive, and the clock stands still until
// the test advances it. All runs on the goroutine of the test, so a test lists in order what
// arrives and what is sent.
type fixture struct {
	*actortest.Env
	t           testing.TB
	randomInt64 func(n int64) int64
	config      Config
	incarnation uint64
	node        *Node
	pid         *actor.PID

	pendingAppends   []*messages.Append // sent to the LogStore and not on its disk
	sentToPeers      []peerMessage
	sentToSession    []proto.Message
	sentToMachine    []*messages.Committed
	sentToReplicator map[uint64][]proto.Message
	replicators      []ReplicatorConfig // in the order of their starts
	storageIDs       map[uint64][]byte  // that this node's link knows
	members          []*messages.Member // of the latest SetPeers
	// sentBeforeMachine is the number of messages to the Session before the Machine was made.
	sentBeforeMachine int
	withoutMachine    bool   // the Machine does not report that it is ready
	forwarded         uint64 // number of the last ForwardedProposals that deliver has numbered
}

type peerMessage struct {
	to      uint64
	role    messages.Receiver
	message proto.Message
}

const (
	heartbeatInterval = 100 * time.Millisecond
	electionTimeout   = 1000 * time.Millisecond
)

// newFixture returns a recovering Node in a cluster of voters 1 … size.
func newFixture(t testing.TB, size int, limit ...func(*Limits)) *fixture {
	s := &fixture{
		Env: actortest.New(1), t: t, sentToReplicator: map[uint64][]proto.Message{},
		randomInt64: func(int64) int64 { return 0 },
	}
	s.Rand = (*fixtureRandom)(s)
	s.ToSession = func(m proto.Message) { s.sentToSession = append(s.sentToSession, m) }
	s.ToPeer = func(id uint64, role messages.Receiver, m proto.Message) {
		s.sentToPeers = append(s.sentToPeers, peerMessage{id, role, m})
	}
	s.config = Config{
		Bootstrap: newConfiguration(size), HeartbeatInterval: heartbeatInterval, ElectionTimeout: electionTimeout,
		Limits: Limits{
			MaxUncommittedBytes: defaults.MaxUncommittedBytes, MaxBatchBytes: defaults.MaxBatchBytes,
			MemoryBytes: defaults.LogMemoryBytes, MaxPendingReads: defaults.MaxPendingReads,
		},
		LogStore: func() actor.Producer {
			return recorder(func(a *messages.Append) { s.pendingAppends = append(s.pendingAppends, a) })
		},
		Machine: func(*actor.PID, uint64) actor.Producer {
			s.sentBeforeMachine = len(s.sentToSession)
			return recorder(func(c *messages.Committed) { s.sentToMachine = append(s.sentToMachine, c) })
		},
		Replicator: func(r ReplicatorConfig) actor.Producer {
			s.replicators = append(s.replicators, r)
			return recorder(func(m proto.Message) {
				s.sentToReplicator[r.Peer] = append(s.sentToReplicator[r.Peer], m)
			})
		},
	}
	for _, set := range limit {
		set(&s.config.Limits)
	}
	_, s.pid = s.SpawnBelow(actors.NodeName, s.newNode, func(proto.Message) {})
	s.Run()
	return s
}

// newNode makes the next incarnation of the Node.
func (s *fixture) newNode() actor.Actor {
	s.incarnation++
	config := s.config
	config.Incarnation = s.incarnation
	s.node = New(s, config)().(*Node)
	return s.node
}

// recorder makes an actor that records the messages of one type.
func recorder[M proto.Message](record func(M)) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ended := ctx.Message().(*actor.Terminated); ended {
				return
			}
			if m, ok := ctx.Message().(M); ok {
				record(m)
			}
		})
	}
}

type fixtureRandom fixture

func (r *fixtureRandom) Int64N(n int64) int64 { return r.randomInt64(n) }
func (r *fixtureRandom) Uint64() uint64       { return 42 }

func (s *fixture) SetPeers(_ uint64, c *messages.Configuration) { s.members = c.GetMembers() }
func (s *fixture) StorageID(peer uint64) []byte                 { return s.storageIDs[peer] }

// What happens to the Node.

// crashNode ends the incarnation as a panic does. The next one keeps the mailbox.
func (s *fixture) crashNode() {
	s.pendingAppends = nil
	s.Crash(s.pid)
}

// deliver puts messages into the Node's mailbox, all of them before it handles the first. Proposals
// that state no term are of the present one.
func (s *fixture) deliver(all ...proto.Message) {
	for _, m := range all {
		switch m := m.(type) {
		case *messages.Propose:
			if m.Incarnation == 0 {
				m.Incarnation, m.Term = s.incarnation, s.node.term
			}
		case *messages.ForwardedProposals:
			if m.Number == 0 {
				s.forwarded++
				m.Term, m.Number = s.node.term, s.forwarded
			}
		}
	}
	s.Send(s.pid, all...)
}

// deliverRecovered reports a log to the Node: entry i+1 is of terms[i], the first one is the
// bootstrap configuration.
func (s *fixture) deliverRecovered(term, vote, commit uint64, terms ...uint64) *fixture {
	m := &messages.Recovered{
		Incarnation: s.incarnation, LastIndex: uint64(len(terms)), Runs: newRuns(1, terms),
		HardState: &messages.HardState{Term: term, Vote: vote, Commit: commit},
	}
	if len(terms) > 0 {
		m.Configurations = []*messages.IndexedConfiguration{{Index: 1, Configuration: s.config.Bootstrap}}
	}
	s.deliver(m)
	if !s.withoutMachine {
		s.deliver(&messages.MachineReady{Incarnation: s.incarnation})
	}
	return s
}

// asFollower makes the Node a follower of leader, with a log of these terms.
func (s *fixture) asFollower(term, leader, commit uint64, terms ...uint64) *fixture {
	s.deliverRecovered(term, 0, commit, terms...)
	s.deliver(&messages.Heartbeat{Term: term, Leader: leader})
	s.clearRecorded()
	return s
}

// asLeader makes the Node leader of term+1 with all votes. Its first entry is not on its disk.
func (s *fixture) asLeader(term uint64, terms ...uint64) *fixture {
	s.deliverRecovered(term, 0, 1, terms...)
	s.deliver(&messages.Campaign{})
	for id := range uint64(len(s.config.Bootstrap.Members) - 1) {
		s.deliver(preVoteGrant(term+1, id+2))
	}
	s.syncAll()
	for id := range uint64(len(s.config.Bootstrap.Members) - 1) {
		s.deliver(voteGrant(term+1, id+2))
	}
	s.expectRole(roleLeader, term+1)
	s.sentToPeers, s.sentToSession = nil, nil
	return s
}

// asIdleLeader makes the Node leader of term 4 in a cluster of three. Its first entry, at index 2,
// is on its disk and acknowledged by these peers.
func (s *fixture) asIdleLeader(acknowledged ...uint64) *fixture {
	s.asLeader(3, 1)
	s.syncAll()
	var all []proto.Message
	for _, peer := range acknowledged {
		all = append(all, s.newProgress(peer, 2))
	}
	s.deliver(all...)
	s.clearRecorded()
	return s
}

// advanceHeartbeats advances the time by n heartbeat intervals, in which these peers respond and
// the disk completes its Appends. The Node must lead throughout.
func (s *fixture) advanceHeartbeats(n int, peers ...uint64) {
	s.t.Helper()
	for i := range n {
		if !s.advanceHeartbeat(peers...) {
			s.t.Fatalf("the node is %s after heartbeat interval %d of %d", s.node.role.name(), i+1, n)
		}
	}
}

// advanceHeartbeat is one interval of advanceHeartbeats. It reports false if the Node stepped down.
func (s *fixture) advanceHeartbeat(peers ...uint64) (leads bool) {
	if s.Advance(heartbeatInterval); s.node.role.name() != roleLeader {
		return false
	}
	for _, id := range peers {
		s.deliver(&messages.HeartbeatResponse{Term: s.node.term, From: id})
	}
	s.syncAll()
	return true
}

// syncOldest completes the oldest pending Append: its deferred messages are sent, and Durable.
func (s *fixture) syncOldest() {
	a := s.pendingAppends[0]
	s.pendingAppends = s.pendingAppends[1:]
	for _, d := range a.Deferred {
		s.sentToPeers = append(s.sentToPeers, peerMessage{d.To, d.Envelope.Receiver, d.Envelope.PeerMessage()})
	}
	if a.Notify {
		s.deliver(&messages.Durable{Incarnation: a.Incarnation, Mark: a.Mark})
	}
}

func (s *fixture) syncAll() {
	for len(s.pendingAppends) > 0 {
		s.syncOldest()
	}
}

// What the Node did.

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

func (s *fixture) expectRole(role string, term uint64) {
	s.t.Helper()
	if len(s.Failures) > 0 {
		s.t.Fatalf("the node failed: %v", s.Failures)
	}
	if s.node.role.name() != role || s.node.term != term {
		s.t.Fatalf("the node is %s in term %d, want %s in term %d", s.node.role.name(), s.node.term, role, term)
	}
}

func (s *fixture) runningTimers() (n int) {
	for _, t := range s.Timers {
		if !t.Stopped {
			n++
		}
	}
	return n
}

// sentMessages returns the messages of a type that were sent to peers, in order.
func sentMessages[M proto.Message](s *fixture) (all []M) {
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// expectSent returns the messages of a type that were sent to peers; there must be n of them.
func expectSent[M proto.Message](s *fixture, n int) []M {
	s.t.Helper()
	all := sentMessages[M](s)
	if len(all) != n {
		s.t.Fatalf("%d messages %T sent, want %d; all messages sent: %v", len(all), *new(M), n, s.sentToPeers)
	}
	return all
}

// onlySent returns the one message of a type that was sent to peers.
func onlySent[M proto.Message](s *fixture) M {
	s.t.Helper()
	return expectSent[M](s, 1)[0]
}

// noneSent checks that no message of a type was sent to peers.
func noneSent[M proto.Message](s *fixture) {
	s.t.Helper()
	expectSent[M](s, 0)
}

// sessionMessages returns the messages of a type that the Session received.
func sessionMessages[M proto.Message](s *fixture) (all []M) {
	for _, x := range s.sentToSession {
		if m, ok := x.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// Messages.

func newConfiguration(size int) *messages.Configuration {
	c := &messages.Configuration{ClusterId: 1}
	for id := uint64(1); id <= uint64(size); id++ {
		c.Members = append(c.Members, &messages.Member{Id: id, Address: fmt.Sprintf("n%d:1", id)})
	}
	return c
}

func newRuns(first uint64, terms []uint64) (runs []*messages.TermRun) {
	for i, t := range terms {
		if i == 0 || terms[i-1] != t {
			runs = append(runs, &messages.TermRun{FirstIndex: first + uint64(i), Term: t})
		}
	}
	return runs
}

// newEntries returns entries of these terms, from index first on.
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

// newAppendEntries returns an AppendEntries of node 2, leader of term.
func newAppendEntries(term, prevIndex, prevTerm, commit uint64, terms ...uint64) *messages.AppendEntries {
	return &messages.AppendEntries{
		Term: term, Leader: 2, PrevIndex: prevIndex, PrevTerm: prevTerm, Commit: commit, Stream: 5, Sequence: 1,
		Entries: newEntries(prevIndex+1, terms...),
	}
}

func (s *fixture) newProgress(peer, match uint64) *messages.ReplicationProgress {
	return &messages.ReplicationProgress{Incarnation: s.incarnation, Peer: peer, MatchIndex: match, State: "streaming", Term: s.node.term}
}

// newProposal returns an entry of a Session.
func newProposal(sequence uint64, size int) []byte {
	return raft.EncodeCommand(9, sequence, 0, make([]byte, size))
}

func propose(sequence uint64, size int) *messages.Propose {
	return &messages.Propose{Data: newProposal(sequence, size)}
}

func newVoteRequest(candidate, term, lastIndex, lastTerm uint64) *messages.RequestVote {
	return &messages.RequestVote{Term: term, Candidate: candidate, LastIndex: lastIndex, LastTerm: lastTerm}
}

func newPreVoteRequest(candidate, term, lastIndex, lastTerm uint64) *messages.RequestVote {
	return &messages.RequestVote{Term: term, Candidate: candidate, LastIndex: lastIndex, LastTerm: lastTerm, PreVote: true}
}

func voteGrant(term, voter uint64) *messages.VoteResponse {
	return &messages.VoteResponse{Term: term, Voter: voter, Granted: true}
}

func preVoteGrant(term, voter uint64) *messages.VoteResponse {
	return &messages.VoteResponse{Term: term, Voter: voter, Granted: true, PreVote: true}
}

// stickyRefusal returns the refusal of a pre-vote by a voter with an active leader.
func stickyRefusal(term, voter uint64) *messages.VoteResponse {
	return &messages.VoteResponse{Term: term, Voter: voter, PreVote: true, LeaderActive: true}
}
