package world

import (
	"errors"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// A run of a member begins with Boot. It ends by kill -9 (KillProcess), by a power cut between two
// messages (PowerCut) or in the middle of an operation of the disk (powerCutMidMessage,
// finishPowerCut), or because the node stops by itself (stopped).

const (
	DataDir = "/data"
	LogDir  = DataDir + "/" + persistence.LogDirName
)

// IdentityPath is the path of the identity file.
func (d *disk) IdentityPath() string { return DataDir + "/" + persistence.IdentityFile }

func (m *Member) firstBoot() {
	if !m.NotStarted && !m.up {
		m.Boot()
	}
}

// Restart begins another run, unless the member is up, stays down, or was shut down in order.
func (m *Member) Restart() {
	if !m.up && !m.PermanentlyDown && !m.shuttingDown {
		m.Boot()
	}
}

// Boot begins a run on the disk as the last run left it. The node is built by the production code.
func (m *Member) Boot() {
	w := m.world
	if wait := m.Disk.StalledUntil - w.now; wait > 0 {
		w.After(wait, m.Restart)
		return
	}
	m.RunNumber++
	m.up = true
	m.Mailboxes, m.peers, m.View, m.PausedUntil, m.timers = nil, map[peerRole]*actor.PID{}, actors.NodeView{}, 0, nil
	m.whenStopped, m.linkPeers, m.linksClosed, m.actorsAwaited, m.peersKnown, m.met = nil, nil, false, false, false, map[raft.Start]bool{}
	m.Embedder = &embedder{member: m, runNumber: m.RunNumber, maxPending: w.sessionLimits.MaxPendingRequests}
	if m.application != nil {
		m.application.RunStarts()
	}
	w.Checker.MemberStarts(m, w.NodeLimits(), w.replicatorLimits())
	node, err := member.Open(m.config(), host{m})
	switch {
	case m.imageAfterCut != nil:
		m.finishPowerCut()
		return
	case err != nil:
		m.stopped(err)
		return
	}
	m.node, m.identity, m.Embedder.Session = node, node.Identity(), node.Session()
	m.copyDisk()
	w.events.started(m)
	if err := node.Start(); err != nil {
		w.Fail("start", "member %d does not start: %v", m.id, err)
	}
	for _, other := range w.Members {
		w.reportLink(m, other)
	}
}

// The sizes of the log's segments.
const (
	firstSegmentBytes = 32 << 10
	segmentBytes      = 64 << 10
)

// LogOptions implements checker.Member. The options do not come from the node, so that the checker
// notices a node that opens another log.
func (m *Member) LogOptions() persistence.Options {
	return persistence.Options{
		Dir: LogDir, NodeID: m.id, StorageID: m.identity.StorageID, MustExist: true,
		FirstSegmentBytes: firstSegmentBytes, SegmentBytes: segmentBytes, LowWater: LowWaterBytes,
	}
}

// PowerCut ends this run. choose decides about every write that was not synced.
func (m *Member) PowerCut(choose vfs.CrashChoice) { m.endRun(m.Disk.crashImage(choose)) }

// KillProcess ends this run as kill -9 does: everything written can still be read, and may still be
// lost in a power cut.
func (m *Member) KillProcess() { m.endRun(m.Disk.KillClone()) }

// powerCutMidMessage cuts the power during a message, at an operation of the disk. Nothing that the
// actor does after that has an effect: its run has ended, and its disk is frozen. finishPowerCut
// cleans up after the message.
func (m *Member) powerCutMidMessage(choose vfs.CrashChoice) {
	m.world.Counts.CutMidway++
	m.imageAfterCut = m.Disk.crashImage(choose)
	m.Disk.Freeze()
	m.RunNumber++
}

func (m *Member) finishPowerCut() {
	after := m.imageAfterCut
	m.imageAfterCut = nil
	m.RunNumber-- // powerCutMidMessage has ended it
	m.endRun(after)
	m.world.After(m.world.downtime(), m.Restart)
}

func (m *Member) endRun(after *vfs.MemFS) {
	m.RunNumber++
	m.up = false
	if m.returns {
		m.shuttingDown, m.returns = false, false
	}
	m.world.events.killed(m)
	m.clearOutboxes("sender has stopped")
	m.Disk.Freeze()
	m.Disk.Attach(after)
	if m.application != nil {
		m.application.RunEnds()
	}
	if m.MachineDisk != nil {
		m.MachineDisk.LoseNewest(int(m.world.Random.Int64N(3)) + m.MachineDisk.unflushed)
		m.MachineDisk.unflushed, m.MachineDisk.firstError = 0, nil
	}
	if m.system != nil {
		for _, b := range m.Mailboxes {
			m.system.ProcessRegistry.Remove(b.self)
		}
		m.system.ProcessRegistry.Remove(m.system.NewLocalPID(sessionName))
		actorSystems.Put(m.system)
	}
	m.system, m.node, m.Mailboxes, m.timers = nil, nil, nil, nil
	m.Applied, m.replica, m.machineOpen = 0, history.Replica{}, false
	m.Embedder.terminate()
	for _, other := range m.world.Members {
		m.world.reportLink(m, other)
	}
}

// Stop is why a node stopped by itself.
type Stop int

const (
	StopStorage  Stop = iota // the disk failed
	StopNoSpace              // the disk was full
	StopRefused              // what is on disk cannot be trusted
	StopRestarts             // more restarts than the limit
	StopState                // the state machine found its files damaged
	StopReplaced             // a peer refuses its data directory
	StopOther                // anything else: a bug

	stopKinds = iota
)

var stopNames = [stopKinds]string{"storage-fault", "no-space", "refused-damage", "too-many-restarts", "damaged-state", "replaced-directory", "other"}

func (s Stop) String() string { return stopNames[s] }

func (m *Member) stopReason(err error) Stop {
	var storage *actors.StorageError
	var fatal *actors.FatalError
	var refused *actors.StorageRefusedError
	switch {
	case errors.As(err, &refused):
		return StopReplaced
	case errors.Is(err, ErrStateDamaged):
		return StopState
	case errors.Is(err, persistence.ErrCorrupt), errors.Is(err, persistence.ErrFormat), errors.Is(err, persistence.ErrWrongMember),
		errors.Is(err, persistence.ErrWrongCluster):
		return StopRefused
	case vfs.IsNoSpace(err):
		return StopNoSpace
	case errors.As(err, &storage), errors.Is(err, syscall.EIO):
		return StopStorage
	case errors.As(err, &fatal) && m.node != nil && m.node.Restarts() > m.world.RestartLimit.Max:
		return StopRestarts
	case m.Disk.Damaged:
		return StopRefused
	}
	return StopOther
}

// stopped handles the end of a node that stopped by itself, as an operator would. After a transient
// fault the node is started again, on the disk as it was or after a restart of the machine. A node
// that refuses its disk is started once more at times, and then stays down: it cannot be added to
// the cluster anew.
func (m *Member) stopped(err error) {
	if m.shuttingDown && err == nil {
		if m.returns {
			m.world.After(m.world.downtime(), m.Restart)
		}
		m.KillProcess()
		return
	}
	w, why := m.world, m.stopReason(err)
	m.StopError = err
	w.Counts.Stops[why]++
	w.events.stopped(m, why.String())
	if (why == StopStorage || why == StopNoSpace) && !m.Disk.failed || why == StopRefused && !m.Disk.Damaged && !m.Disk.readFlipped ||
		why == StopReplaced && !m.refused && !w.Checker.Forgot(m.id) && !m.Disk.lostSynced || why == StopOther {
		w.Fail("stop has a cause", "member %d stops though nothing was wrong with its disk: %v", m.id, err)
	}
	wrong := m.Disk.Damaged // it is permanent
	if w.Chance(0.5) {
		m.PowerCut(w.randomChoice())
	} else {
		m.KillProcess()
	}
	switch why {
	case StopState:
		m.ResetStateMachine()
	case StopReplaced:
		m.refused = true
		if m.RefusedStarts > 0 { // by a supervisor that restarts whatever ends
			m.RefusedStarts--
		} else {
			m.EmptyDisk(true)
		}
	}
	if why == StopRefused && wrong && (w.Healing || w.Chance(0.7)) {
		m.PermanentlyDown = true
		return
	}
	w.After(w.downtime(), m.Restart)
}

// ShutDown stops the process in order, as by SIGTERM. If it returns, it starts again later.
func (m *Member) ShutDown(returns bool) {
	m.shuttingDown, m.returns = true, returns
	m.node.Stop(ElectionTimeout)
}

// finishRun does what follows the end of the last actor: the node releases its resources, and the
// process ends.
func (m *Member) finishRun() {
	m.whenStopped()
	m.Embedder.poll()
	m.checkReleased()
	m.stopped(m.node.Err())
}

// checkReleased checks what a node that has stopped leaves behind. A program may start the next one
// on the same data directory at once.
func (m *Member) checkReleased() {
	lock, err := m.Disk.Lock(DataDir + "/LOCK")
	switch {
	case !m.linksClosed || !m.actorsAwaited:
		m.world.Fail("released in order", "member %d has stopped; links closed: %v; actors awaited: %v", m.id, m.linksClosed, m.actorsAwaited)
	case err != nil && !errors.Is(err, vfs.ErrFrozen): // a frozen disk has lost its power
		m.world.Fail("released in order", "member %d has stopped, and its data directory is still locked: %v", m.id, err)
	case len(m.Embedder.calls) > 0:
		m.world.Fail("released in order", "member %d has stopped, and %d requests at it are pending", m.id, len(m.Embedder.calls))
	}
	if err == nil {
		lock.Close()
	}
}

// downtime is how long a member stays down.
func (w *World) downtime() time.Duration {
	if w.Chance(0.3) {
		return w.RandomDuration(time.Second, 4*time.Second)
	}
	return w.RandomDuration(time.Millisecond, 200*time.Millisecond)
}

// randomChoice is what a power cut does to writes that were not synced.
func (w *World) randomChoice() vfs.CrashChoice {
	switch w.Random.IntN(4) {
	case 0:
		return vfs.LoseUnsynced
	case 1:
		return vfs.KeepUnsynced
	}
	return w.Random.IntN
}

// StopDeadline is how long a node may take to stop after an operation of its disk has failed (E5).
const StopDeadline = 5 * time.Second

// expectStop notes that an operation failed and the node must stop. Failures while an actor stops
// do not count: it sends nothing after that.
func (m *Member) expectStop() {
	if m.world.inSystemMessage {
		return
	}
	var look func()
	look = func() {
		if held := max(m.PausedUntil, m.Disk.StalledUntil) - m.world.now; held > 0 {
			m.after(held+StopDeadline, look)
			return
		}
		m.world.Fail("fault stops the node", "member %d still runs %v after an operation of its disk has failed", m.id, StopDeadline)
	}
	m.after(StopDeadline, look)
}

// mayLoseDisk reports whether the disk of a member may be damaged or lost for good: within the
// budget only disks of a minority may.
func (w *World) mayLoseDisk(m *Member) bool {
	return !m.Disk.Damaged && (w.Options.Profile.BeyondBudget || w.withinBudget(m))
}

// withinBudget reports whether the disks of a minority only are damaged or have forgotten what they
// held, if that of m is one of them.
func (w *World) withinBudget(m *Member) bool {
	doomed := 1
	for _, other := range w.Members {
		if other != m && (other.Disk.Damaged || other.relearns) {
			doomed++
		}
	}
	return doomed <= (w.Size-1)/2
}

// quorumPossible reports whether a majority can be up.
func (w *World) quorumPossible() bool {
	left := 0
	for _, m := range w.Members {
		if !m.PermanentlyDown && !m.relearns { // one that was emptied needs the others to rejoin
			left++
		}
	}
	return left > w.Size/2
}
