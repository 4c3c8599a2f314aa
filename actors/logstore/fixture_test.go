package logstore

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// fixture runs a LogStore on a disk in memory. events has what the disk did and what the LogStore
// sent, in one order, because that order is what most tests are about (persist before send).
type fixture struct {
	*actortest.Env
	t       testing.TB
	node    *actor.PID
	store   *actor.PID
	events  []string
	toNode  []proto.Message
	toPeers []proto.Message
	read    *messages.ReadLogResponse // the newest
}

const (
	ownNodeID   = 7
	incarnation = 3
)

func newFixture(t testing.TB, disk *vfs.MemFS) *fixture {
	f := &fixture{Env: actortest.New(ownNodeID), t: t}
	disk.Observe(func(op vfs.Op) {
		if op.Err == nil && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir) {
			f.events = append(f.events, op.Kind.String())
		}
	})
	f.Disk = disk
	f.ToPeer = func(id uint64, role messages.Receiver, m proto.Message) {
		f.toPeers = append(f.toPeers, m)
		f.events = append(f.events, fmt.Sprintf("send to %v of %d", role, id))
	}
	config := Config{Incarnation: incarnation, Log: persistence.Options{
		Dir: "/data/log", NodeID: ownNodeID, StorageID: [16]byte{1}, FirstSegmentBytes: 64 << 10, SegmentBytes: 128 << 10, LowWater: 1 << 20,
	}}
	f.node, f.store = f.SpawnBelow(actors.LogStoreName, New(f, config), func(m proto.Message) {
		f.toNode = append(f.toNode, m)
		f.events = append(f.events, fmt.Sprintf("send %T to the Node", m))
	})
	f.Run()
	return f
}

// send puts all messages into the LogStore's mailbox before it handles the first.
func (f *fixture) send(all ...proto.Message) { f.Env.Send(f.store, all...) }

func (f *fixture) clearRecorded() { f.events, f.toNode, f.toPeers, f.Views.Syncs = nil, nil, nil, 0 }

func (f *fixture) countEvents(event string) (n int) {
	for _, e := range f.events {
		if e == event {
			n++
		}
	}
	return n
}

// received are the messages of one type that the Node received.
func received[M proto.Message](f *fixture) (all []M) {
	for _, m := range f.toNode {
		if m, ok := m.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

func makeEntries(first uint64, n int, term uint64, size int) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
	for i := range n {
		data := raft.EncodeCommand(1, first+uint64(i), 0, make([]byte, size))
		e.Data = append(e.Data, data)
		e.Bytes += uint64(len(data))
	}
	return e
}

func appendMessage(term uint64, truncateFrom uint64, e *messages.Entries, deferred ...*messages.DeferredMessage) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.AppendMark{Term: term, Index: raft.EntriesLast(e)}, TruncateFrom: truncateFrom, Entries: e,
		HardState: &messages.HardState{Term: term, Vote: 2}, NeedsSync: true, Notify: true, Deferred: deferred,
	}
}

func acceptedResponse(to, index uint64) *messages.DeferredMessage {
	return &messages.DeferredMessage{To: to, CoversThrough: index,
		Envelope: messages.NewEnvelope(messages.Receiver_RECEIVER_REPLICATOR, &messages.AppendResponse{Accepted: true, Index: index})}
}

func voteMessage(candidate, term uint64) *messages.Append {
	return &messages.Append{
		Incarnation: incarnation, Mark: &messages.AppendMark{Term: term}, HardState: &messages.HardState{Term: term, Vote: candidate}, NeedsSync: true,
		Deferred: []*messages.DeferredMessage{{To: candidate,
			Envelope: messages.NewEnvelope(messages.Receiver_RECEIVER_NODE, &messages.VoteResponse{Term: term, Granted: true})}},
	}
}

// commitMessage is an Append that holds only a commit index, for a log of 5 entries.
func commitMessage(index uint64) *messages.Append {
	return &messages.Append{Incarnation: incarnation, Mark: &messages.AppendMark{Term: 1, Index: 5}, HardState: &messages.HardState{Term: 1, Vote: 2, Commit: index}}
}
