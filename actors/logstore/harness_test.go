package logstore

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around a LogStore: its Node, its peers, a disk that remembers, and an environment in which nothing
// runs until the test says so. One list of events holds what the disk did and what was said, in the order in which it
// happened: that is what "write, then speak" is about.
type stage struct {
	t        testing.TB
	disk     *vfs.Mem
	system   *actor.ActorSystem
	queue    []func()
	now      time.Duration
	timers   []*stageTimer
	node     *actor.PID
	store    *actor.PID
	peers    map[string]*actor.PID
	events   []string
	toNode   []proto.Message
	toPeers  []proto.Message
	failures []any
	restart  bool
	synced   int
	views    []actors.LogView
	log      zerolog.Logger
}

const (
	ownNode     = 7
	incarnation = 3
)

type stageTimer struct {
	due     time.Duration
	to      *actor.PID
	message proto.Message
}

func (t *stageTimer) Stop() {}

func newStage(t testing.TB, disk *vfs.Mem) *stage {
	s := &stage{t: t, disk: disk, peers: map[string]*actor.PID{}, log: zerolog.New(io.Discard)}
	quiet := slog.New(slog.DiscardHandler)
	s.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	disk.Observe(func(op vfs.Op) {
		if op.Err == nil && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir) {
			s.events = append(s.events, op.Kind.String())
		}
	})
	config := Config{Incarnation: incarnation, Log: persistence.Options{
		Dir: "/data/log", Node: ownNode, StorageID: [16]byte{1}, FirstSegmentBytes: 64 << 10, SegmentBytes: 128 << 10, LowWater: 1 << 20,
	}}
	s.node = s.system.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				pid, err := ctx.SpawnNamed(s.Props(New(s, config)), actors.LogName)
				if err != nil {
					t.Fatal(err)
				}
				s.store = pid
			case *actor.Terminated:
			case proto.Message:
				s.toNode = append(s.toNode, m)
				s.events = append(s.events, fmt.Sprintf("node hears %T", m))
			}
		})
	}))
	s.run()
	return s
}

// run handles messages until none is left.
func (s *stage) run() {
	for len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		next()
	}
}

// send puts messages into the LogStore's mailbox, all of them before it handles the first.
func (s *stage) send(all ...proto.Message) {
	for _, m := range all {
		s.system.Root.Send(s.store, m)
	}
	s.run()
}

// pass lets time pass, and fires what comes due.
func (s *stage) pass(d time.Duration) {
	until := s.now + d
	for {
		var next *stageTimer
		at := -1
		for i, timer := range s.timers {
			if timer.due <= until && (next == nil || timer.due < next.due) {
				next, at = timer, i
			}
		}
		if next == nil {
			break
		}
		s.timers = append(s.timers[:at], s.timers[at+1:]...)
		s.now = max(s.now, next.due)
		s.send(next.message)
	}
	s.now = until
}

// forget makes room for what happens next.
func (s *stage) forget() { s.events, s.toNode, s.toPeers, s.synced = nil, nil, nil, 0 }

func (s *stage) count(event string) (n int) {
	for _, e := range s.events {
		if e == event {
			n++
		}
	}
	return n
}

func (s *stage) heard(want proto.Message) (all []proto.Message) {
	for _, m := range s.toNode {
		if m.ProtoReflect().Descriptor() == want.ProtoReflect().Descriptor() {
			all = append(all, m)
		}
	}
	return all
}

// The environment.

func (s *stage) Schedule(fn func()) { s.queue = append(s.queue, fn) }
func (s *stage) Throughput() int    { return 1000 }

func (s *stage) ID() uint64 { return ownNode }
func (s *stage) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	options = append(options, actor.WithDispatcher(s), actor.WithSupervisor(s))
	return actor.PropsFromProducer(producer, options...)
}

func (s *stage) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	s.failures = append(s.failures, reason)
	if s.restart {
		supervisor.RestartChildren(child)
	} else {
		supervisor.StopChildren(child)
	}
}

func (s *stage) Now() time.Duration { return s.now }
func (s *stage) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	timer := &stageTimer{due: s.now + d, to: to, message: message}
	s.timers = append(s.timers, timer)
	return timer
}
func (s *stage) Random() actors.Random       { panic("the LogStore needs no randomness") }
func (s *stage) FS() vfs.FS                  { return s.disk }
func (s *stage) SetPeers([]*messages.Member) { panic("the LogStore knows no peers") }
func (s *stage) Handle() *actor.PID          { panic("the LogStore knows no handle") }
func (s *stage) Log() *zerolog.Logger        { return &s.log }
func (s *stage) Probe() actors.Probe         { return (*stageProbe)(s) }

func (s *stage) Peer(id uint64, role messages.Role) *actor.PID {
	name := fmt.Sprintf("%v of %d", role, id)
	if s.peers[name] == nil {
		s.peers[name] = s.system.Root.Spawn(s.Props(func() actor.Actor {
			return actor.ReceiveFunc(func(ctx actor.Context) {
				if m, ok := ctx.Message().(proto.Message); ok {
					s.toPeers = append(s.toPeers, m)
				}
			})
		}))
	}
	// Said is when it was sent, not when it is handled.
	s.events = append(s.events, "promise to "+name)
	return s.peers[name]
}

type stageProbe stage

func (p *stageProbe) Node(actors.NodeView)             {}
func (p *stageProbe) Log(v actors.LogView)             { p.views = append(p.views, v) }
func (p *stageProbe) Machine(actors.MachineView)       {}
func (p *stageProbe) Replicator(actors.ReplicatorView) {}
func (p *stageProbe) Synced(int, int, time.Duration)   { p.synced++ }

// Messages.

func entries(first uint64, n int, term uint64, size int) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
	for i := range n {
		data := raft.EncodeCommand(1, first+uint64(i), 0, make([]byte, size))
		e.Data = append(e.Data, data)
		e.Bytes += uint64(len(data))
	}
	return e
}

func appendOf(term uint64, truncateFrom uint64, e *messages.Entries, then ...*messages.Promise) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.Mark{Term: term, Index: raft.EntriesLast(e)}, TruncateFrom: truncateFrom, Entries: e,
		HardState: &messages.HardState{Term: term, Vote: 2}, Urgent: true, Tell: true, Then: then,
	}
}

func accepted(to, index uint64) *messages.Promise {
	return &messages.Promise{To: to, HoldsThrough: index, Letter: &messages.Letter{Role: messages.Role_ROLE_REPLICATOR,
		Message: &messages.Letter_AppendAnswer{AppendAnswer: &messages.AppendAnswer{Accepted: true, Index: index}}}}
}

func voteFor(candidate, term uint64) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.Mark{Term: term}, HardState: &messages.HardState{Term: term, Vote: candidate}, Urgent: true,
		Then: []*messages.Promise{{To: candidate, Letter: &messages.Letter{Role: messages.Role_ROLE_NODE,
			Message: &messages.Letter_VoteAnswer{VoteAnswer: &messages.VoteAnswer{Term: term, Granted: true}}}}},
	}
}
