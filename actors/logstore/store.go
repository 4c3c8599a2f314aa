// Package logstore holds the LogStore, which is the only writer of the log, and its child the
// LogReader.
package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
)

// Config configures a LogStore.
type Config struct {
	// Incarnation of the node's actors: messages of another one are dropped.
	Incarnation uint64
	// Log names the directory and the owner of the log. A nil FS is taken from the environment.
	Log persistence.Options
	// batchBytes is the size at which a batch is written without waiting for its Flush. 0: 16 MiB.
	batchBytes int64
	// idleAfter is the time without a write after which the log counts as idle. 0: 10 ms.
	idleAfter time.Duration
}

// A batch that waits is below LogWriteBytes, and one Append adds at most MaxBatchBytes of entries
// or a single one of any size, with 8 bytes for each in the table of the frame. This does not
// compile if a frame of the log could not hold that.
const _ uint64 = persistence.MaxBatchBytes - 9*(defaults.LogWriteBytes+defaults.MaxBatchBytes) - raft.MaxEntryBytes

// firstSizeWarning is the size of the log at which the operator is warned, since this version never
// compacts it. Each further warning comes at twice the size of the one before.
const firstSizeWarning = 1 << 30

// LogStore is the actor that makes the log durable. No other actor sends what a sync must precede
// (persist before send).
//
//	owns        the log of this member: entries, term, vote, commit index as last written
//	receives    Append from the Node; Flush and Tick from itself
//	sends       Recovered and Durable to the Node; deferred messages to their receivers
//	persists    everything it receives in an Append
//	on restart  only with the whole node, from disk; nobody relies on what was not synced,
//	            because it was not reported. A failed write or sync stops the node (E5)
//
// # Group commit
//
// A sync takes as long for one append as for a hundred, so the LogStore syncs what has queued up,
// without a timer:
//
//	handled   mailbox then   batch
//	          A1 A2 A3                   the queue when the sync before ends
//	A1        A2 A3 Flush    A1          first of a batch: the LogStore sends itself a Flush
//	A2, A3    Flush A4       A1 A2 A3    they were sent before the Flush
//	Flush     A4 A5                      one frame, one write, one sync; A5 arrived meanwhile
//	A4        A5 Flush       A4          and so on
//
// A batch is thus what arrived during the sync of the batch before it. An append on an idle disk is
// written at once; the slower the disk, the larger the batches, up to batchBytes. A batch of that
// size is written without its Flush, which then finds nothing to do.
//
// After the sync the deferred messages leave in the order of their appends, then the Node receives
// Durable for the marks of the batch. All of a batch survives a crash, or nothing of it, because it
// is one frame.
//
// An append that holds only a newer commit index starts no batch. It is written with the next one,
// or when the log is idle, because losing it is harmless.
type LogStore struct {
	env    actors.Env
	config Config
	log    *persistence.Log
	node   *actor.PID

	flushPending bool // a Flush is in the mailbox
	batch        batch
	lastReported *messages.AppendMark // of the newest Durable

	idleWork    idleWork
	space       spaceMonitor
	sizeWarning int64 // the size of the log at which the next warning is due
}

// New makes the producer of a LogStore, which the Node spawns as a child named actors.LogStoreName.
func New(env actors.Env, config Config) actor.Producer {
	if config.Log.FS == nil {
		config.Log.FS = env.FS()
	}
	config.batchBytes = cmp.Or(config.batchBytes, defaults.LogWriteBytes)
	config.idleAfter = cmp.Or(config.idleAfter, defaults.LogIdleAfter)
	return func() actor.Actor {
		return &LogStore{env: env, config: config, sizeWarning: firstSizeWarning}
	}
}

// Receive handles one message.
func (s *LogStore) Receive(ctx actor.Context) {
	if actors.IsStale(ctx.Message(), s.config.Incarnation) {
		return
	}
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.open(ctx)
	case *actor.Stopping:
		s.close(true)
	case *actor.Restarting:
		s.close(false)
	case *messages.Append:
		s.append(ctx, m)
	case *messages.Flush:
		s.flushPending = false
		s.syncBatch(ctx)
	case *messages.Tick:
		s.tick(ctx, m.Timer)
	}
}

func (s *LogStore) open(ctx actor.Context) {
	s.node = ctx.Parent()
	began := s.env.Now()
	log, found, err := persistence.Open(s.config.Log)
	s.check("open the log", err)
	s.log = log
	for _, warning := range found.Warnings {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Msg(warning)
	}
	stats := log.Stats()
	s.env.Log().Info().Str("actor", actors.LogStoreName).Str("dir", s.config.Log.Dir).
		Uint64("first", stats.FirstIndex).Uint64("last", stats.LastIndex).Uint64("term", found.HardState.Term).
		Int("segments", stats.Segments).Int64("bytes", stats.DiskBytes).Bool("direct-io", stats.DirectIO).
		Dur("took", s.env.Now()-began).Msg("log opened")
	reader := func() actor.Actor {
		return &LogReader{incarnation: s.config.Incarnation, reader: log.Reader(), env: s.env}
	}
	if _, err := ctx.SpawnNamed(s.env.Props(reader), actors.LogReaderName); err != nil {
		panic(fmt.Sprintf("spawn the log reader: %v", err))
	}
	s.space.low = log.DiskLow()
	// Recovered reports what is durable. A mark with the same index would be wrong after a
	// truncation.
	s.lastReported = &messages.AppendMark{}
	s.publishState()
	ctx.Send(s.node, recovered(s.config.Incarnation, found))
	if s.space.low {
		s.reportDiskLow(ctx)
	}
}

func recovered(incarnation uint64, found *persistence.Recovery) *messages.Recovered {
	return &messages.Recovered{
		Incarnation: incarnation, HardState: found.HardState, BaseIndex: found.BaseIndex, BaseTerm: found.BaseTerm,
		LastIndex: found.LastIndex, Runs: found.Runs, BaseConfiguration: found.BaseConfiguration, Configurations: found.Configurations,
	}
}

// check panics with a StorageError if an operation on the log failed.
func (s *LogStore) check(operation string, err error) {
	if err != nil {
		panic(&actors.StorageError{Operation: operation + " in " + s.config.Log.Dir, Err: err})
	}
}

// close closes the files. An orderly stop writes the commit index first; if that fails, nothing is
// lost but work at the next start.
func (s *LogStore) close(orderly bool) {
	if s.log == nil {
		return
	}
	if orderly {
		if err := s.log.Idle(); err != nil && !errors.Is(err, persistence.ErrLogFailed) {
			s.env.Log().Warn().Str("actor", actors.LogStoreName).Err(err).Msg("write before closing the log failed")
		}
	}
	if err := s.log.Close(); err != nil {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Err(err).Msg("closing the log failed")
	}
	s.log = nil
}

// append adds an Append to the batch, and makes sure that the batch will be written if that is
// needed.
func (s *LogStore) append(ctx actor.Context, m *messages.Append) {
	err := s.log.Add(m.TruncateFrom, m.Entries, m.HardState)
	var invariant *persistence.InvariantError
	if errors.As(err, &invariant) {
		panic(fmt.Sprintf("append with mark %v: %v", m.Mark, err))
	}
	s.check("append to the log", err)
	s.batch.add(m)
	if !needsSync(m) {
		s.armIdleTimer(ctx)
		return
	}
	if s.log.PendingBytes() >= s.config.batchBytes {
		s.syncBatch(ctx)
		return
	}
	if !s.flushPending {
		s.flushPending = true
		ctx.Send(ctx.Self(), &messages.Flush{Incarnation: s.config.Incarnation})
	}
}

// needsSync reports whether something waits for the Append to be durable. Nothing waits for a
// commit index alone.
func needsSync(m *messages.Append) bool {
	return m.NeedsSync || m.Notify || m.TruncateFrom != 0 || len(m.Deferred) > 0 || len(m.GetEntries().GetData()) > 0
}

// syncBatch makes the batch durable, then sends what was waiting for that.
func (s *LogStore) syncBatch(ctx actor.Context) {
	if !s.batch.needsSync {
		return // it reached batchBytes and was written then
	}
	bytes, began := s.log.PendingBytes(), s.env.Now()
	s.check("append to the log", s.makeDurable())
	s.idleWork.lastWrite = s.env.Now()
	for _, deferred := range s.batch.deferred {
		if deferred != nil {
			s.sendDeferred(ctx, deferred)
		}
	}
	for _, mark := range s.batch.marks {
		s.lastReported = mark
		s.sendDurable(ctx)
	}
	if observer := s.env.Observer(); observer != nil {
		observer.Synced(s.batch.entries, int(bytes), s.idleWork.lastWrite-began)
	}
	s.batch.reset()
	s.checkSpace(ctx, bytes)
	s.publishState()
	s.armIdleTimer(ctx)
	if s.log.SpareDue() {
		s.scheduleSpare(ctx)
	}
}

// makeDurable writes and syncs the batch. If the batch changes nothing, as when an idle leader
// tests its disk, the disk is tested without the log growing.
func (s *LogStore) makeDurable() error {
	if s.log.PendingIsRedundant() {
		return s.log.ProbeDisk()
	}
	return s.log.Commit()
}

// sendDeferred sends one deferred message, to this node or to a peer.
func (s *LogStore) sendDeferred(ctx actor.Context, d *messages.DeferredMessage) {
	message := d.Envelope.PeerMessage()
	if message == nil {
		panic(fmt.Sprintf("deferred message to %#x is empty", d.To))
	}
	to := s.node
	if d.To != s.env.ID() {
		to = s.env.PeerPID(d.To, d.Envelope.Receiver)
	}
	ctx.Send(to, message)
}

// sendDurable reports lastReported, and whether the disk is low, to the Node.
func (s *LogStore) sendDurable(ctx actor.Context) {
	ctx.Send(s.node, &messages.Durable{Incarnation: s.config.Incarnation, Mark: s.lastReported, DiskLow: s.space.low})
}

func (s *LogStore) publishState() {
	stats := s.log.Stats()
	if stats.DiskBytes >= s.sizeWarning {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Int64("bytes", stats.DiskBytes).Uint64("entries", stats.LastIndex+1-stats.FirstIndex).
			Msg("log is large: this version does not compact it, and replays all of it into an in-memory state machine at each start")
		for s.sizeWarning <= stats.DiskBytes {
			s.sizeWarning *= 2
		}
	}
	if observer := s.env.Observer(); observer != nil {
		observer.LogStore(actors.LogStoreView{
			Incarnation: s.config.Incarnation, HardState: stats.HardState, FirstIndex: stats.FirstIndex, LastIndex: stats.LastIndex,
			Segments: stats.Segments, DiskBytes: stats.DiskBytes, DiskLow: s.space.low,
		})
	}
}
