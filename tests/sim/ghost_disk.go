package sim

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// plate is a member's disk as its syncs leave it. It does not ask the log what is durable: it watches the operations, and
// reads the frames out of the bytes that each sync covers, by docs/storage-format.md and not by the production code. So it
// knows, at any step, what the member would find after a power cut that takes all it may.
type plate struct {
	files      []*plateFile
	latest     *plateFile
	term, vote uint64
	cut        bool   // the power failed since the last life
	failed     string // the operation that failed in this life: nothing may be promised after it (E5)
	// What the last frame took away. Recovery does not rely on that frame, which no later one claims to be durable: the
	// segment that it begins goes on from before it, and brings a copy of it along.
	takenFrom uint64
	taken     []uint64
}

// plateFile is a file of the log's directory.
type plateFile struct {
	path  string
	named bool // the directory was synced since it has this name
	dirty []stretch
	// What was synced while the name was not.
	waiting []frame
}

type stretch struct {
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
	frameHeader  = 96
	segmentBegin = 4096

	frameOfEntries = 1
	frameOfIdle    = 3
	frameOfOpening = 4
)

// boots: a life of a member begins. After a power cut what is on its disk is there for good, and what had no name for sure
// may have one now. After the mere death of a process all is as it was, and as unsynced.
func (g *ghost) boots(m *member) {
	s := g.members[m.id]
	p := &s.plate
	s.running, s.incarnation, p.failed = 0, 0, ""
	s.limits, s.flight = g.world.limits(), g.world.flight()
	s.repaired(m.disk.doomed)
	if !p.cut {
		return
	}
	files := p.files
	p.cut, p.files, p.latest = false, nil, nil
	for _, f := range files {
		if !f.named && isSegment(f.path) && m.disk.Peek(f.path) != nil {
			g.durable(m, s, f.waiting)
		}
	}
}

// repaired: a story may put back what was on a disk before it was damaged.
func (s *shadow) repaired(doomed bool) {
	switch {
	case doomed && s.before == nil:
		s.before = &wholeDisk{slices.Clone(s.disk), s.plate.term, s.plate.vote}
	case !doomed && s.before != nil:
		s.disk, s.plate.term, s.plate.vote = s.before.log, s.before.term, s.before.vote
		s.told, s.toDisk, s.before = slices.Clone(s.disk), nil, nil
	}
}

// wholeDisk is what a disk held when it was damaged.
type wholeDisk struct {
	log        []uint64
	term, vote uint64
}

func (p *plate) file(path string) *plateFile {
	if p.latest != nil && p.latest.path == path {
		return p.latest
	}
	for _, f := range p.files {
		if f.path == path {
			p.latest = f
			return f
		}
	}
	f := &plateFile{path: path, named: true} // it is from an earlier life
	p.files, p.latest = append(p.files, f), f
	return f
}

func (p *plate) remove(path string) {
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
func (g *ghost) operated(m *member, op vfs.Op) {
	s := g.members[m.id]
	p := &s.plate
	if op.Err != nil {
		g.failed(p, op)
		return
	}
	switch op.Kind {
	case vfs.OpCreate:
		p.remove(op.Path)
		p.file(op.Path).named = false
	case vfs.OpWrite:
		f := p.file(op.Path)
		f.dirty = append(f.dirty, stretch{op.Offset, op.Length})
	case vfs.OpSync:
		g.synced(m, s, p.file(op.Path))
	case vfs.OpRename:
		f := p.file(op.Path)
		p.remove(op.To)
		f.path, f.named, p.latest = op.To, false, nil
	case vfs.OpRemove:
		p.remove(op.Path)
	case vfs.OpSyncDir:
		for _, f := range p.files {
			if f.named || !strings.HasPrefix(f.path, op.Path) {
				continue
			}
			f.named = true
			if isSegment(f.path) {
				g.durable(m, s, f.waiting)
			}
			f.waiting = nil
		}
	}
}

// failed: what a failed sync left is not on the disk, and never will be by a later one (E5). A spare that does not fit is no
// failure.
func (g *ghost) failed(p *plate, op vfs.Op) {
	switch {
	case errors.Is(op.Err, vfs.ErrFrozen):
	case op.Kind == vfs.OpSync:
		p.file(op.Path).dirty = nil
		p.failed = op.String()
	case op.Kind == vfs.OpWrite && isSegment(op.Path):
		p.failed = op.String()
	}
}

// synced reads the frames that a sync covers.
func (g *ghost) synced(m *member, s *shadow, f *plateFile) {
	data := m.disk.Peek(f.path)
	read := int64(0)
	for _, d := range f.dirty {
		if d.offset < read {
			continue // written twice before the sync
		}
		end := min(d.offset+int64(d.length), int64(len(data)))
		if d.offset == 0 {
			d.offset = segmentBegin
		}
		if d.offset >= end {
			continue
		}
		frames := readFrames(data[d.offset:end], uint64(d.offset))
		read = end
		if f.named && isSegment(f.path) {
			g.durable(m, s, frames)
		} else {
			f.waiting = append(f.waiting, frames...)
		}
	}
	f.dirty = f.dirty[:0]
}

// readFrames reads the frames that stand at an offset of a segment, until there are no more.
func readFrames(b []byte, offset uint64) (all []frame) {
	le := binary.LittleEndian
	for len(b) >= frameHeader {
		length, count, runs := le.Uint32(b[4:]), le.Uint32(b[72:]), le.Uint32(b[76:])
		table := frameHeader + 16*uint64(runs) + 8*uint64(count)
		if uint64(length) > uint64(len(b)) || table > uint64(length) || le.Uint32(b) != sumOf(b[4:table]) || le.Uint64(b[16:]) != offset {
			return all
		}
		f := frame{kind: b[92], first: le.Uint64(b[40:]), term: le.Uint64(b[48:]), vote: le.Uint64(b[56:])}
		at, run, body := frameHeader+16*uint64(runs), -1, b[table:length]
		for i := range uint64(count) {
			for run+1 < int(runs) && le.Uint64(b[frameHeader+16*(run+1):]) <= f.first+i {
				run++
			}
			size, sum := le.Uint32(b[at+8*i:]), le.Uint32(b[at+8*i+4:])
			if run < 0 || uint64(size) > uint64(len(body)) || sumOf(body[:size]) != sum {
				return all
			}
			f.terms, f.sums = append(f.terms, le.Uint64(b[frameHeader+16*run+8:])), append(f.sums, sum)
			body = body[size:]
		}
		all = append(all, f)
		b, offset = b[length:], offset+uint64(length)
	}
	return all
}

// durable: frames are on the disk for sure. The log's own word for it comes later, or never.
func (g *ghost) durable(m *member, s *shadow, frames []frame) {
	for i := range frames {
		f, p := &frames[i], &s.plate
		if f.kind == frameOfOpening && p.takenFrom > 0 && f.first != uint64(len(s.disk))+1 {
			s.disk = append(s.disk[:p.takenFrom-1], p.taken...)
		}
		if f.first == 0 || f.first > uint64(len(s.disk))+1 {
			if m.disk.doomed {
				return // what it holds is damaged; what can be read of it, recovery tells
			}
			g.fail("disk as told", "on the disk of member %d entry %d follows a log of %d entries", m.id, f.first, len(s.disk))
			return
		}
		p.takenFrom, p.taken = f.first, append(p.taken[:0], s.disk[f.first-1:]...)
		s.disk = append(s.disk[:f.first-1], f.terms...)
		for k, sum := range f.sums {
			index := f.first + uint64(k)
			if is := g.facts.of(index, f.terms[k]); is.sum != sum || is.before != termAt(s.disk, index-1) {
				g.fail("disk as told", "the disk of member %d has at index %d an entry of term %d that nobody ever appended there", m.id, index, f.terms[k])
			}
		}
		p.term, p.vote = f.term, f.vote
		if f.kind == frameOfEntries || f.kind == frameOfIdle {
			g.written(m, s)
		}
	}
}

// written: one frame holds all that the LogStore was handed since the last.
func (g *ghost) written(m *member, s *shadow) {
	if len(s.toDisk) == 0 || s.incarnation == 0 || s.running != s.incarnation {
		return // by a LogStore that opens: see returned
	}
	hard := &s.toDisk[len(s.toDisk)-1]
	for i := range s.toDisk {
		s.told = s.toDisk[i].applyTo(s.told)
		if from := s.toDisk[i].from; from != 0 && from <= s.promised.index {
			s.promised = position{from - 1, termAt(s.told, from-1)} // replaced by a leader who may
		}
	}
	if len(s.told) != len(s.disk) || termAt(s.told, uint64(len(s.told))) != termAt(s.disk, uint64(len(s.disk))) ||
		s.plate.term != hard.term || s.plate.vote != hard.vote {
		g.fail("disk as told", "member %d wrote a log of %d entries, term %d, vote %d; it was handed %d entries, term %d, vote %d",
			m.id, len(s.disk), s.plate.term, s.plate.vote, len(s.told), hard.term, hard.vote)
	}
	s.toDisk = s.toDisk[:0]
}
