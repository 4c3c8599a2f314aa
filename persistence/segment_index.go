package persistence

import (
	"math"
	"sort"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// indexRowSpacing is how many bytes of a segment lie between two rows of its index at least. A read begins at a row and walks
// frames from there, so this is what it may read in vain; a full segment of 64 MiB has an index of 64 KiB.
const indexRowSpacing = 16 << 10

// row says that the frame at offset holds the entry `first`, and that the frames after it, up to the next row, go on from
// there without a gap or an override.
type indexRow struct {
	first  uint64
	offset int64
}

type termRun struct{ first, term uint64 }

// segmentIndex is what a segment does to the log: it cuts it at `first`, then makes it end at `last`. Rows, runs and
// configurations are those of the entries that count, after the overrides within the segment.
//
//	frames     1 2 3 4 5 │ 6 7 8 │ 4 5 6        (the third frame overrides 4 … 8)
//	rows       1→frame 1             4→frame 3
//	first = 1, last = 6
type segmentIndex struct {
	first, last    uint64
	rows           []indexRow
	runs           []termRun
	configurations []uint64

	// The index after the newest frame of entries, 0 where the next one needs a row in any case.
	nextContiguous uint64
}

// newSegmentIndex is that of a segment which begins when the log ends before `next`.
func newSegmentIndex(next uint64) *segmentIndex { return &segmentIndex{first: next, last: next - 1} }

// cut drops what a frame that begins at `first` overrides.
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

// jump makes the segment begin anew after a base that lies above its end.
func (x *segmentIndex) restartAt(first uint64) {
	x.truncate(x.first)
	x.first, x.last, x.nextContiguous = first, first-1, 0
}

// apply takes what a frame does: it overrides, then adds.
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

func isConfiguration(data []byte) bool { return raft.KindOf(data) == raft.KindConfiguration }

// effect is what one frame does to the log: it ends before `first`, then come `count` entries; a base raises where it begins.
type logEdit struct {
	offset         int64
	first, count   uint64
	runs           []termRun
	configurations []uint64 // the indexes of those among the entries
	base           *base
}

// of makes the effect of a frame of entries, in place.
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

// base is where a log begins: everything up to index is compacted away, or came with a snapshot.
type base struct {
	index, term   uint64
	configuration *messages.Configuration // as of index; nil for a whole log
}

func (b *base) encode() ([]byte, error) {
	payload := le.AppendUint64(le.AppendUint64(nil, b.index), b.term)
	if b.configuration == nil {
		return payload, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(payload, b.configuration)
}

func decodeBase(p []byte) (*base, error) {
	if len(p) < 16 {
		return nil, invalidFrame("base of %d bytes", len(p))
	}
	b := &base{index: le.Uint64(p), term: le.Uint64(p[8:])}
	if len(p) > 16 {
		b.configuration = new(messages.Configuration)
		if err := proto.Unmarshal(p[16:], b.configuration); err != nil {
			return nil, invalidFrame("configuration of the base: %v", err)
		}
	}
	if (b.index == 0) != (b.term == 0) || b.index == math.MaxUint64 {
		return nil, invalidFrame("base at index %d of term %d", b.index, b.term)
	}
	return b, nil
}

// The payload of an index frame:
//
//	segment, end, first, last (8 each) │ chain, rows, runs, configurations (4 each) │ rows (16) │ runs (16) │ indexes (8)
const indexFixedBytes = 48

func (x *segmentIndex) payloadBytes() int {
	return indexFixedBytes + 16*len(x.rows) + 16*len(x.runs) + 8*len(x.configurations)
}

// frameBytes is what the index will take at the end of its segment.
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

// decodeIndex reads the payload of an index frame: the index, and of which segment up to where it is.
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

// check refuses an index that would lead a reader astray.
func (x *segmentIndex) validate(end int64) error {
	holds := x.last >= x.first
	if x.first == 0 || x.last < x.first-1 || holds != (len(x.rows) > 0) || holds != (len(x.runs) > 0) ||
		holds && (x.rows[0].first != x.first || x.runs[0].first != x.first) {
		return invalidFrame("index of [%d, %d] with %d rows and %d runs", x.first, x.last, len(x.rows), len(x.runs))
	}
	for i, r := range x.rows {
		if r.first > x.last || r.offset < segmentHeaderBytes || r.offset >= end || i > 0 && (r.first <= x.rows[i-1].first || r.offset <= x.rows[i-1].offset) {
			return invalidFrame("row of the index says entry %d at offset %d", r.first, r.offset)
		}
	}
	for i, r := range x.runs {
		if r.first > x.last || i > 0 && (r.first <= x.runs[i-1].first || r.term <= x.runs[i-1].term) {
			return invalidFrame("run of the index says term %d from %d", r.term, r.first)
		}
	}
	for i, index := range x.configurations {
		if index < x.first || index > x.last || i > 0 && index <= x.configurations[i-1] {
			return invalidFrame("index names a configuration at %d in [%d, %d]", index, x.first, x.last)
		}
	}
	return nil
}

// rowsFor is the rows from which the entries [from, to] can be read; x must hold both.
func (x *segmentIndex) rowsFor(from, to uint64) []indexRow {
	begin := sort.Search(len(x.rows), func(i int) bool { return x.rows[i].first > from }) - 1
	end := sort.Search(len(x.rows), func(i int) bool { return x.rows[i].first > to })
	return x.rows[begin:end]
}
