package persistence

import (
	"sort"
)

// indexRowSpacing is the least number of bytes between two rows of a segment's index. A read begins
// at a row and reads frames forward, so it reads at most this much in vain. The index of a full
// segment of 64 MiB takes 64 KiB.
const indexRowSpacing = 16 << 10

// indexRow says that the frame at offset holds the entry first, and that the frames from there to
// the next row hold the entries that follow, without gaps or overrides.
type indexRow struct {
	first  uint64
	offset int64
}

type termRun struct{ first, term uint64 }

// segmentIndex is the effect of a whole segment on the log: it truncates the log to end before
// first, then makes it end at last. Rows, runs and configurations describe the entries that remain
// after the overrides within the segment.
//
//	frames     1 2 3 4 5 │ 6 7 8 │ 4 5 6        (the third frame overrides 4 … 8)
//	rows       1→frame 1             4→frame 3
//	first = 1, last = 6
type segmentIndex struct {
	first, last    uint64
	rows           []indexRow
	runs           []termRun
	configurations []uint64

	// nextContiguous is the index after the last frame of entries; 0 if the next one needs a row.
	nextContiguous uint64
}

// newSegmentIndex returns the index of a segment that starts when the log ends before `next`.
func newSegmentIndex(next uint64) *segmentIndex { return &segmentIndex{first: next, last: next - 1} }

// truncate drops the entries from an index on.
func (x *segmentIndex) truncate(first uint64) {
	if first > x.last {
		return
	}
	x.rows = x.rows[:sort.Search(len(x.rows), func(i int) bool { return x.rows[i].first >= first })]
	x.runs = x.runs[:sort.Search(len(x.runs), func(i int) bool { return x.runs[i].first >= first })]
	c := x.configurations
	x.configurations = c[:sort.Search(len(c), func(i int) bool { return c[i] >= first })]
	x.last, x.nextContiguous = first-1, 0
	x.first = min(x.first, first)
}

// restartAt drops everything and continues at an index above the end, after a base.
func (x *segmentIndex) restartAt(first uint64) {
	x.truncate(x.first)
	x.first, x.last, x.nextContiguous = first, first-1, 0
}

// apply applies a frame's edit.
func (x *segmentIndex) apply(e *logEdit) {
	if e.base != nil && e.first > x.last+1 {
		x.restartAt(e.first)
	}
	x.truncate(e.first)
	if e.count == 0 {
		return
	}
	if x.nextContiguous != e.first || len(x.rows) == 0 || e.offset-x.rows[len(x.rows)-1].offset >= indexRowSpacing {
		x.rows = append(x.rows, indexRow{e.first, e.offset})
	}
	for _, r := range e.runs {
		if n := len(x.runs); n == 0 || x.runs[n-1].term != r.term {
			x.runs = append(x.runs, r)
		}
	}
	x.configurations = append(x.configurations, e.configurations...)
	x.last = e.first + e.count - 1
	x.nextContiguous = x.last + 1
}

// indexFixedBytes is the fixed part of the payload of an index frame:
//
//	segment, end, first, last (8 bytes each) │ lastCRC, rows, runs, configurations (4 each)
//	│ rows (16 each) │ runs (16 each) │ indexes of configurations (8 each)
const indexFixedBytes = 48

func (x *segmentIndex) payloadBytes() int {
	return indexFixedBytes + 16*len(x.rows) + 16*len(x.runs) + 8*len(x.configurations)
}

// frameBytes returns the size of the index frame.
func (x *segmentIndex) frameBytes() int64 {
	return alignFrame(frameHeaderBytes + int64(x.payloadBytes()))
}

func (x *segmentIndex) encode(segment uint64, end int64, chain uint32) []byte {
	b := make([]byte, 0, x.payloadBytes())
	b = le.AppendUint64(b, segment)
	b = le.AppendUint64(b, uint64(end))
	b = le.AppendUint64(b, x.first)
	b = le.AppendUint64(b, x.last)
	b = le.AppendUint32(b, chain)
	b = le.AppendUint32(b, uint32(len(x.rows)))
	b = le.AppendUint32(b, uint32(len(x.runs)))
	b = le.AppendUint32(b, uint32(len(x.configurations)))
	for _, r := range x.rows {
		b = le.AppendUint64(b, r.first)
		b = le.AppendUint64(b, uint64(r.offset))
	}
	for _, r := range x.runs {
		b = le.AppendUint64(b, r.first)
		b = le.AppendUint64(b, r.term)
	}
	for _, index := range x.configurations {
		b = le.AppendUint64(b, index)
	}
	return b
}

// decodeIndex decodes the payload of an index frame: the index, its segment, and that segment's
// end.
func decodeIndex(b []byte) (x *segmentIndex, segment uint64, end int64, chain uint32, err error) {
	if len(b) < indexFixedBytes {
		return nil, 0, 0, 0, invalidFrame("index of %d bytes", len(b))
	}
	x = &segmentIndex{first: le.Uint64(b[16:]), last: le.Uint64(b[24:])}
	segment, end, chain = le.Uint64(b), int64(le.Uint64(b[8:])), le.Uint32(b[32:])
	rows, runs, configurations := le.Uint32(b[36:]), le.Uint32(b[40:]), le.Uint32(b[44:])
	if uint64(len(b)) != indexFixedBytes+16*uint64(rows)+16*uint64(runs)+8*uint64(configurations) {
		return nil, 0, 0, 0, invalidFrame("index of %d bytes for %d rows, %d runs and %d configurations", len(b), rows, runs, configurations)
	}
	b = b[indexFixedBytes:]
	for range rows {
		x.rows = append(x.rows, indexRow{le.Uint64(b), int64(le.Uint64(b[8:]))})
		b = b[16:]
	}
	for range runs {
		x.runs = append(x.runs, termRun{le.Uint64(b), le.Uint64(b[8:])})
		b = b[16:]
	}
	for range configurations {
		x.configurations = append(x.configurations, le.Uint64(b))
		b = b[8:]
	}
	if err := x.validate(end); err != nil {
		return nil, 0, 0, 0, err
	}
	return x, segment, end, chain, nil
}

// validate refuses an index that contradicts itself.
func (x *segmentIndex) validate(end int64) error {
	holds := x.last >= x.first
	if x.first == 0 || x.last < x.first-1 || holds != (len(x.rows) > 0) || holds != (len(x.runs) > 0) ||
		holds && (x.rows[0].first != x.first || x.runs[0].first != x.first) {
		return invalidFrame("index of [%d, %d] with %d rows and %d runs", x.first, x.last, len(x.rows), len(x.runs))
	}
	for i, r := range x.rows {
		if r.first > x.last || r.offset < segmentHeaderBytes || r.offset >= end || i > 0 && (r.first <= x.rows[i-1].first || r.offset <= x.rows[i-1].offset) {
			return invalidFrame("index row with entry %d at offset %d", r.first, r.offset)
		}
	}
	for i, r := range x.runs {
		if r.first > x.last || i > 0 && (r.first <= x.runs[i-1].first || r.term <= x.runs[i-1].term) {
			return invalidFrame("term run of the index with term %d from %d", r.term, r.first)
		}
	}
	for i, index := range x.configurations {
		if index < x.first || index > x.last || i > 0 && index <= x.configurations[i-1] {
			return invalidFrame("index names a configuration at %d in [%d, %d]", index, x.first, x.last)
		}
	}
	return nil
}

// rowsFor returns the rows from which the entries [from, to] can be read; x must hold both.
func (x *segmentIndex) rowsFor(from, to uint64) []indexRow {
	begin := sort.Search(len(x.rows), func(i int) bool { return x.rows[i].first > from }) - 1
	end := sort.Search(len(x.rows), func(i int) bool { return x.rows[i].first > to })
	return x.rows[begin:end]
}
