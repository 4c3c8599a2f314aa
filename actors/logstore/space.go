package logstore

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
)

const (
	// spaceCheckBytes are written between two checks of the free space.
	spaceCheckBytes = 4 << 20
	// spaceCheckInterval is the time between two checks while the space is low, because no writes come
	// then.
	spaceCheckInterval = time.Second
)

// spaceMonitor is the state of the checks of the disk's free space.
type spaceMonitor struct {
	bytesSinceCheck int64
	low             bool // the free space was below the low-water mark at the last check
	timerArmed      bool // a spaceTimer is running
}

// checkSpace counts written bytes, checks the free space when a check is due, and reports a change
// to the Node (E8).
func (s *LogStore) checkSpace(ctx actor.Context, written int64) {
	if s.space.bytesSinceCheck += written; s.space.bytesSinceCheck < spaceCheckBytes {
		return
	}
	s.space.bytesSinceCheck = 0
	if low := s.log.DiskLow(); low != s.space.low {
		s.space.low = low
		s.reportDiskLow(ctx)
	}
	if s.space.low && !s.space.timerArmed {
		s.space.timerArmed = true
		s.startTimer(ctx, spaceCheckInterval, spaceTimer)
	}
}

func (s *LogStore) reportDiskLow(ctx actor.Context) {
	event, text := s.env.Log().Info(), "disk space is above the low-water mark again"
	if s.space.low {
		event, text = s.env.Log().Warn(), "disk space is below the low-water mark, refusing writes"
		event.Str("advice", "make room on the disk of this directory; writes are then accepted again")
	}
	event.Str("actor", actors.LogStoreName).Str("dir", s.config.Log.Dir).Msg(text)
	s.sendDurable(ctx)
	s.publishState()
}
