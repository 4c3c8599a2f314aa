package logstore

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

// The timers of a LogStore, as numbers in messages.Tick.
const (
	idleTimer uint64 = iota + 1
	spareTimer
	spaceTimer
)

// idleWork is the state of the work that waits for an idle log: a frame with the newest commit
// index, and spare segments.
type idleWork struct {
	lastWrite    time.Duration // when the last batch was durable
	timerArmed   bool          // an idleTimer is running: at most one, however many writes there are
	sparePending bool          // a spareTimer is in the mailbox
}

func (s *LogStore) startTimer(ctx actor.Context, d time.Duration, timer uint64) {
	s.env.After(d, ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: timer})
}

func (s *LogStore) tick(ctx actor.Context, timer uint64) {
	switch timer {
	case idleTimer:
		s.idleWork.timerArmed = false
		s.idle(ctx)
	case spareTimer:
		s.idleWork.sparePending = false
		s.prepareSpare(ctx)
	case spaceTimer:
		s.space.timerArmed = false
		s.checkSpace(ctx, spaceCheckBytes)
	}
}

// armIdleTimer starts the idle timer unless it runs. When it fires, idle looks how long the log has
// been idle.
func (s *LogStore) armIdleTimer(ctx actor.Context) {
	if !s.idleWork.timerArmed {
		s.idleWork.timerArmed = true
		s.startTimer(ctx, s.config.idleAfter, idleTimer)
	}
}

func (s *LogStore) isIdle() bool { return s.env.Now()-s.idleWork.lastWrite >= s.config.idleAfter }

func (s *LogStore) idle(ctx actor.Context) {
	if s.flushPending {
		s.armIdleTimer(ctx)
		return
	}
	if !s.isIdle() {
		s.idleWork.timerArmed = true
		s.startTimer(ctx, s.idleWork.lastWrite+s.config.idleAfter-s.env.Now(), idleTimer)
		return
	}
	s.check("write to the log", s.log.Idle())
	s.batch.reset()
	s.publishState()
	s.checkSpace(ctx, spaceCheckBytes)
	s.scheduleSpare(ctx)
}

// scheduleSpare makes the LogStore prepare one piece of a spare segment after what is in its
// mailbox at this time.
func (s *LogStore) scheduleSpare(ctx actor.Context) {
	if !s.idleWork.sparePending {
		s.idleWork.sparePending = true
		ctx.Send(ctx.Self(), &messages.Tick{Incarnation: s.config.Incarnation, Timer: spareTimer})
	}
}

// prepareSpare prepares one piece. While the log is idle the next one follows at once, otherwise
// after the next batch if it is due.
func (s *LogStore) prepareSpare(ctx actor.Context) {
	worked, err := s.log.PrepareSpare()
	s.check("make a spare segment", err)
	if worked && s.isIdle() {
		s.scheduleSpare(ctx)
	}
}
