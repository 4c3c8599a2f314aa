package world

import (
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// host is the member.Host of a simulated member: its clock, the world's randomness, and events in
// place of goroutines. Everything else about a node is production code (internal/member).
type host struct{ *Member }

var _ member.Host = host{}

// config returns the configuration of the member's next run. Its limits are small, so that worlds
// reach them.
func (m *Member) config() member.Config {
	w := m.world
	limits, requests := w.NodeLimits(), w.replicatorLimits()
	return member.Config{
		ID: m.id, Address: address(m.id), First: w.Bootstrap, Software: "troupe-sim", DataDir: DataDir, FS: lockedFS{m.Disk.MemFS, m},
		Rejoin: m.Rejoins, StateMachine: m.openMachine,
		Timing: member.Timing{HeartbeatInterval: HeartbeatInterval, ElectionTimeout: ElectionTimeout},
		Limits: member.Limits{
			MaxRequestBytes: w.sessionLimits.MaxRequestBytes, MaxPendingRequests: w.sessionLimits.MaxPendingRequests,
			MaxPendingBytes: w.sessionLimits.MaxPendingBytes, MaxUncommittedBytes: limits.MaxUncommittedBytes,
			LogMemoryBytes: limits.MemoryBytes, MaxInFlightBytes: requests.MaxInFlightBytes, DiskLowWater: LowWaterBytes,
		},
		Sizes: member.Sizes{
			AppendBytes: limits.MaxBatchBytes, ReplicateBytes: requests.MaxRequestBytes, ProbeBytes: requests.ProbeBytes,
			ApplyBytes: 2000, ApplyResultBytes: 4 << 20, MaxInFlight: requests.MaxInFlight, MaxLeaderReads: limits.MaxPendingReads,
			FirstSegmentBytes: firstSegmentBytes, SegmentBytes: segmentBytes, Sessions: w.SessionTable,
		},
		RestartLimit: w.RestartLimit, Logger: discardLogger,
		LeaderChanged: m.Embedder.leaderChanged,
	}
}

// lockedFS checks that a node which was started unlocks its data directory after its last actor: an
// actor that still writes would write beside the next process.
type lockedFS struct {
	*vfs.MemFS
	member *Member
}

// Lock implements vfs.FS.
func (l lockedFS) Lock(path string) (io.Closer, error) {
	lock, err := l.MemFS.Lock(path)
	if err != nil {
		return nil, err
	}
	return unlock(func() error {
		if m := l.member; m.system != nil && !m.actorsAwaited {
			m.world.Fail("released in order", "member %d unlocks its data directory before its actors have ended", m.id)
		}
		return lock.Close()
	}), nil
}

type unlock func() error

func (u unlock) Close() error { return u() }

// FillRandom draws from the world.
func (h host) FillRandom(b []byte) {
	for len(b) > 0 {
		var drawn [8]byte
		binary.LittleEndian.PutUint64(drawn[:], h.world.Random.Uint64())
		b = b[copy(b, drawn[:]):]
	}
}

// Every calls f, and looks at what it has ended, until the run of the member ends.
func (h host) Every(interval time.Duration, f func()) (stop func()) {
	stopped := false
	var tick func()
	tick = func() {
		if stopped {
			return
		}
		f()
		h.Embedder.poll()
		h.after(interval, tick)
	}
	h.after(interval, tick)
	return func() { stopped = true }
}

// WhenClosed keeps f until the last actor has handled its last message: that closes the channel.
func (h host) WhenClosed(_ <-chan struct{}, f func()) { h.whenStopped = f }

// NewEnvironment makes the actor system of a run.
func (h host) NewEnvironment(parts member.Parts) (member.Environment, error) {
	h.parts = parts
	h.system = takeActorSystem()
	h.system.ProcessRegistry.Address = parts.Address
	h.system.ProcessRegistry.RemoteHandlers = []actor.AddressResolver{h.resolve}
	h.system.ProcessRegistry.Add(h.Embedder, sessionName)
	return environment(h), nil
}

// environment is the member as the environment of its node.
type environment struct{ *Member }

// Root implements member.Environment.
func (e environment) Root() *actor.RootContext { return e.system.Root }

// Connected implements member.Environment.
func (e environment) Connected() bool {
	return slices.ContainsFunc(e.world.Members, func(m *Member) bool { return m != e.Member && e.world.Connected(e.Member, m) })
}

// Close ends the connections: nothing that an actor sends after that leaves the member.
func (e environment) Close() {
	e.linksClosed = true
	e.clearOutboxes("link closed")
}

// AwaitActors checks that no actor is left.
func (e environment) AwaitActors() {
	for _, b := range e.Mailboxes {
		if _, running := e.system.ProcessRegistry.GetLocal(b.self.Id); running {
			e.world.Fail("no actor left over", "member %d has stopped, and its actor %s still runs", e.id, b.self.Id)
		}
	}
	e.actorsAwaited = true
}

func (m *Member) linkedTo(peer uint64) bool {
	return m.world.OpenLinks || slices.Contains(m.linkPeers, peer)
}
