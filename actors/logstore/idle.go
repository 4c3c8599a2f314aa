package logstore

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// What the LogStore does when nobody waits for it: the frame that says all is durable, spare segments, a look at the space.

func (s *LogStore) after(ctx actor.Context, d time.Duration, timer uint64) {
	s.env.After(d, ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: timer})
}

// armIdle keeps one timer under way, however many writes there are: it finds out itself whether it was idle long enough.
func (s *LogStore) armIdle(ctx actor.Context) {
	if !s.idleArmed {
		s.idleArmed = true
		s.after(ctx, s.config.IdleAfter, idleTimer)
	}
}

func (s *LogStore) tick(ctx actor.Context, timer uint64) {
	switch timer {
	case idleTimer:
		s.idleArmed = false
		s.idle(ctx)
	case spareTimer:
		s.sparing = false
		s.prepareSpare(ctx)
	case spaceTimer:
		s.spaceArmed = false
		s.checkSpace(ctx, spaceCheckBytes)
	}
}

func (s *LogStore) idle(ctx actor.Context) {
	if s.collecting {
		s.armIdle(ctx)
		return
	}
	if quiet := s.env.Now() - s.lastWrite; quiet < s.config.IdleAfter {
		s.idleArmed = true
		s.after(ctx, s.config.IdleAfter-quiet, idleTimer)
		return
	}
	if err := s.log.Idle(); err != nil {
		panic(&actors.StorageFault{Doing: "write to the log in " + s.config.Log.Dir, Err: err})
	}
	s.batch.reset()
	s.view()
	s.checkSpace(ctx, spaceCheckBytes)
	s.spareSoon(ctx)
}

// spareSoon asks itself for one piece of a spare segment: behind what is in the mailbox now, before what comes later.
func (s *LogStore) spareSoon(ctx actor.Context) {
	if !s.sparing {
		s.sparing = true
		ctx.Send(ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: spareTimer})
	}
}

func (s *LogStore) prepareSpare(ctx actor.Context) {
	worked, err := s.log.PrepareSpare()
	if err != nil {
		panic(&actors.StorageFault{Doing: "make a spare segment in " + s.config.Log.Dir, Err: err})
	}
	// While the log is busy the next piece follows its next batch, if it falls behind; while it is idle, at once.
	if worked && s.env.Now()-s.lastWrite >= s.config.IdleAfter {
		s.spareSoon(ctx)
	}
}

// checkSpace looks at the free space now and then, and tells the Node when it gets low, or recovers.
func (s *LogStore) checkSpace(ctx actor.Context, written int64) {
	if s.unchecked += written; s.unchecked < spaceCheckBytes {
		return
	}
	s.unchecked = 0
	if low := s.log.DiskLow(); low != s.diskLow {
		s.diskLow = low
		s.tellDiskLow(ctx)
	}
	if s.diskLow && !s.spaceArmed {
		s.spaceArmed = true
		s.after(ctx, spaceCheckInterval, spaceTimer)
	}
}

func (s *LogStore) tellDiskLow(ctx actor.Context) {
	if s.diskLow {
		s.env.Log().Warn().Str("actor", actors.LogName).Str("dir", s.config.Log.Dir).
			Msg("disk space is below the low-water mark: writes are refused until there is room again")
	} else {
		s.env.Log().Info().Str("actor", actors.LogName).Str("dir", s.config.Log.Dir).Msg("disk space is above the low-water mark again")
	}
	ctx.Send(s.node, &messages.Durable{Incarnation: s.config.Incarnation, Mark: s.lastMark, DiskLow: s.diskLow})
	s.view()
}
