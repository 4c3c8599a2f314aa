package logstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around a LogStore: its Node, its peers, a disk that remembers, and an
// environment in which nothing runs until the test says so. One list of events holds what the disk
// did and what was said, in the order in which it happened: that is what "persist before send" is
// about.
type fixture struct {
	*actortest.Env
	t       testing.TB
	disk    *vfs.MemFS
	node    *actor.PID
	store   *actor.PID
	events  []string
	toNode  []proto.Message
	toPeers []proto.Message
	syncs   int
	views   []actors.LogView
}

const (
	ownNodeID   = 7
	incarnation = 3
)

func newFixture(t testing.TB, disk *vfs.MemFS) *fixture {
	s := &fixture{Env: actortest.New(ownNodeID), t: t, disk: disk}
	disk.Observe(func(op vfs.Op) {
		if op.Err == nil && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir) {
			s.events = append(s.events, op.Kind.String())
		}
	})
	config := Config{Incarnation: incarnation, Log: persistence.Options{
		Dir: "/data/log", NodeID: ownNodeID, StorageID: [16]byte{1}, FirstSegmentBytes: 64 << 10, SegmentBytes: 128 << 10, LowWater: 1 << 20,
	}}
	s.node = s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				pid, err := ctx.SpawnNamed(s.Props(New(s, config)), actors.LogStoreName)
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
	s.Run()
	return s
}

// send puts messages into the LogStore's mailbox, all of them before it handles the first.
func (s *fixture) send(all ...proto.Message) { s.Env.Send(s.store, all...) }

// forget makes room for what happens next.
func (s *fixture) clearRecorded() { s.events, s.toNode, s.toPeers, s.syncs = nil, nil, nil, 0 }

func (s *fixture) countEvents(event string) (n int) {
	for _, e := range s.events {
		if e == event {
			n++
		}
	}
	return n
}

func (s *fixture) nodeReceived(want proto.Message) (all []proto.Message) {
	for _, m := range s.toNode {
		if m.ProtoReflect().Descriptor() == want.ProtoReflect().Descriptor() {
			all = append(all, m)
		}
	}
	return all
}

// The environment.

func (s *fixture) FS() vfs.FS                     { return s.disk }
func (s *fixture) Observer() actors.StateObserver { return fixtureObserver{fixture: s} }

func (s *fixture) PeerPID(id uint64, role messages.Role) *actor.PID {
	name := fmt.Sprintf("%v of %d", role, id)
	return s.Sink(name, func(m proto.Message) {
		s.toPeers = append(s.toPeers, m)
		s.events = append(s.events, "promise to "+name)
	})
}

type fixtureObserver struct {
	actortest.NoObserver
	fixture *fixture
}

func (p fixtureObserver) Log(v actors.LogView)           { p.fixture.views = append(p.fixture.views, v) }
func (p fixtureObserver) Synced(int, int, time.Duration) { p.fixture.syncs++ }

// Messages.

func makeEntries(first uint64, n int, term uint64, size int) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
	for i := range n {
		data := raft.EncodeCommand(1, first+uint64(i), 0, make([]byte, size))
		e.Data = append(e.Data, data)
		e.Bytes += uint64(len(data))
	}
	return e
}

func appendMessage(term uint64, truncateFrom uint64, e *messages.Entries, then ...*messages.DeferredMessage) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.AppendMark{Term: term, Index: raft.EntriesLast(e)}, TruncateFrom: truncateFrom, Entries: e,
		HardState: &messages.HardState{Term: term, Vote: 2}, NeedsSync: true, Notify: true, Deferred: then,
	}
}

func acceptedResponse(to, index uint64) *messages.DeferredMessage {
	return &messages.DeferredMessage{To: to, CoversThrough: index, Envelope: &messages.Envelope{Role: messages.Role_ROLE_REPLICATOR,
		Message: &messages.Envelope_AppendResponse{AppendResponse: &messages.AppendResponse{Accepted: true, Index: index}}}}
}

func voteMessage(candidate, term uint64) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.AppendMark{Term: term}, HardState: &messages.HardState{Term: term, Vote: candidate}, NeedsSync: true,
		Deferred: []*messages.DeferredMessage{{To: candidate, Envelope: &messages.Envelope{Role: messages.Role_ROLE_NODE,
			Message: &messages.Envelope_VoteResponse{VoteResponse: &messages.VoteResponse{Term: term, Granted: true}}}}},
	}
}
