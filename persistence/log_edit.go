package persistence

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// logEdit is the effect of one frame on the log: it truncates the log to end before first, then
// appends `count` entries. A base also moves the log's first index.
type logEdit struct {
	offset         int64
	first, count   uint64
	runs           []termRun
	configurations []uint64 // indexes of the configuration entries
	base           *base
}

// setBatch sets the edit to that of a batch.
func (e *logEdit) setBatch(offset int64, first uint64, entries *messages.Entries) {
	e.offset, e.first, e.count, e.base = offset, first, uint64(len(entries.Data)), nil
	e.runs, e.configurations = e.runs[:0], e.configurations[:0]
	for _, r := range entries.Runs {
		e.runs = append(e.runs, termRun{r.FirstIndex, r.Term})
	}
	for i, data := range entries.Data {
		if isConfiguration(data) {
			e.configurations = append(e.configurations, first+uint64(i))
		}
	}
}

// decodeEdit sets e to the edit of a frame. b is the whole frame.
func (f *frameHeader) decodeEdit(b []byte, e *logEdit) error {
	e.offset, e.first, e.count, e.base = int64(f.offset), f.first, uint64(f.entryCount), nil
	e.runs, e.configurations = e.runs[:0], e.configurations[:0]
	switch f.kind {
	case kindBatch:
		for i := range f.runCount {
			first, term := f.termRunAt(b, i)
			e.runs = append(e.runs, termRun{first, term})
		}
		at := f.tableEnd()
		for i := range f.entryCount {
			length, _ := f.entryAt(b, i)
			if isConfiguration(b[at : at+int64(length)]) {
				e.configurations = append(e.configurations, f.first+uint64(i))
			}
			at += int64(length)
		}
	case kindBase:
		base, err := decodeBase(f.payload(b))
		if err != nil {
			return err
		}
		e.base = base
	}
	return nil
}

func isConfiguration(data []byte) bool { return raft.KindOf(data) == raft.KindConfiguration }
