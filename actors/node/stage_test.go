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
	"github.com/troupe-raft/troupe/actors/internal/rehearsal"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around one Node, number 1 of its cluster: a LogStore, a Machine, Replicators, peers and a handle
// that only write down what they hear, and a clock that stands still until the test moves it. Nothing runs but in run, so
// that a test is one goroutine and tells its story in order: what arrives, what must be said, what must not be said before
// the disk has it.
type stage struct {
	*rehearsal.Env
	t           testing.TB
	dice        func(n int64) int64
	config      Config
	incarnation uint64

	supervisor, pid, logStore, machine *actor.PID
	node                               *Node
	replicators                        map[uint64]*actor.PID

	appends      []*messages.Append // handed to the LogStore and not on its disk yet
	said         []said             // to peers
	heard        []proto.Message    // by the handle
	fed          []*messages.Committed
	toReplicator map[uint64][]proto.Message
	members      []*messages.Member // as SetPeers last told
	views        []actors.NodeView
	spawned      []string // names of children, in order; and what the handle had heard when the Machine was made
}

// said is one message to a peer.
type said struct {
	to      uint64
	role    messages.Role
	message proto.Message
}

const (
	heartbeat = 100 * time.Millisecond
	election  = 1000 * time.Millisecond
)

// newStage sets up a Node in a cluster of voters 1 … size, which has not heard from its disk yet.
func newStage(t testing.TB, size int) *stage {
	s := &stage{
		Env: rehearsal.New(1), t: t, replicators: map[uint64]*actor.PID{}, toReplicator: map[uint64][]proto.Message{},
		dice: func(int64) int64 { return 0 },
	}
	s.config = Config{
		Bootstrap: configurationOf(size), Heartbeat: heartbeat, Election: election, Limits: DefaultLimits(),
		LogStore: func() actor.Producer { return s.child("log", func(m proto.Message) { s.logHears(m) }) },
		Machine: func(*actor.PID, uint64) actor.Producer {
			s.spawned = append(s.spawned, fmt.Sprintf("machine after %d of the handle", len(s.heard)))
			return s.child("machine", func(m proto.Message) {
				if c, ok := m.(*messages.Committed); ok {
					s.fed = append(s.fed, c)
				}
			})
		},
		Replicator: func(peer uint64, _ *actor.PID, _ uint64) actor.Producer {
			return s.child("peer "+strconv.FormatUint(peer, 16), func(m proto.Message) {
				s.toReplicator[peer] = append(s.toReplicator[peer], m)
			})
		},
	}
	s.spawn()
	return s
}

func configurationOf(size int) *messages.Configuration {
	c := &messages.Configuration{ClusterId: 1}
	for id := uint64(1); id <= uint64(size); id++ {
		c.Members = append(c.Members, &messages.Member{Id: id, Address: fmt.Sprintf("n%d:1", id)})
	}
	return c
}

// child is an actor of the Node's subtree that hands on what it hears.
func (s *stage) child(name string, hear func(proto.Message)) actor.Producer {
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

func (s *stage) logHears(m proto.Message) {
	if a, ok := m.(*messages.Append); ok {
		s.appends = append(s.appends, a)
	}
}

// spawn brings the next incarnation of the Node to life.
func (s *stage) spawn() {
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
func (s *stage) crash() {
	s.appends = nil
	s.Crash(s.pid)
}

// hears puts messages into the Node's mailbox, all of them before it handles the first.
func (s *stage) hears(all ...proto.Message) {
	s.Send(s.pid, all...)
}

// armed counts the timers that will fire.
func (s *stage) armed() (n int) {
	for _, t := range s.Timers {
		if !t.Stopped {
			n++
		}
	}
	return n
}

// recovered lets the LogStore tell what it found: a log whose entry i+1 is of terms[i]; the first is the bootstrap
// configuration.
func (s *stage) recovered(term, vote, commit uint64, terms ...uint64) *stage {
	m := &messages.Recovered{
		Incarnation: s.incarnation, LastIndex: uint64(len(terms)), Runs: runsOf(1, terms),
		HardState: &messages.HardState{Term: term, Vote: vote, Commit: commit},
	}
	if len(terms) > 0 {
		m.Configurations = []*messages.IndexedConfiguration{{Index: 1, Configuration: s.config.Bootstrap}}
	}
	s.hears(m)
	return s
}

// settled is a member that found its log, campaigned in vain after its start, and now follows `leader` in `term`.
func (s *stage) settled(term, leader, commit uint64, terms ...uint64) *stage {
	s.recovered(term, 0, commit, terms...)
	s.hears(&messages.Heartbeat{Term: term, Leader: leader})
	s.forget()
	return s
}

// leads makes the Node leader of term+1, with the votes of all others; its first entry is not on its disk yet.
func (s *stage) leads(term uint64, terms ...uint64) *stage {
	s.recovered(term, 0, 1, terms...)
	s.hears(&messages.Campaign{})
	for id := uint64(2); id <= uint64(len(s.config.Bootstrap.Members)); id++ {
		s.hears(&messages.VoteAnswer{Term: term + 1, Voter: id, Granted: true, PreVote: true})
	}
	s.sync()
	for id := uint64(2); id <= uint64(len(s.config.Bootstrap.Members)); id++ {
		s.hears(&messages.VoteAnswer{Term: term + 1, Voter: id, Granted: true})
	}
	s.is(roleLeader, term+1)
	s.said, s.heard = nil, nil
	return s
}

// syncOne lets the LogStore finish its oldest Append: what waited for the disk is said, and the Node hears Durable.
func (s *stage) syncOne() {
	a := s.appends[0]
	s.appends = s.appends[1:]
	for _, p := range a.Then {
		s.said = append(s.said, said{p.To, p.Letter.Role, letterOf(p.Letter)})
	}
	if a.Tell {
		s.hears(&messages.Durable{Incarnation: a.Incarnation, Mark: a.Mark})
	}
}

// sync lets the LogStore finish everything.
func (s *stage) sync() {
	for len(s.appends) > 0 {
		s.syncOne()
	}
}

func letterOf(l *messages.Letter) proto.Message {
	var inner proto.Message
	r := l.ProtoReflect()
	field := r.WhichOneof(r.Descriptor().Oneofs().ByName("message"))
	inner = r.Get(field).Message().Interface()
	return inner
}

func (s *stage) forget() {
	s.said, s.heard, s.fed, s.appends = nil, nil, nil, nil
	s.toReplicator = map[uint64][]proto.Message{}
}

// is checks role and term.
func (s *stage) is(role string, term uint64) {
	s.t.Helper()
	if len(s.Failures) > 0 {
		s.t.Fatalf("the node failed: %v", s.Failures)
	}
	if s.node.role != role || s.node.term != term {
		s.t.Fatalf("the node is %s in term %d, want %s in term %d", s.node.role, s.node.term, role, term)
	}
}

// the finds the messages of a kind that were said to peers, in order.
func the[M proto.Message](s *stage) (all []M) {
	for _, x := range s.said {
		if m, ok := x.message.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// only is the one message of a kind that was said to peers.
func only[M proto.Message](s *stage) M {
	s.t.Helper()
	all := the[M](s)
	if len(all) != 1 {
		s.t.Fatalf("said %d times, want once: %T; all that was said: %v", len(all), *new(M), s.said)
	}
	return all[0]
}

// none checks that no message of a kind was said to peers.
func none[M proto.Message](s *stage) {
	s.t.Helper()
	if all := the[M](s); len(all) > 0 {
		s.t.Fatalf("said to peers and should not be: %T %v", *new(M), all)
	}
}

// handleHeard finds the messages of a kind that the handle heard.
func handleHeard[M proto.Message](s *stage) (all []M) {
	for _, x := range s.heard {
		if m, ok := x.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// Messages.

func runsOf(first uint64, terms []uint64) (runs []*messages.TermRun) {
	for i, t := range terms {
		if i == 0 || terms[i-1] != t {
			runs = append(runs, &messages.TermRun{FirstIndex: first + uint64(i), Term: t})
		}
	}
	return runs
}

// entriesOf are entries from first on, of these terms.
func entriesOf(first uint64, terms ...uint64) *messages.Entries {
	if len(terms) == 0 {
		return nil
	}
	e := &messages.Entries{First: first, Runs: runsOf(first, terms)}
	for i, t := range terms {
		e.Data = append(e.Data, raft.EncodeCommand(9, first+uint64(i), 0, fmt.Appendf(nil, "term %d", t)))
		e.Bytes += uint64(len(e.Data[i]))
	}
	return e
}

// appendOf is an AppendEntries of node 2, leader of term.
func appendOf(term, prevIndex, prevTerm, commit uint64, terms ...uint64) *messages.AppendEntries {
	return &messages.AppendEntries{
		Term: term, Leader: 2, PrevIndex: prevIndex, PrevTerm: prevTerm, Commit: commit, Stream: 5, Sequence: 1,
		Entries: entriesOf(prevIndex+1, terms...),
	}
}

func (s *stage) progress(peer, match uint64) *messages.Progress {
	return &messages.Progress{Incarnation: s.incarnation, Peer: peer, MatchIndex: match, State: "streaming", Term: s.node.term}
}

// proposalOf is an entry as a handle would make it.
func proposalOf(sequence uint64, size int) []byte {
	return raft.EncodeCommand(9, sequence, 0, make([]byte, size))
}
