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
	o.fill()
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	r, err := recoverLog(&o)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	l := &Log{o: o, nominal: o.FirstSegmentBytes, segments: r.segments, spares: r.spares, marked: r.marked, hard: r.provenHard, sequence: r.sequence}
	l.catalog.base, l.catalog.spans = r.base, r.spans
	l.catalog.terms = raft.NewLogIndex(r.base.index, r.base.term, r.last, messageRuns(r.runs))
	if len(r.segments) == 0 && o.MustExist {
		return nil, nil, fmt.Errorf("open the log: %w", corrupt(o.Dir, 0, "there is no segment in it, but the data directory was in use: the log is lost"))
	}
	if err := r.settle(); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	if err := l.begin(0, r.predecessor, r.copies); err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	r.shrink()
	found, err := l.describe(r)
	if err != nil {
		l.Close()
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return l, found, nil
}

// describe tells what was recovered. It reads the configurations through the log as it stands now.
func (l *Log) describe(r *recovered) (*Recovery, error) {
	c := &l.catalog
	found := &Recovery{
		HardState: &messages.HardState{Term: l.hard.term, Vote: l.hard.vote, Commit: l.hard.commit},
		BaseIndex: c.base.index, BaseTerm: c.base.term, BaseConfiguration: c.base.configuration,
		LastIndex: c.terms.Last(), Runs: c.terms.Runs(c.base.index+1, c.terms.Last()), Warnings: r.warnings,
	}
	reader := l.Reader()
	defer reader.Close()
	// What was written anew into the active segment may override some of those before it.
	before := r.configurations[:sort.Search(len(r.configurations), func(i int) bool { return r.configurations[i] >= c.activeIndex.first })]
	for _, index := range append(before, c.activeIndex.configurations...) {
		if index <= c.base.index || index > c.terms.Last() {
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
type recovered struct {
	o        *Options
	segments []*segment // those that make up the log
	headers  []header
	leftover []string // files that no crash should leave, but one did
	spares   []spare
	marked   uint64 // the newest segment that a mark is of

	base           base
	last           uint64
	floor          uint64 // the entries from here to last are all there
	runs           []termRun
	spans          []span
	configurations []uint64

	sequence    uint64
	provenHard  hardState
	predecessor *predecessor
	copies      []copied
	warnings    []string
}

// recoverLog reads; it changes nothing.
func recoverLog(o *Options) (*recovered, error) {
	r := &recovered{o: o, floor: 1}
	if err := r.list(); err != nil {
		return nil, err
	}
	if len(r.segments) == 0 {
		return r, nil
	}
	newest := len(r.segments) - 1
	t, err := r.scanTail(r.segments[newest], &r.headers[newest])
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
	return r, r.addTail(t)
}

// list finds the segments: the newest, the one its header names, and so on down.
func (r *recovered) list() error {
	names, err := r.o.FS.List(r.o.Dir)
	if err != nil {
		return unreadable(r.o.Dir, 0, err)
	}
	bySequence := map[uint64]*segment{}
	var newest uint64
	var marks []uint64
	for _, name := range names {
		path := filepath.Join(r.o.Dir, name)
		if sequence, ok := segmentSequence(name); ok {
			info, err := r.o.FS.Stat(path)
			if err != nil {
				return unreadable(path, 0, err)
			}
			bySequence[sequence] = &segment{sequence: sequence, path: path, size: info.Size()}
			newest = max(newest, sequence)
		} else if sequence, ok := markSequence(name); ok {
			marks = append(marks, sequence)
		} else if strings.HasSuffix(name, spareSuffix) {
			info, err := r.o.FS.Stat(path)
			if err != nil {
				return unreadable(path, 0, err)
			}
			r.spares = append(r.spares, spare{path: path, size: info.Size()})
		} else if strings.HasSuffix(name, makingSuffix) || strings.HasSuffix(name, newSuffix) {
			r.leftover = append(r.leftover, path)
		}
	}
	if err := r.checkMarks(marks, newest); err != nil {
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
		at = h.previous
	}
	slices.Reverse(r.segments)
	slices.Reverse(r.headers)
	if len(bySequence) > 0 {
		return r.strangers(bySequence)
	}
	return nil
}

// strangers are segments that no later one names. The removal of compacted ones may be lost in a crash, in any order, so
// those below the oldest that counts are leftovers; it shows later whether the base covers them.
func (r *recovered) strangers(bySequence map[uint64]*segment) error {
	var found []uint64
	for sequence := range bySequence {
		found = append(found, sequence)
	}
	slices.Sort(found)
	for _, sequence := range found {
		s := bySequence[sequence]
		if sequence > r.segments[0].sequence {
			return corrupt(s.path, 0, "segment %016x is not in the chain that ends with %s", sequence, r.segments[len(r.segments)-1].path)
		}
		r.leftover = append(r.leftover, s.path)
	}
	return nil
}

func (r *recovered) readHeader(s *segment) (header, error) {
	file, err := r.o.FS.Open(s.path)
	if err != nil {
		return header{}, unreadable(s.path, 0, err)
	}
	defer file.Close()
	w, err := newWindow(file, s.path, headerBytes)
	if err != nil {
		return header{}, err
	}
	var h header
	err = w.twice(0, func() (err error) {
		h, err = w.header(s)
		return err
	})
	if w.misread != "" {
		r.warnings = append(r.warnings, w.misread)
	}
	if err != nil {
		return header{}, err
	}
	if r.o.anyOwner {
		return h, nil
	}
	return h, h.checkOwner(s.path, r.o)
}

func (w *window) header(s *segment) (header, error) {
	b, err := w.bytes(0, min(headerBytes, w.size))
	if err != nil {
		return header{}, err
	}
	return decodeSegmentHeader(s.path, s.sequence, b)
}

// addFinished adds segment i, which has a successor, by its index. A damaged index is a copy of what the frames say: it is
// made anew from them.
func (r *recovered) addFinished(i int) error {
	s, next := r.segments[i], &r.headers[i+1]
	s.index = indexPlace{s.path, s.sequence, int64(next.previousIndex)}
	if next.flags&flagIndexHere != 0 {
		s.index = indexPlace{r.segments[i+1].path, next.sequence, int64(next.previousIndex)}
	}
	x, err := loadIndex(r.o.FS, s, int64(next.previousEnd), next.previousChain)
	if errors.Is(err, errBadFrame) {
		at := s.index
		if x, err = rebuildIndex(r.o.FS, s, &r.headers[i], int64(next.previousEnd), next.previousChain); err == nil {
			r.warnings = append(r.warnings, fmt.Sprintf("the index of segment %s, in %s at offset %d, is damaged: the segment was read instead; "+
				"nothing is lost, but check the disk", s.path, at.path, at.offset))
			s.rebuilt = x
		}
	}
	if err != nil {
		return err
	}
	return r.merge(s, x)
}

// loadIndex reads the index of a segment and holds it against what its successor says of it.
func loadIndex(fs vfs.FS, s *segment, end int64, chain uint32) (*segmentIndex, error) {
	file, err := fs.Open(s.index.path)
	if err != nil {
		return nil, unreadable(s.index.path, 0, err)
	}
	defer file.Close()
	w, err := newWindow(file, s.index.path, 64<<10)
	if err != nil {
		return nil, err
	}
	x, gotEnd, gotChain, err := readIndex(w, s.index, s.sequence)
	if err == nil && (gotEnd != end || gotChain != chain) {
		err = badFrame("index up to %d with checksum %08x, but the successor says %d and %08x", gotEnd, gotChain, end, chain)
	}
	return x, err
}

// rebuildIndex reads a whole finished segment.
func rebuildIndex(fs vfs.FS, s *segment, h *header, end int64, chain uint32) (*segmentIndex, error) {
	file, err := fs.Open(s.path)
	if err != nil {
		return nil, unreadable(s.path, 0, err)
	}
	defer file.Close()
	w, err := newWindow(file, s.path, scanWindow)
	if err != nil {
		return nil, err
	}
	var x *segmentIndex
	var e effect
	sc := scan{w: w, header: *h}
	err = sc.run(end, func(f *frame, b []byte) error {
		if x == nil {
			x = newSegmentIndex(f.first)
		}
		if err := f.effect(b, &e); err != nil {
			return err
		}
		if f.first > x.last+1 && e.base == nil {
			return badFrame("entries from %d after a log that ends at %d", f.first, x.last)
		}
		x.apply(&e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sc.stopped != nil {
		return nil, corrupt(s.path, sc.end, "%v", sc.stopped)
	}
	if sc.end != end || sc.chain != chain || x == nil {
		return nil, corrupt(s.path, end, "the segment ends with checksum %08x, its successor says %08x", sc.chain, chain)
	}
	return x, nil
}

// merge adds what a segment does to the log. Where it does not follow what is there, what lies between was compacted away;
// or overridden later, and the segments with it are gone; or it is lost. Which of them, shows at the end (see floor).
func (r *recovered) merge(s *segment, x *segmentIndex) error {
	if x.first > r.last+1 {
		r.runs, r.spans, r.configurations, r.floor = r.runs[:0], r.spans[:0], r.configurations[:0], x.first
	}
	r.floor = min(r.floor, x.first)
	r.runs = r.runs[:sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first >= x.first })]
	r.configurations = r.configurations[:sort.Search(len(r.configurations), func(i int) bool { return r.configurations[i] >= x.first })]
	c := catalog{spans: r.spans}
	c.cutSpans(x.first)
	if r.spans = c.spans; x.last >= x.first {
		r.spans = append(r.spans, span{s, x.first, x.last})
	}
	r.last = x.last
	for _, run := range x.runs {
		if n := len(r.runs); n > 0 && r.runs[n-1].term > run.term {
			return corrupt(s.path, headerBytes, "term %d at index %d after term %d", run.term, run.first, r.runs[n-1].term)
		} else if n == 0 || r.runs[n-1].term != run.term {
			r.runs = append(r.runs, run)
		}
	}
	r.configurations = append(r.configurations, x.configurations...)
	return nil
}

func messageRuns(runs []termRun) []*messages.TermRun {
	out := make([]*messages.TermRun, len(runs))
	for i, run := range runs {
		out[i] = &messages.TermRun{FirstIndex: run.first, Term: run.term}
	}
	return out
}
