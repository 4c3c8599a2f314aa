package disk

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/internal/logonce"
)

// stallLog logs that writes wait for the engine: the 1st stall, the 2nd, the 4th and so on, when it
// begins and when it ends. Pebble calls it for one stall at a time.
type stallLog struct {
	log    zerolog.Logger
	stalls logonce.Counter
	began  time.Time // of a stall that is logged; else zero
}

// listen adds the callbacks.
func (s *stallLog) listen(l *pebble.EventListener) {
	l.WriteStallBegin = func(i pebble.WriteStallBeginInfo) {
		if stalls, allow := s.stalls.Add(); allow {
			s.began = time.Now()
			s.log.Warn().Str("reason", i.Reason).Uint64("stalls", stalls).
				Str("advice", "the disk is slower than the writes: reduce the load, or use a faster disk; see troupe_engine_layers and "+
					"troupe_engine_compaction_debt_bytes").
				Msg("writes wait for the storage engine")
		}
	}
	l.WriteStallEnd = func() {
		if !s.began.IsZero() {
			s.log.Info().Dur("waited", time.Since(s.began)).Msg("writes no longer wait for the storage engine")
			s.began = time.Time{}
		}
	}
}
