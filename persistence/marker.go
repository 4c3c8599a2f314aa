package persistence

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// A mark is an empty file whose name says that the segment of that sequence was begun. Each segment is named by its
// successor; the newest one has none, so that without the mark its loss would leave a log that is right and too short.
//
// Invariant: a mark gets its name only after the name of its segment is durable. So a mark without its segment is never what
// a crash leaves. The other way round it may be: the mark comes at the first idle moment, or with a spare, whichever is
// sooner, so that no commit waits for it; what happens to a segment before that goes unnoticed still.
const markerSuffix = ".begun"

func markerName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, markerSuffix) }

// parseMarkerName reads the number from a mark's name.
func parseMarkerName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, markerSuffix)
	if !ok {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && markerName(sequence) == name
}

// mark says that the active segment was begun; the sync of the directory is the caller's. There is one mark at a time.
func (l *Log) writeMarker() error {
	next := l.published.active.sequence
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
		return nil // it is tried again
	}
	if err != nil {
		return err
	}
	l.markedSegment = next
	return file.Close()
}

// ensureMarker has the mark made where it is not there yet.
func (l *Log) ensureMarker() error {
	if l.markedSegment == l.published.active.sequence {
		return nil
	}
	err := l.writeMarker()
	if err == nil {
		err = l.options.FS.SyncDir(l.options.Dir)
	}
	if err != nil {
		return l.latch("mark a segment", err)
	}
	return nil
}

// checkMarkers holds what is there against what was begun. All marks but the newest are leftovers.
func (r *recoveryState) checkMarkers(marks []uint64, newest uint64) error {
	for _, sequence := range marks {
		r.markedSegment = max(r.markedSegment, sequence)
	}
	for _, sequence := range marks {
		if sequence != r.markedSegment {
			r.leftovers = append(r.leftovers, r.options.path(markerName(sequence)))
		}
	}
	if r.markedSegment > newest && !r.options.concurrentWriter {
		return corruptError(r.options.path(segmentName(r.markedSegment)), 0, "the file is missing: it was begun, as %s says, and may hold the end of the log", markerName(r.markedSegment))
	}
	return nil
}
