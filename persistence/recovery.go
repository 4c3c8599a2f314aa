package persistence

import (
	"fmt"
	"slices"
	"sort"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Recovery is the content of a log when it was opened. All of it is durable.
type Recovery struct {
	HardState *messages.HardState
	// The log begins after BaseIndex, because of compaction or an installed snapshot. 0, 0 and nil if
	// it begins at index 1.
	BaseIndex, BaseTerm uint64
	BaseConfiguration   *messages.Configuration
	LastIndex           uint64
	Runs                []*messages.TermRun              // terms of BaseIndex + 1 … LastIndex
	Configurations      []*messages.IndexedConfiguration // all configuration entries after the base
	// Warnings are for the operator: a dropped write, a rebuilt index, a read that had to be repeated.
	Warnings []string
}

// Open recovers the log and starts a new segment. An error means that the log was not opened:
// *CorruptError, *ReadError, *formatError, *mismatchError, or an error of a write. If what is on
// the disk is the reason, nothing was changed.
func Open(o Options) (*Log, *Recovery, error) {
	l, found, err := openLog(o)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return l, found, nil
}

func openLog(o Options) (*Log, *Recovery, error) {
	o.setDefaults()
	if err := makeDurableDir(o.FS, o.Dir); err != nil {
		return nil, nil, err
	}
	r, err := analyzeLog(&o)
	if err != nil {
		return nil, nil, err
	}
	if len(r.segments) == 0 && o.MustExist {
		return nil, nil, corruptError(o.Dir, 0, "there is no segment in it, but the data directory was in use: the log is lost")
	}
	l := &Log{options: o, nominalBytes: o.FirstSegmentBytes, segments: r.segments, spares: r.spares, markedSegment: r.markedSegment}
	l.active.hard, l.active.lastSequence = r.provenHard, r.lastSequence
	l.published.base, l.published.spans = r.base, r.spans
	l.published.terms = raft.NewLogTerms(r.base.index, r.base.term, r.last, termRunMessages(r.runs))
	if err := r.syncAndRemoveLeftovers(); err != nil {
		return nil, nil, err
	}
	if err := l.startSegment(0, r.predecessor, r.unproven); err != nil {
		return nil, nil, err
	}
	r.truncatePredecessor()
	found, err := l.newRecovery(r)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, found, nil
}

// newRecovery describes what was recovered. It reads the configurations through the opened log.
func (l *Log) newRecovery(r *recoveryState) (*Recovery, error) {
	p := &l.published
	found := &Recovery{
		HardState: l.active.hard.message(),
		BaseIndex: p.base.index, BaseTerm: p.base.term, BaseConfiguration: p.base.configuration,
		LastIndex: p.terms.LastIndex(), Runs: p.terms.Runs(p.base.index+1, p.terms.LastIndex()), Warnings: r.warnings,
	}
	reader := l.Reader()
	defer reader.Close()
	// Frames that were written again to the active segment may override configurations before them.
	before, _ := slices.BinarySearch(r.configurations, p.activeIndex.first)
	for _, index := range append(r.configurations[:before], p.activeIndex.configurations...) {
		if index <= p.base.index || index > p.terms.LastIndex() {
			continue
		}
		entries, _, err := reader.Read(index, index, 0)
		if err != nil {
			return nil, fmt.Errorf("read the configuration at index %d: %w", index, err)
		}
		configuration, err := raft.DecodeConfiguration(entries.Data[0])
		if err != nil {
			return nil, fmt.Errorf("the configuration at index %d: %w", index, err)
		}
		found.Configurations = append(found.Configurations, &messages.IndexedConfiguration{Index: index, Configuration: configuration})
	}
	return found, nil
}

// recoveryState is a log as analyzeLog puts it together from its segments, oldest first.
type recoveryState struct {
	options *Options

	// The files of the directory.
	segments      []*segment // the chain that ends with the newest
	headers       []segmentHeader
	leftovers     []string // files that a crash left and that are to be removed
	spares        []spare
	markedSegment uint64 // highest sequence of a segment marker

	// The log of the segments added so far, without unproven frames.
	base           base
	last           uint64
	contiguousFrom uint64 // no entry is missing from this index to last
	runs           []termRun
	spans          entrySpans
	configurations []uint64

	// The end of the newest segment.
	lastSequence uint64
	provenHard   hardState
	predecessor  *predecessor
	unproven     []unprovenFrame

	warnings []string
}

// analyzeLog reads the log and decides what is valid. It changes nothing.
func analyzeLog(o *Options) (*recoveryState, error) {
	r := &recoveryState{options: o, contiguousFrom: 1}
	if err := r.listSegments(); err != nil {
		return nil, err
	}
	if len(r.segments) == 0 {
		return r, nil
	}
	newest := len(r.segments) - 1
	t, err := r.scanNewest(r.segments[newest], &r.headers[newest])
	if err != nil {
		return nil, err
	}
	// The newest base says which entries may be missing at the start of the older segments: it was
	// durable before any segment was removed.
	r.base = t.base
	for i := range newest {
		if err := r.addFinished(i); err != nil {
			return nil, err
		}
	}
	return r, r.addNewest(t)
}

// mergeIndex applies the effect of a segment to the log. Entries may be missing between the log so
// far and the segment: they were compacted, or overridden later by a segment that is there, or they
// are lost. addNewest decides that by contiguousFrom.
func (r *recoveryState) mergeIndex(s *segment, x *segmentIndex) error {
	if x.first > r.last+1 {
		r.runs, r.spans, r.configurations, r.contiguousFrom = r.runs[:0], r.spans[:0], r.configurations[:0], x.first
	}
	r.contiguousFrom = min(r.contiguousFrom, x.first)
	r.runs = r.runs[:sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first >= x.first })]
	kept, _ := slices.BinarySearch(r.configurations, x.first)
	r.configurations = append(r.configurations[:kept], x.configurations...)
	r.spans = r.spans.truncate(x.first)
	if x.last >= x.first {
		r.spans = append(r.spans, entrySpan{s, x.first, x.last})
	}
	r.last = x.last
	for _, run := range x.runs {
		if n := len(r.runs); n > 0 && r.runs[n-1].term > run.term {
			return corruptError(s.path, segmentHeaderBytes, "term %d at index %d after term %d", run.term, run.first, r.runs[n-1].term)
		} else if n == 0 || r.runs[n-1].term != run.term {
			r.runs = append(r.runs, run)
		}
	}
	return nil
}

// addNewest applies the newest segment, and checks that no entry is missing.
func (r *recoveryState) addNewest(t *newestSegment) error {
	s := r.segments[len(r.segments)-1]
	if err := r.mergeIndex(s, t.index); err != nil {
		return err
	}
	if r.last < r.base.index || t.hard.commit > r.last {
		return corruptError(s.path, t.end, "the log ends at %d, below its commit index %d or its base %d", r.last, t.hard.commit, r.base.index)
	}
	if r.contiguousFrom > r.base.index+1 {
		return corruptError(r.segments[0].path, segmentHeaderBytes,
			"the log begins at %d, but its base is %d: the segments before this one are missing", r.contiguousFrom, r.base.index)
	}
	r.spans = r.spans.dropUpTo(r.base.index)
	for len(r.runs) > 1 && r.runs[1].first <= r.base.index+1 {
		r.runs = r.runs[1:]
	}
	if r.last == r.base.index {
		r.runs = nil
	} else if r.runs[0].first <= r.base.index {
		r.runs[0].first = r.base.index + 1
	}
	if len(r.runs) > 0 && (r.runs[0].first != r.base.index+1 || r.runs[0].term < r.base.term) {
		return corruptError(s.path, segmentHeaderBytes, "the log begins at %d in term %d, but its base is %d in term %d: a segment is missing",
			r.runs[0].first, r.runs[0].term, r.base.index, r.base.term)
	}
	r.lastSequence, r.provenHard, r.unproven = t.lastSequence, t.hard, t.unproven
	r.predecessor = &predecessor{segment: s, end: t.end, lastCRC: t.lastCRC, index: t.index}
	return nil
}

// syncAndRemoveLeftovers makes the names that were found durable, and removes the files that
// crashes left. A killed process may have renamed the newest segment without a sync of the
// directory. Without the sync here, a power cut could keep the segment that is started next and
// lose the one before it (E6).
func (r *recoveryState) syncAndRemoveLeftovers() error {
	if len(r.segments) > 0 {
		if err := r.options.FS.SyncDir(r.options.Dir); err != nil {
			return err
		}
	}
	for _, path := range r.leftovers {
		if err := r.options.FS.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// truncatePredecessor removes the zeros after the end of the former newest segment, so that
// restarts do not fill the disk. It ignores errors: nothing depends on it.
func (r *recoveryState) truncatePredecessor() {
	if r.predecessor == nil || r.predecessor.segment.size <= r.predecessor.end {
		return
	}
	s := r.predecessor.segment
	file, err := r.options.FS.OpenReadWrite(s.path)
	if err != nil {
		return
	}
	if file.Truncate(r.predecessor.end) == nil {
		s.size = r.predecessor.end
	}
	file.Close()
}

func termRunMessages(runs []termRun) []*messages.TermRun {
	out := make([]*messages.TermRun, len(runs))
	for i, run := range runs {
		out[i] = &messages.TermRun{FirstIndex: run.first, Term: run.term}
	}
	return out
}
