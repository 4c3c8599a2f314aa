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
const markSuffix = ".begun"

func markName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, markSuffix) }

// markSequence reads the number from a mark's name.
func markSequence(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, markSuffix)
	if !ok {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && markName(sequence) == name
}

// mark says that the active segment was begun; the sync of the directory is the caller's. There is one mark at a time.
func (l *Log) mark() error {
	next := l.catalog.active.sequence
	if l.marked == next {
		return nil
	}
	if l.marked != 0 {
		if err := l.o.FS.Rename(l.path(markName(l.marked)), l.path(markName(next))); err != nil {
			return err
		}
		l.marked = next
		return nil
	}
	file, err := l.o.FS.Create(l.path(markName(next)))
	if vfs.IsNoSpace(err) {
		return nil // it is tried again
	}
	if err != nil {
		return err
	}
	l.marked = next
	return file.Close()
}

// markIdle has the mark made where it is not there yet.
func (l *Log) markIdle() error {
	if l.marked == l.catalog.active.sequence {
		return nil
	}
	err := l.mark()
	if err == nil {
		err = l.o.FS.SyncDir(l.o.Dir)
	}
	if err != nil {
		return l.fail("mark a segment", err)
	}
	return nil
}

// checkMarks holds what is there against what was begun. All marks but the newest are leftovers.
func (r *recovered) checkMarks(marks []uint64, newest uint64) error {
	for _, sequence := range marks {
		r.marked = max(r.marked, sequence)
	}
	for _, sequence := range marks {
		if sequence != r.marked {
			r.leftover = append(r.leftover, r.o.path(markName(sequence)))
		}
	}
	if r.marked > newest && !r.o.running {
		return corrupt(r.o.path(segmentName(r.marked)), 0, "the file is missing: it was begun, as %s says, and may hold the end of the log", markName(r.marked))
	}
	return nil
}
