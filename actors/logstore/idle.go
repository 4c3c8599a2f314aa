package logstore

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// What the LogStore does when nobody waits for it: the frame that says all is durable, spare segments, a look at the space.

func (s *LogStore) startTimer(ctx actor.Context, d time.Duration, timer uint64) {
	s.env.After(d, ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: timer})
}

// armIdleTimer keeps one timer under way, however many writes there are: it finds out itself whether it was idle long enough.
func (s *LogStore) armIdleTimer(ctx actor.Context) {
	if !s.idleTimerArmed {
		s.idleTimerArmed = true
		s.startTimer(ctx, s.config.idleAfter, idleTimer)
	}
}

func (s *LogStore) tick(ctx actor.Context, timer uint64) {
	switch timer {
	case idleTimer:
		s.idleTimerArmed = false
		s.idle(ctx)
	case spareTimer:
		s.sparePending = false
		s.prepareSpare(ctx)
	case spaceTimer:
		s.spaceTimerArmed = false
		s.checkSpace(ctx, spaceCheckBytes)
	}
}

func (s *LogStore) idle(ctx actor.Context) {
	if s.flushPending {
		s.armIdleTimer(ctx)
		return
	}
	if quiet := s.env.Now() - s.lastWrite; quiet < s.config.idleAfter {
		s.idleTimerArmed = true
		s.startTimer(ctx, s.config.idleAfter-quiet, idleTimer)
		return
	}
	if err := s.log.Idle(); err != nil {
		panic(&actors.StorageError{Operation: "write to the log in " + s.config.Log.Dir, Err: err})
	}
	s.batch.reset()
	s.publishState()
	s.checkSpace(ctx, spaceCheckBytes)
	s.scheduleSpare(ctx)
}

// scheduleSpare asks itself for one piece of a spare segment: behind what is in the mailbox now, before what comes later.
func (s *LogStore) scheduleSpare(ctx actor.Context) {
	if !s.sparePending {
		s.sparePending = true
		ctx.Send(ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: spareTimer})
	}
}

func (s *LogStore) prepareSpare(ctx actor.Context) {
	worked, err := s.log.PrepareSpare()
	if err != nil {
		panic(&actors.StorageError{Operation: "make a spare segment in " + s.config.Log.Dir, Err: err})
	}
	// While the log is busy the next piece follows its next batch, if it falls behind; while it is idle, at once.
	if worked && s.env.Now()-s.lastWrite >= s.config.idleAfter {
		s.scheduleSpare(ctx)
	}
}

// checkSpace looks at the free space now and then, and tells the Node when it gets low, or recovers.
func (s *LogStore) checkSpace(ctx actor.Context, written int64) {
	if s.bytesSinceSpaceCheck += written; s.bytesSinceSpaceCheck < spaceCheckBytes {
		return
	}
	s.bytesSinceSpaceCheck = 0
	if low := s.log.DiskLow(); low != s.diskLow {
		s.diskLow = low
		s.reportDiskLow(ctx)
	}
	if s.diskLow && !s.spaceTimerArmed {
		s.spaceTimerArmed = true
		s.startTimer(ctx, spaceCheckInterval, spaceTimer)
	}
}

func (s *LogStore) reportDiskLow(ctx actor.Context) {
	if s.diskLow {
		s.env.Log().Warn().Str("actor", actors.LogStoreName).Str("dir", s.config.Log.Dir).
			Msg("disk space is below the low-water mark: writes are refused until there is room again")
	} else {
		s.env.Log().Info().Str("actor", actors.LogStoreName).Str("dir", s.config.Log.Dir).Msg("disk space is above the low-water mark again")
	}
	ctx.Send(s.node, &messages.Durable{Incarnation: s.config.Incarnation, Mark: s.lastReported, DiskLow: s.diskLow})
	s.publishState()
}
