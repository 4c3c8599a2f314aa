package sim

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// plate is a member's disk as its syncs leave it. It does not ask the log what is durable: it watches the operations, and
// reads the frames out of the bytes that each sync covers, by docs/storage-format.md and not by the production code. So it
// knows, at any step, what the member would find after a power cut that takes all it may.
type durableDisk struct {
	files           []*diskFile
	latest          *diskFile
	term, vote      uint64
	powerLost       bool   // the power failed since the last life
	failedOperation string // the operation that failed in this life: nothing may be promised after it (E5)
	// What the last frame took away. Recovery does not rely on that frame, which no later one claims to be durable: the
	// segment that it begins goes on from before it, and brings a copy of it along.
	replacedFrom  uint64
	replacedTerms []uint64
}

// diskFile is a file of the log's directory.
type diskFile struct {
	path       string
	nameSynced bool // the directory was synced since it has this name
	dirty      []byteRange
	// What was synced while the name was not.
	unnamedFrames []frame
}

type byteRange struct {
	offset int64
	length int
}

// frame is what one does to the log: it ends before first, then come the entries.
type frame struct {
	kind       byte
	first      uint64
	term, vote uint64
	terms      []uint64
	sums       []uint32
}

const (
	frameHeaderBytes   = 96
	segmentHeaderBytes = 4096

	frameEntries = 1
	frameIdle    = 3
	frameOpening = 4
)

// boots: a life of a member begins. After a power cut what is on its disk is there for good, and what had no name for sure
// may have one now. After the mere death of a process all is as it was, and as unsynced.
func (g *Checker) memberStarts(m *member) {
	s := g.members[m.id]
	p := &s.durableDisk
	s.nodeIncarnation, s.logIncarnation, p.failedOperation = 0, 0, ""
	s.nodeLimits, s.replicatorLimits = g.world.nodeLimits(), g.world.replicatorLimits()
	s.restoreUndamaged(m.disk.damaged)
	if !p.powerLost {
		return
	}
	files := p.files
	p.powerLost, p.files, p.latest = false, nil, nil
	for _, f := range files {
		if !f.nameSynced && isSegment(f.path) && m.disk.Peek(f.path) != nil {
			g.framesDurable(m, s, f.unnamedFrames)
		}
	}
}

// repaired: a story may put back what was on a disk before it was damaged.
func (s *memberModel) restoreUndamaged(doomed bool) {
	switch {
	case doomed && s.undamaged == nil:
		s.undamaged = &diskContents{slices.Clone(s.durableLog), s.durableDisk.term, s.durableDisk.vote}
	case !doomed && s.undamaged != nil:
		s.durableLog, s.durableDisk.term, s.durableDisk.vote = s.undamaged.log, s.undamaged.term, s.undamaged.vote
		s.writtenLog, s.pendingChanges, s.undamaged = slices.Clone(s.durableLog), nil, nil
	}
}

// diskContents is what a disk held when it was damaged.
type diskContents struct {
	log        []uint64
	term, vote uint64
}

func (p *durableDisk) file(path string) *diskFile {
	if p.latest != nil && p.latest.path == path {
		return p.latest
	}
	for _, f := range p.files {
		if f.path == path {
			p.latest = f
			return f
		}
	}
	f := &diskFile{path: path, nameSynced: true} // it is from an earlier life
	p.files, p.latest = append(p.files, f), f
	return f
}

func (p *durableDisk) remove(path string) {
	p.latest = nil
	for i, f := range p.files {
		if f.path == path {
			p.files = append(p.files[:i], p.files[i+1:]...)
			return
		}
	}
}

func isSegment(path string) bool { return strings.HasSuffix(path, ".seg") }

// operated sees an operation of a member's disk end.
func (g *Checker) diskOperation(m *member, op vfs.Op) {
	s := g.members[m.id]
	p := &s.durableDisk
	if op.Err != nil {
		g.operationFailed(p, op)
		return
	}
	switch op.Kind {
	case vfs.OpCreate:
		p.remove(op.Path)
		p.file(op.Path).nameSynced = false
	case vfs.OpWrite:
		f := p.file(op.Path)
		f.dirty = append(f.dirty, byteRange{op.Offset, op.Length})
	case vfs.OpSync:
		g.synced(m, s, p.file(op.Path))
	case vfs.OpRename:
		f := p.file(op.Path)
		p.remove(op.To)
		f.path, f.nameSynced, p.latest = op.To, false, nil
	case vfs.OpRemove:
		p.remove(op.Path)
	case vfs.OpSyncDir:
		for _, f := range p.files {
			if f.nameSynced || !strings.HasPrefix(f.path, op.Path) {
				continue
			}
			f.nameSynced = true
			if isSegment(f.path) {
				g.framesDurable(m, s, f.unnamedFrames)
			}
			f.unnamedFrames = nil
		}
	}
}

// failed: what a failed sync left is not on the disk, and never will be by a later one (E5). A spare that does not fit is no
// failure.
func (g *Checker) operationFailed(p *durableDisk, op vfs.Op) {
	switch {
	case errors.Is(op.Err, vfs.ErrFrozen):
	case op.Kind == vfs.OpSync:
		p.file(op.Path).dirty = nil
		p.failedOperation = op.String()
	case op.Kind == vfs.OpWrite && isSegment(op.Path):
		p.failedOperation = op.String()
	}
}

// synced reads the frames that a sync covers.
func (g *Checker) synced(m *member, s *memberModel, f *diskFile) {
	data := m.disk.Peek(f.path)
	read := int64(0)
	for _, d := range f.dirty {
		if d.offset < read {
			continue // written twice before the sync
		}
		end := min(d.offset+int64(d.length), int64(len(data)))
		if d.offset == 0 {
			d.offset = segmentHeaderBytes
		}
		if d.offset >= end {
			continue
		}
		frames := readFrames(data[d.offset:end], uint64(d.offset))
		read = end
		if f.nameSynced && isSegment(f.path) {
			g.framesDurable(m, s, frames)
		} else {
			f.unnamedFrames = append(f.unnamedFrames, frames...)
		}
	}
	f.dirty = f.dirty[:0]
}

// readFrames reads the frames that stand at an offset of a segment, until there are no more.
func readFrames(b []byte, offset uint64) (all []frame) {
	le := binary.LittleEndian
	for len(b) >= frameHeaderBytes {
		length, count, runs := le.Uint32(b[4:]), le.Uint32(b[72:]), le.Uint32(b[76:])
		table := frameHeaderBytes + 16*uint64(runs) + 8*uint64(count)
		if uint64(length) > uint64(len(b)) || table > uint64(length) || le.Uint32(b) != hash.Checksum(b[4:table]) || le.Uint64(b[16:]) != offset {
			return all
		}
		f := frame{kind: b[92], first: le.Uint64(b[40:]), term: le.Uint64(b[48:]), vote: le.Uint64(b[56:])}
		at, run, body := frameHeaderBytes+16*uint64(runs), -1, b[table:length]
		for i := range uint64(count) {
			for run+1 < int(runs) && le.Uint64(b[frameHeaderBytes+16*(run+1):]) <= f.first+i {
				run++
			}
			size, sum := le.Uint32(b[at+8*i:]), le.Uint32(b[at+8*i+4:])
			if run < 0 || uint64(size) > uint64(len(body)) || hash.Checksum(body[:size]) != sum {
				return all
			}
			f.terms, f.sums = append(f.terms, le.Uint64(b[frameHeaderBytes+16*run+8:])), append(f.sums, sum)
			body = body[size:]
		}
		all = append(all, f)
		b, offset = b[length:], offset+uint64(length)
	}
	return all
}

// durable: frames are on the disk for sure. The log's own word for it comes later, or never.
func (g *Checker) framesDurable(m *member, s *memberModel, frames []frame) {
	for i := range frames {
		f, p := &frames[i], &s.durableDisk
		if f.kind == frameOpening && p.replacedFrom > 0 && f.first != uint64(len(s.durableLog))+1 {
			s.durableLog = append(s.durableLog[:p.replacedFrom-1], p.replacedTerms...)
		}
		if f.first == 0 || f.first > uint64(len(s.durableLog))+1 {
			if m.disk.damaged {
				return // what it holds is damaged; what can be read of it, recovery tells
			}
			g.fail("disk as told", "on the disk of member %d entry %d follows a log of %d entries", m.id, f.first, len(s.durableLog))
			return
		}
		p.replacedFrom, p.replacedTerms = f.first, append(p.replacedTerms[:0], s.durableLog[f.first-1:]...)
		s.durableLog = append(s.durableLog[:f.first-1], f.terms...)
		for k, sum := range f.sums {
			index := f.first + uint64(k)
			if is := g.entries.lookup(index, f.terms[k]); is.sum != sum || is.before != termAt(s.durableLog, index-1) {
				g.fail("disk as told", "the disk of member %d has at index %d an entry of term %d that nobody ever appended there", m.id, index, f.terms[k])
			}
		}
		p.term, p.vote = f.term, f.vote
		if f.kind == frameEntries || f.kind == frameIdle {
			g.checkWritten(m, s)
		}
	}
}

// written: one frame holds all that the LogStore was handed since the last.
func (g *Checker) checkWritten(m *member, s *memberModel) {
	if len(s.pendingChanges) == 0 || s.logIncarnation == 0 || s.nodeIncarnation != s.logIncarnation {
		return // by a LogStore that opens: see returned
	}
	hard := &s.pendingChanges[len(s.pendingChanges)-1]
	for i := range s.pendingChanges {
		s.writtenLog = s.pendingChanges[i].applyTo(s.writtenLog)
		if from := s.pendingChanges[i].from; from != 0 && from <= s.acknowledged.index {
			s.acknowledged = position{from - 1, termAt(s.writtenLog, from-1)} // replaced by a leader who may
		}
	}
	if len(s.writtenLog) != len(s.durableLog) || termAt(s.writtenLog, uint64(len(s.writtenLog))) != termAt(s.durableLog, uint64(len(s.durableLog))) ||
		s.durableDisk.term != hard.term || s.durableDisk.vote != hard.vote {
		g.fail("disk as told", "member %d wrote a log of %d entries, term %d, vote %d; it was handed %d entries, term %d, vote %d",
			m.id, len(s.durableLog), s.durableDisk.term, s.durableDisk.vote, len(s.writtenLog), hard.term, hard.vote)
	}
	s.pendingChanges = s.pendingChanges[:0]
}
