package sim

import (
	"errors"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/logstore"
	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/supervisor"
)

// A member's life begins with boot. It ends by kill -9 (killProcess), by a power cut between two messages (kill) or in the
// middle of an operation of the disk (powerCutMidMessage, bury), or because the node stops by itself (stopped).

const (
	dataDir = "/data"
	logDir  = dataDir + "/" + persistence.LogDirName
)

func (d *disk) identityPath() string { return dataDir + "/" + persistence.IdentityFile }

func (m *member) firstBoot() {
	if !m.notStarted && !m.up {
		m.boot()
	}
}

// return_ begins another life, unless the member is up, stays away, or has left: an operator who had meant to start it again
// does not after that.
func (m *member) restart() {
	if !m.up && !m.permanentlyDown && !m.shuttingDown {
		m.boot()
	}
}

// boot begins a life on the disk that the last one left, as the program does (troupe.Start): the data directory first, then
// the actors.
func (m *member) boot() {
	w := m.world
	if wait := m.disk.stalledUntil - w.now; wait > 0 {
		w.after(wait, m.restart)
		return
	}
	m.runNumber++
	m.up = true
	m.mailboxes, m.peers, m.view, m.pausedUntil, m.timers = nil, map[peerRole]*actor.PID{}, actors.NodeView{}, 0, nil
	m.embedder = newEmbedder(m)
	w.checker.MemberStarts(m, w.nodeLimits(), w.replicatorLimits())
	if err := m.openDataDir(); m.imageAfterCut != nil {
		m.finishPowerCut()
		return
	} else if err != nil {
		m.stopped(err)
		return
	}
	m.system = takeActorSystem()
	m.system.ProcessRegistry.Address = address(m.id)
	m.system.ProcessRegistry.RemoteHandlers = []actor.AddressResolver{m.resolve}
	m.system.ProcessRegistry.Add(m.embedder, "internal/session")
	m.tree = supervisor.New(supervisor.Config{
		Bootstrap: w.bootstrap, HeartbeatInterval: heartbeatInterval, ElectionTimeout: electionTimeout, RestartLimit: w.restartLimit,
		Node: w.nodeLimits(), Replicator: w.replicatorLimits(),
		LogStore: logstore.Config{Log: m.logOptions()},
		Machine:  machine.Config{Factory: m.openMachine, MaxBatchBytes: 2000},
	}, &discardLogger, m.Now)
	w.events.started(m)
	if err := m.tree.Start(m, m.system.Root); err != nil {
		w.Fail("start", "member %d does not start: %v", m.id, err)
	}
	m.embedder.start()
	for _, other := range w.members {
		w.reportLink(m, other)
	}
}

// storageID is made with the data directory: a disk that was lost took it along.
func (m *member) storageID() [16]byte { return [16]byte{byte(m.id), byte(m.disk.generation)} }

func (m *member) openDataDir() error {
	dir, err := persistence.OpenDataDir(m.disk, dataDir, persistence.Identity{
		ClusterID: m.world.bootstrap.ClusterId, NodeID: m.id, StorageID: m.storageID(), CreatedBy: "troupe-sim",
	})
	if err == nil {
		m.dataDir = dir
	}
	return err
}

func (m *member) logOptions() persistence.Options {
	return persistence.Options{
		Dir: m.dataDir.LogDir(), NodeID: m.id, StorageID: m.dataDir.Identity.StorageID, MustExist: true,
		FirstSegmentBytes: 32 << 10, SegmentBytes: 64 << 10, LowWater: lowWater,
	}
}

// kill ends this life as a power cut does: of what was not synced, choose decides.
func (m *member) powerCut(choose vfs.CrashChoice) { m.endRun(m.disk.crashImage(choose)) }

// killProcess ends this life as kill -9 does: what was written can still be read, and may still be lost in a power cut.
func (m *member) killProcess() { m.endRun(m.disk.KillClone()) }

// powerCutMidMessage is a power cut in the middle of a message, at an operation of the disk. Nothing that the actor does from here
// on is seen by anybody: its life has ended, and its disk is frozen. What is left of it is buried after the message.
func (m *member) powerCutMidMessage(choose vfs.CrashChoice) {
	m.world.counts.CutMidway++
	m.imageAfterCut = m.disk.crashImage(choose)
	m.disk.Freeze()
	m.runNumber++
}

func (m *member) finishPowerCut() {
	after := m.imageAfterCut
	m.imageAfterCut = nil
	m.runNumber-- // powerCutMidMessage has ended it
	m.endRun(after)
	m.world.after(m.world.downtime(), m.restart)
}

func (m *member) endRun(after *vfs.MemFS) {
	m.runNumber++
	m.up = false
	m.world.events.killed(m)
	m.disk.Freeze()
	m.disk.attach(after)
	if m.machineDisk != nil {
		m.machineDisk.loseNewest(int(m.world.random.Int64N(3)) + m.machineDisk.unflushed)
		m.machineDisk.unflushed, m.machineDisk.firstError = 0, nil
	}
	if m.system != nil {
		for _, b := range m.mailboxes {
			m.system.ProcessRegistry.Remove(b.self)
		}
		m.system.ProcessRegistry.Remove(m.system.NewLocalPID("internal/session"))
		actorSystems.Put(m.system)
	}
	m.system, m.tree, m.mailboxes, m.timers = nil, nil, nil, nil
	m.applied, m.replica, m.machineOpen = 0, history.Replica{}, false
	m.embedder.terminate()
	for _, other := range m.world.members {
		m.world.reportLink(m, other)
	}
}

// Stop is why a node stopped by itself.
type Stop int

const (
	StopStorage  Stop = iota // the disk failed
	StopNoSpace              // the disk was full
	StopRefused              // what is on disk cannot be trusted
	StopRestarts             // too many restarts in the window
	StopState                // the state machine found its files damaged
	StopOther                // anything else: a bug

	stopKinds = iota
)

var stopNames = [stopKinds]string{"storage-fault", "no-space", "refused-damage", "too-many-restarts", "damaged-state", "other"}

func (s Stop) String() string { return stopNames[s] }

func (m *member) stopReason(err error) Stop {
	var storage *actors.StorageError
	var fatal *actors.FatalError
	switch {
	case errors.Is(err, errStateDamaged):
		return StopState
	case errors.Is(err, persistence.ErrCorrupt), errors.Is(err, persistence.ErrFormat), errors.Is(err, persistence.ErrWrongMember),
		errors.Is(err, persistence.ErrWrongCluster):
		return StopRefused
	case vfs.IsNoSpace(err):
		return StopNoSpace
	case errors.As(err, &storage), errors.Is(err, syscall.EIO):
		return StopStorage
	case errors.As(err, &fatal) && m.tree != nil && m.tree.Restarts() > m.world.restartLimit.Max:
		return StopRestarts
	case m.disk.damaged:
		return StopRefused
	}
	return StopOther
}

// stopped is the end of a node that stops by itself, and what its operator does: a node that was stopped by a passing fault
// is started again, on the disk as it was or after a restart of the machine. One that refuses its disk is tried once more at
// times, and then stays away: there is no way yet to add it anew.
func (m *member) stopped(err error) {
	if m.shuttingDown && err == nil {
		m.checkShutdown()
		return
	}
	w, why := m.world, m.stopReason(err)
	m.stopError = err
	w.counts.Stops[why]++
	w.events.stopped(m, why.String())
	if (why == StopStorage || why == StopNoSpace) && !m.disk.failed || why == StopRefused && !m.disk.damaged && !m.disk.readFlipped ||
		why == StopOther {
		w.Fail("stop has a cause", "member %d stops without anything having been wrong with its disk: %v", m.id, err)
	}
	wrong := m.disk.damaged // what is wrong with it does not pass
	if w.chance(0.5) {
		m.powerCut(w.randomChoice())
	} else {
		m.killProcess()
	}
	if why == StopState {
		m.resetStateMachine()
	}
	if why == StopRefused && wrong && (w.healing || w.chance(0.7)) {
		m.permanentlyDown = true
		return
	}
	w.after(w.downtime(), m.restart)
}

// leave is the orderly end of a process, as by SIGTERM.
func (m *member) shutDown() {
	m.shuttingDown = true
	m.tree.Stop()
}

// left sees to it that no actor is left over after an orderly end.
func (m *member) checkShutdown() {
	for _, b := range m.mailboxes {
		if _, lives := m.system.ProcessRegistry.GetLocal(b.self.Id); lives {
			m.world.Fail("no actor left over", "member %d has stopped in good order, and its actor %s lives", m.id, b.self.Id)
		}
	}
	m.killProcess()
}

// absence is how long a dead process stays dead.
func (w *World) downtime() time.Duration {
	if w.chance(0.3) {
		return w.randomDuration(time.Second, 4*time.Second)
	}
	return w.randomDuration(time.Millisecond, 200*time.Millisecond)
}

// randomChoice is what a power cut does: each of the kinds.
func (w *World) randomChoice() vfs.CrashChoice {
	switch w.random.IntN(4) {
	case 0:
		return vfs.LoseUnsynced
	case 1:
		return vfs.KeepUnsynced
	}
	return w.random.IntN
}

// patience is how long a node may take to stop after an operation of its disk has failed: it must not go on (E5).
const stopDeadline = 5 * time.Second

// expectStop notes that an operation failed. What fails in an actor's last words is nobody's loss: then nothing more is said.
func (m *member) expectStop() {
	if m.world.inSystemMessage {
		return
	}
	var look func()
	look = func() {
		if held := max(m.pausedUntil, m.disk.stalledUntil) - m.world.now; held > 0 {
			m.after(held+stopDeadline, look)
			return
		}
		m.world.Fail("fault stops the node", "member %d goes on %v after an operation of its disk has failed", m.id, stopDeadline)
	}
	m.after(stopDeadline, look)
}

// mayLoseDisk tells whether a member's disk may be damaged or lost for ever: within the budget only those of a minority.
func (w *World) mayLoseDisk(m *member) bool {
	if m.disk.damaged {
		return false
	}
	doomed := 1
	for _, other := range w.members {
		if other.disk.damaged {
			doomed++
		}
	}
	return w.profile.BeyondBudget || doomed <= (w.size-1)/2
}

// quorumPossible tells whether a majority can be up.
func (w *World) quorumPossible() bool {
	left := 0
	for _, m := range w.members {
		if !m.permanentlyDown {
			left++
		}
	}
	return left > w.size/2
}
