package persistence

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// markerSuffix ends the name of the segment marker: an empty file whose name says that the segment
// with that sequence existed. Every segment but the newest is named by its successor. Without the
// marker, the loss of the newest would leave a log that is valid but too short.
//
// Invariant: the marker gets its name after the name of its segment is durable. So a crash never
// leaves a marker without its segment. It may leave a segment without its marker: the marker is
// created at the first idle moment or together with a spare, so that no commit waits for it. The
// loss of a segment before that is not detected.
const markerSuffix = ".begun"

func markerName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, markerSuffix) }

// parseMarkerName returns the sequence in a marker's name.
func parseMarkerName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, markerSuffix)
	if !ok {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && markerName(sequence) == name
}

// writeMarker creates the marker of the active segment, or renames the one before to it. The caller
// syncs the directory. If the disk is full, it does nothing and is tried again later.
func (l *Log) writeMarker() error {
	next := l.active.segment.sequence
	if l.markedSegment == next {
		return nil
	}
	if l.markedSegment != 0 {
		if err := l.options.FS.Rename(l.path(markerName(l.markedSegment)), l.path(markerName(next))); err != nil {
			return err
		}
		l.markedSegment = next
		return nil
	}
	file, err := l.options.FS.Create(l.path(markerName(next)))
	if vfs.IsNoSpace(err) {
		return nil
	}
	if err != nil {
		return err
	}
	l.markedSegment = next
	return file.Close()
}

// ensureMarker makes the marker of the active segment durable.
func (l *Log) ensureMarker() error {
	if l.markedSegment == l.active.segment.sequence {
		return nil
	}
	err := l.writeMarker()
	if err == nil {
		err = l.options.FS.SyncDir(l.options.Dir)
	}
	if err != nil {
		return l.latch("create the segment marker", err)
	}
	return nil
}
