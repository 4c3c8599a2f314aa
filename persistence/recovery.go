package persistence

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Recovery is what the log held when it was opened. All of it is durable.
type Recovery struct {
	HardState *messages.HardState
	// What the log does not hold any more: compacted, or covered by an installed snapshot. 0, 0 and nil for a whole log.
	BaseIndex, BaseTerm uint64
	BaseConfiguration   *messages.Configuration
	LastIndex           uint64
	// The terms of BaseIndex + 1 … LastIndex.
	Runs []*messages.TermRun
	// Every configuration entry after the base.
	Configurations []*messages.IndexedConfiguration
	// What a person should hear of: a torn write dropped, an index made anew.
	Warnings []string
}

// Open recovers the log and begins a new segment. Where it refuses, the log is left as it was found.
func Open(o Options) (*Log, *Recovery, error) {
	o.setDefaults()
	if err := makeDurableDir(o.FS, o.Dir); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	r, err := analyzeLog(&o)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	l := &Log{options: o, nominalBytes: o.FirstSegmentBytes, segments: r.segments, spares: r.spares, markedSegment: r.markedSegment, hard: r.provenHard, lastSequence: r.lastSequence}
	l.published.base, l.published.spans = r.base, r.spans
	l.published.terms = raft.NewLogTerms(r.base.index, r.base.term, r.last, termRunMessages(r.runs))
	if len(r.segments) == 0 && o.MustExist {
		return nil, nil, fmt.Errorf("open the log: %w", corruptError(o.Dir, 0, "there is no segment in it, but the data directory was in use: the log is lost"))
	}
	if err := r.syncAndRemoveLeftovers(); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	if err := l.startSegment(0, r.predecessor, r.unproven); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	r.truncatePredecessor()
	found, err := l.newRecovery(r)
	if err != nil {
		l.Close()
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return l, found, nil
}

// describe tells what was recovered. It reads the configurations through the log as it stands now.
func (l *Log) newRecovery(r *recoveryState) (*Recovery, error) {
	c := &l.published
	found := &Recovery{
		HardState: &messages.HardState{Term: l.hard.term, Vote: l.hard.vote, Commit: l.hard.commit},
		BaseIndex: c.base.index, BaseTerm: c.base.term, BaseConfiguration: c.base.configuration,
		LastIndex: c.terms.LastIndex(), Runs: c.terms.Runs(c.base.index+1, c.terms.LastIndex()), Warnings: r.warnings,
	}
	reader := l.Reader()
	defer reader.Close()
	// What was written anew into the active segment may override some of those before it.
	before := r.configurations[:sort.Search(len(r.configurations), func(i int) bool { return r.configurations[i] >= c.activeIndex.first })]
	for _, index := range append(before, c.activeIndex.configurations...) {
		if index <= c.base.index || index > c.terms.LastIndex() {
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

// recovered is a log as it is put together from its segments, oldest first.
type recoveryState struct {
	options       *Options
	segments      []*segment // those that make up the log
	headers       []segmentHeader
	leftovers     []string // files that no crash should leave, but one did
	spares        []spare
	markedSegment uint64 // the newest segment that a mark is of

	base           base
	last           uint64
	contiguousFrom uint64 // the entries from here to last are all there
	runs           []termRun
	spans          []entrySpan
	configurations []uint64

	lastSequence uint64
	provenHard   hardState
	predecessor  *predecessor
	unproven     []unprovenFrame
	warnings     []string
}

// analyzeLog reads; it changes nothing.
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
	// The newest base covers what may be missing at the beginning of the older segments: it was proven durable before any
	// of them was removed.
	r.base = t.base
	for i := range newest {
		if err := r.addFinished(i); err != nil {
			return nil, err
		}
	}
	return r, r.addNewest(t)
}

// list finds the segments: the newest, the one its header names, and so on down.
func (r *recoveryState) listSegments() error {
	names, err := r.options.FS.List(r.options.Dir)
	if err != nil {
		return readError(r.options.Dir, 0, err)
	}
	bySequence := map[uint64]*segment{}
	var newest uint64
	var marks []uint64
	for _, name := range names {
		path := filepath.Join(r.options.Dir, name)
		if sequence, ok := parseSegmentName(name); ok {
			info, err := r.options.FS.Stat(path)
			if err != nil {
				return readError(path, 0, err)
			}
			bySequence[sequence] = &segment{sequence: sequence, path: path, size: info.Size()}
			newest = max(newest, sequence)
		} else if sequence, ok := parseMarkerName(name); ok {
			marks = append(marks, sequence)
		} else if strings.HasSuffix(name, spareSuffix) {
			info, err := r.options.FS.Stat(path)
			if err != nil {
				return readError(path, 0, err)
			}
			r.spares = append(r.spares, spare{path: path, size: info.Size()})
		} else if strings.HasSuffix(name, partialSpareSuffix) || strings.HasSuffix(name, newSuffix) {
			r.leftovers = append(r.leftovers, path)
		}
	}
	if err := r.checkMarkers(marks, newest); err != nil {
		return err
	}
	for at := newest; at != 0; {
		s := bySequence[at]
		if s == nil {
			break // compacted away; or lost, which shows when the entries are put together
		}
		h, err := r.readHeader(s)
		if err != nil {
			return err
		}
		r.segments, r.headers = append(r.segments, s), append(r.headers, h)
		delete(bySequence, at)
		at = h.previousSequence
	}
	slices.Reverse(r.segments)
	slices.Reverse(r.headers)
	if len(bySequence) > 0 {
		return r.checkUnlinked(bySequence)
	}
	return nil
}

// strangers are segments that no later one names. The removal of compacted ones may be lost in a crash, in any order, so
// those below the oldest that counts are leftovers; it shows later whether the base covers them.
func (r *recoveryState) checkUnlinked(bySequence map[uint64]*segment) error {
	var found []uint64
	for sequence := range bySequence {
		found = append(found, sequence)
	}
	slices.Sort(found)
	for _, sequence := range found {
		s := bySequence[sequence]
		if sequence > r.segments[0].sequence {
			return corruptError(s.path, 0, "segment %016x is not in the chain that ends with %s", sequence, r.segments[len(r.segments)-1].path)
		}
		r.leftovers = append(r.leftovers, s.path)
	}
	return nil
}

func (r *recoveryState) readHeader(s *segment) (segmentHeader, error) {
	file, err := r.options.FS.Open(s.path)
	if err != nil {
		return segmentHeader{}, readError(s.path, 0, err)
	}
	defer file.Close()
	w, err := newFileWindow(file, s.path, segmentHeaderBytes)
	if err != nil {
		return segmentHeader{}, err
	}
	var h segmentHeader
	err = w.withReread(0, func() (err error) {
		h, err = w.readSegmentHeader(s)
		return err
	})
	if w.rereadWarning != "" {
		r.warnings = append(r.warnings, w.rereadWarning)
	}
	if err != nil {
		return segmentHeader{}, err
	}
	if r.options.skipOwnerCheck {
		return h, nil
	}
	return h, h.checkOwner(s.path, r.options)
}

func (w *fileWindow) readSegmentHeader(s *segment) (segmentHeader, error) {
	b, err := w.bytes(0, min(segmentHeaderBytes, w.size))
	if err != nil {
		return segmentHeader{}, err
	}
	return decodeSegmentHeader(s.path, s.sequence, b)
}

// addFinished adds segment i, which has a successor, by its index. A damaged index is a copy of what the frames say: it is
// made anew from them.
func (r *recoveryState) addFinished(i int) error {
	s, next := r.segments[i], &r.headers[i+1]
	s.indexAt = indexLocation{s.path, s.sequence, int64(next.previousIndexOffset)}
	if next.flags&flagHoldsPreviousIndex != 0 {
		s.indexAt = indexLocation{r.segments[i+1].path, next.sequence, int64(next.previousIndexOffset)}
	}
	x, err := loadIndex(r.options.FS, s, int64(next.previousEnd), next.previousCRC)
	if errors.Is(err, errInvalidFrame) {
		at := s.indexAt
		if x, err = rebuildIndex(r.options.FS, s, &r.headers[i], int64(next.previousEnd), next.previousCRC); err == nil {
			r.warnings = append(r.warnings, fmt.Sprintf("the index of segment %s, in %s at offset %d, is damaged: the segment was read instead; "+
				"nothing is lost, but check the disk", s.path, at.path, at.offset))
			s.rebuiltIndex = x
		}
	}
	if err != nil {
		return err
	}
	return r.mergeIndex(s, x)
}

// loadIndex reads the index of a segment and holds it against what its successor says of it.
func loadIndex(fs vfs.FS, s *segment, end int64, chain uint32) (*segmentIndex, error) {
	file, err := fs.Open(s.indexAt.path)
	if err != nil {
		return nil, readError(s.indexAt.path, 0, err)
	}
	defer file.Close()
	w, err := newFileWindow(file, s.indexAt.path, 64<<10)
	if err != nil {
		return nil, err
	}
	x, gotEnd, gotChain, err := readIndex(w, s.indexAt, s.sequence)
	if err == nil && (gotEnd != end || gotChain != chain) {
		err = invalidFrame("index up to %d with checksum %08x, but the successor says %d and %08x", gotEnd, gotChain, end, chain)
	}
	return x, err
}

// rebuildIndex reads a whole finished segment.
func rebuildIndex(fs vfs.FS, s *segment, h *segmentHeader, end int64, chain uint32) (*segmentIndex, error) {
	file, err := fs.Open(s.path)
	if err != nil {
		return nil, readError(s.path, 0, err)
	}
	defer file.Close()
	w, err := newFileWindow(file, s.path, scanReadBytes)
	if err != nil {
		return nil, err
	}
	var x *segmentIndex
	var e logEdit
	sc := segmentScanner{window: w, header: *h}
	err = sc.scan(end, func(f *frameHeader, b []byte) error {
		if x == nil {
			x = newSegmentIndex(f.first)
		}
		if err := f.decodeEdit(b, &e); err != nil {
			return err
		}
		if f.first > x.last+1 && e.base == nil {
			return invalidFrame("entries from %d after a log that ends at %d", f.first, x.last)
		}
		x.apply(&e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sc.stopReason != nil {
		return nil, corruptError(s.path, sc.end, "%v", sc.stopReason)
	}
	if sc.end != end || sc.lastCRC != chain || x == nil {
		return nil, corruptError(s.path, end, "the segment ends with checksum %08x, its successor says %08x", sc.lastCRC, chain)
	}
	return x, nil
}

// merge adds what a segment does to the log. Where it does not follow what is there, what lies between was compacted away;
// or overridden later, and the segments with it are gone; or it is lost. Which of them, shows at the end (see floor).
func (r *recoveryState) mergeIndex(s *segment, x *segmentIndex) error {
	if x.first > r.last+1 {
		r.runs, r.spans, r.configurations, r.contiguousFrom = r.runs[:0], r.spans[:0], r.configurations[:0], x.first
	}
	r.contiguousFrom = min(r.contiguousFrom, x.first)
	r.runs = r.runs[:sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first >= x.first })]
	r.configurations = r.configurations[:sort.Search(len(r.configurations), func(i int) bool { return r.configurations[i] >= x.first })]
	c := publishedLog{spans: r.spans}
	c.truncateSpans(x.first)
	if r.spans = c.spans; x.last >= x.first {
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
	r.configurations = append(r.configurations, x.configurations...)
	return nil
}

func termRunMessages(runs []termRun) []*messages.TermRun {
	out := make([]*messages.TermRun, len(runs))
	for i, run := range runs {
		out[i] = &messages.TermRun{FirstIndex: run.first, Term: run.term}
	}
	return out
}
