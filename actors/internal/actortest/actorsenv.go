package actortest

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The methods of actors.Env. They panic for a part that the test did not provide.

var _ actors.Env = (*Env)(nil)

func (e *Env) ID() uint64                     { return e.id }
func (e *Env) Now() time.Duration             { return e.now }
func (e *Env) Log() *zerolog.Logger           { return &e.log }
func (e *Env) Random() actors.Random          { return provided(e.Rand, "randomness") }
func (e *Env) FS() vfs.FS                     { return provided(e.Disk, "files") }
func (e *Env) StorageID(uint64) []byte        { return nil }
func (e *Env) StorageConfirmed(uint64)        {}
func (e *Env) Observer() actors.StateObserver { return &e.Views }

// SetPeers panics: only a Node sets the peers.
func (e *Env) SetPeers(uint64, *messages.Configuration) { panic("this actor sets no peers") }

// After records the timer; Advance fires it.
func (e *Env) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	t := &Timer{Due: e.now + d, To: to, Message: message}
	e.Timers = append(e.Timers, t)
	return t
}

func (e *Env) PeerPID(id uint64, role messages.Receiver) *actor.PID {
	if e.ToPeer == nil {
		panic("this actor sends nothing to peers")
	}
	return e.Sink(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) { e.ToPeer(id, role, m) })
}

func (e *Env) ReplySink() *actor.PID {
	if e.ToSession == nil {
		panic("this actor sends nothing to the session")
	}
	return e.Sink("session", func(m proto.Message) { e.ToSession(m) })
}

func provided[T comparable](part T, name string) T {
	var none T
	if part == none {
		panic("this actor needs no " + name)
	}
	return part
}

// Views records the states that the actors published, and counts the syncs of the LogStore.
type Views struct {
	Nodes       []actors.NodeView
	Logs        []actors.LogStoreView
	Machines    []actors.MachineView
	Replicators []actors.ReplicatorView
	Syncs       int
}

func (v *Views) Node(n actors.NodeView)             { v.Nodes = append(v.Nodes, n) }
func (v *Views) LogStore(l actors.LogStoreView)     { v.Logs = append(v.Logs, l) }
func (v *Views) Machine(m actors.MachineView)       { v.Machines = append(v.Machines, m) }
func (v *Views) Replicator(r actors.ReplicatorView) { v.Replicators = append(v.Replicators, r) }
func (v *Views) Synced(int, int, time.Duration)     { v.Syncs++ }
