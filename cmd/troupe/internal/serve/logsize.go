package serve

import (
	"time"

	"github.com/rs/zerolog"
)

// The log is not compacted in this version, so that whoever runs a server for long has to know how large it has become:
// once at the first size, and again each time it has doubled.
const (
	firstLogWarning = 4 << 30
	logLookEvery    = 30 * time.Second
)

// logSize remembers which size was warned of last.
type logSize struct {
	next int64 // the size from which on to warn
}

// due tells whether a log of this size is worth a warning now.
func (s *logSize) due(bytes int64) bool {
	if s.next == 0 {
		s.next = firstLogWarning
	}
	if bytes < s.next {
		return false
	}
	for s.next <= bytes {
		s.next *= 2
	}
	return true
}

// watchLogSize warns until done is closed.
func watchLogSize(done <-chan struct{}, size func() int64, log zerolog.Logger) {
	ticker := time.NewTicker(logLookEvery)
	defer ticker.Stop()
	var s logSize
	for {
		if bytes := size(); s.due(bytes) {
			log.Warn().Int64("bytes", bytes).Int64("next-warning", s.next).
				Msg("the log is large, and is not compacted in this version: see that the disk has room, and that a restart may take its time")
		}
		select {
		case <-ticker.C:
		case <-done:
			return
		}
	}
}
