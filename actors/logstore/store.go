// Package logstore holds the LogStore, the only writer of the log, and its child the LogReader.
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
)

// Config of a LogStore.
type Config struct {
	// Incarnation of the subtree: messages of another are dropped.
	Incarnation uint64
	// Log says where the log is, and whose. FS is taken from the environment where it is nil.
	Log persistence.Options
	// batchBytes ends a batch before its Flush comes: what a single write may hold up. Default 16 MiB.
	batchBytes int64
	// idleAfter is how long nothing must have been written for an idle frame and for making spares. Default 10 ms.
	idleAfter time.Duration
}

const (
	// How often the free space is looked at: by what was written since, and, while it is low, by time.
	spaceCheckBytes    = 4 << 20
	spaceCheckInterval = time.Second
	// The log is not compacted yet, so a person should hear when it has grown large, and each time it has doubled.
	firstSizeWarning = 1 << 30
)

// The timers of a LogStore, as numbers in messages.Tick.
const (
	idleTimer uint64 = iota + 1
	spareTimer
	spaceTimer
)

// LogStore is the actor that makes things durable, and only then lets them be said (write, then speak).
//
// owns:     the log of this member: entries, term, vote, the commit index as last written
// hears:    Append from Node; Flush and Tick from itself
// says:     Recovered and Durable to Node; to anyone the promises that came with an Append
// persists: everything, before it says anything about it
// on a crash: of the disk: never retried, the node stops (E5). Of ours: what was not synced was not spoken of, so nothing
// is forgotten that somebody relies on; the whole subtree starts anew from the disk.
//
// Group commit needs no clock: the first urgent Append makes the LogStore send itself a Flush. Every Append that stood in
// the mailbox before it joins the batch; one frame, one write and one sync serve them all, while the next batch queues up.
type LogStore struct {
	env    actors.Env
	config Config
	log    *persistence.Log
	node   *actor.PID

	flushPending bool // a Flush is under way
	batch        batch
	lastReported *messages.AppendMark // the newest that Node was told

	lastWrite            time.Duration
	idleTimerArmed       bool
	sparePending         bool // a spareTimer is under way
	bytesSinceSpaceCheck int64
	diskLow              bool
	spaceTimerArmed      bool

	sizeWarning int64
}

// New makes the producer of a LogStore. Node spawns it as a child named actors.LogName.
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

// Receive is the actor's one way in.
func (s *LogStore) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.open(ctx)
	case *actor.Stopping:
		s.close(true)
	case *actor.Restarting:
		s.close(false)
	case *messages.Append:
		if m.Incarnation == s.config.Incarnation {
			s.append(ctx, m)
		}
	case *messages.Flush:
		if m.Incarnation == s.config.Incarnation {
			s.flushPending = false
			s.flush(ctx)
		}
	case *messages.Tick:
		if m.Incarnation == s.config.Incarnation {
			s.tick(ctx, m.Timer)
		}
	}
}

func (s *LogStore) open(ctx actor.Context) {
	s.node = ctx.Parent()
	began := s.env.Now()
	log, found, err := persistence.Open(s.config.Log)
	if err != nil {
		panic(&actors.StorageError{Operation: "open the log in " + s.config.Log.Dir, Err: err})
	}
	s.log = log
	for _, warning := range found.Warnings {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Msg(warning)
	}
	stats := log.Stats()
	s.env.Log().Info().Str("actor", actors.LogStoreName).Str("dir", s.config.Log.Dir).Uint64("first", stats.FirstIndex).Uint64("last", stats.LastIndex).
		Uint64("term", found.HardState.Term).Int("segments", stats.Segments).Int64("bytes", stats.DiskBytes).Bool("direct-io", stats.DirectIO).
		Dur("took", s.env.Now()-began).Msg("log opened")
	reader := func() actor.Actor {
		return &LogReader{incarnation: s.config.Incarnation, reader: log.Reader(), env: s.env}
	}
	if _, err := ctx.SpawnNamed(s.env.Props(reader), actors.LogReaderName); err != nil {
		panic(fmt.Sprintf("spawn the log reader: %v", err))
	}
	s.diskLow = log.DiskLow()
	s.lastReported = &messages.AppendMark{} // Recovered says what is durable; this one would not know what is truncated meanwhile
	s.publishState()
	ctx.Send(s.node, recovered(s.config.Incarnation, found))
	if s.diskLow {
		s.reportDiskLow(ctx)
	}
}

func recovered(incarnation uint64, found *persistence.Recovery) *messages.Recovered {
	return &messages.Recovered{
		Incarnation: incarnation, HardState: found.HardState, BaseIndex: found.BaseIndex, BaseTerm: found.BaseTerm,
		LastIndex: found.LastIndex, Runs: found.Runs, BaseConfiguration: found.BaseConfiguration, Configurations: found.Configurations,
	}
}

// close gives up the files. At an orderly end what is known goes to the disk first; a failure then is nobody's loss, since
// nothing more is said.
func (s *LogStore) close(orderly bool) {
	if s.log == nil {
		return
	}
	if orderly {
		if err := s.log.Idle(); err != nil && !errors.Is(err, persistence.ErrLogFailed) {
			s.env.Log().Warn().Str("actor", actors.LogStoreName).Err(err).Msg("the last write before the end failed")
		}
	}
	if err := s.log.Close(); err != nil {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Err(err).Msg("log not closed")
	}
	s.log = nil
}

// append takes a piece of durability into the batch.
func (s *LogStore) append(ctx actor.Context, m *messages.Append) {
	err := s.log.Add(m.TruncateFrom, m.Entries, m.HardState)
	var invariant *persistence.InvariantError
	if errors.As(err, &invariant) {
		panic(fmt.Sprintf("append with mark %v: %v", m.Mark, err))
	}
	if err != nil {
		panic(&actors.StorageError{Operation: "append to the log in " + s.config.Log.Dir, Err: err})
	}
	s.batch.add(m)
	if !needsSync(m) {
		s.armIdleTimer(ctx)
		return
	}
	if s.log.PendingBytes() >= s.config.batchBytes {
		s.flush(ctx)
		return
	}
	if !s.flushPending {
		s.flushPending = true
		ctx.Send(ctx.Self(), &messages.Flush{Incarnation: s.config.Incarnation})
	}
}

// urgent: somebody waits for this. What is not is a newer commit index, which goes along with the next write.
func needsSync(m *messages.Append) bool {
	return m.NeedsSync || m.Notify || m.TruncateFrom != 0 || len(m.Deferred) > 0 || len(m.GetEntries().GetData()) > 0
}

// flush makes the batch durable, then says what was waiting for that.
func (s *LogStore) flush(ctx actor.Context) {
	if !s.batch.needsSync {
		return // written already, because it was full
	}
	bytes, began := s.log.PendingBytes(), s.env.Now()
	if err := s.makeDurable(); err != nil {
		panic(&actors.StorageError{Operation: "append to the log in " + s.config.Log.Dir, Err: err})
	}
	s.lastWrite = s.env.Now()
	for _, promise := range s.batch.deferred {
		if promise != nil {
			s.sendDeferred(ctx, promise)
		}
	}
	for _, mark := range s.batch.marks {
		s.lastReported = mark
		ctx.Send(s.node, &messages.Durable{Incarnation: s.config.Incarnation, Mark: mark, DiskLow: s.diskLow})
	}
	if probe := s.env.Observer(); probe != nil {
		probe.Synced(s.batch.entries, int(bytes), s.lastWrite-began)
	}
	s.batch.reset()
	s.checkSpace(ctx, bytes)
	s.publishState()
	s.armIdleTimer(ctx)
	if s.log.SpareDue() {
		s.scheduleSpare(ctx)
	}
}

// write makes the batch durable. Where it says nothing new, as when an idle leader asks for a sign of life, the disk gives
// one without the log growing.
func (s *LogStore) makeDurable() error {
	if s.log.PendingIsRedundant() {
		return s.log.ProbeDisk()
	}
	return s.log.Commit()
}

// say sends what an Append promised. The LogStore only carries it: the words are Node's.
func (s *LogStore) sendDeferred(ctx actor.Context, p *messages.DeferredMessage) {
	message := p.Envelope.PeerMessage()
	if message == nil {
		panic(fmt.Sprintf("promise to %x without a message", p.To))
	}
	if p.To == s.env.ID() {
		ctx.Send(s.node, message)
		return
	}
	ctx.Send(s.env.PeerPID(p.To, p.Envelope.Role), message)
}

// view lets itself be seen.
func (s *LogStore) publishState() {
	stats := s.log.Stats()
	if stats.DiskBytes >= s.sizeWarning {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Int64("bytes", stats.DiskBytes).Uint64("entries", stats.LastIndex+1-stats.FirstIndex).
			Msg("the log is large and is not compacted in this version: give its disk room, restarts replay all of it into an in-memory state machine")
		for s.sizeWarning <= stats.DiskBytes {
			s.sizeWarning *= 2
		}
	}
	if probe := s.env.Observer(); probe != nil {
		probe.Log(actors.LogView{
			Incarnation: s.config.Incarnation, HardState: stats.HardState, FirstIndex: stats.FirstIndex, LastIndex: stats.LastIndex,
			Segments: stats.Segments, DiskBytes: stats.DiskBytes, DiskLow: s.diskLow,
		})
	}
}
