package checker

import (
	"errors"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// durableDisk models the disk of a member as its syncs leave it. It does not ask the log what is
// durable. It observes every operation on the files, and decodes the frames in the bytes that each
// sync covers, by docs/storage-format.md and without the production code (frames.go). So at any
// step it knows what the member would find after a power cut that loses all that was not synced.
//
// The bytes of a file become durable in two steps, in either order: a sync of the file makes its
// dirty ranges durable, and a sync of the directory makes its name durable. Frames count when both
// have happened:
//
//	create ── write ── sync ── sync of the directory   they wait in unnamed until the last sync
//	create ── sync of the directory ── write ── sync   they count at the sync of the file
//
// After a power cut the disk itself decides about names that were not durable: if the file is
// there, its frames count. After the end of a process without a power cut nothing changes, and what
// was not synced still is not.
type durableDisk struct {
	files           []*diskFile
	latest          *diskFile // the file that was looked up last
	term, vote      uint64
	powerLost       bool   // the power failed since the last start
	failedOperation string // the operation that failed in this run: no acknowledgement may follow (E5)
	// What the last frame replaced. Recovery does not rely on that frame, since no later one confirms
	// it: the segment that begins after it continues from before it, and has a copy of it in its
	// preamble.
	replacedFrom  uint64
	replacedTerms []uint64
}

// diskFile is a file in the directory of the log.
type diskFile struct {
	path    string
	named   bool // the directory was synced since the file has this name
	dirty   []byteRange
	unnamed []frame // synced while the name was not
}

type byteRange struct {
	offset int64
	length int
}

// diskContents is what a disk held before it was damaged.
type diskContents struct {
	log        []uint64
	term, vote uint64
}

// MemberStarts observes that a process of a member starts.
func (c *Checker) MemberStarts(m Member, nodeLimits node.Limits, replicatorLimits replicator.Limits) {
	s := c.models[m.ID()]
	d := &s.disk
	s.view = actors.NodeView{}
	s.nodeIncarnation, s.logIncarnation, d.failedOperation = 0, 0, ""
	s.nodeLimits, s.replicatorLimits = nodeLimits, replicatorLimits
	s.restoreUndamaged(m.Storage().HasDamage())
	if !d.powerLost {
		return
	}
	files := d.files
	d.powerLost, d.files, d.latest = false, nil, nil
	for _, f := range files {
		if !f.named && isSegment(f.path) && m.Storage().Peek(f.path) != nil {
			c.framesDurable(m, s, f.unnamed)
		}
	}
}

// PowerLost observes that the power of a member fails.
func (c *Checker) PowerLost(id uint64) { c.models[id].disk.powerLost = true }

// restoreUndamaged: a script may restore what was on a disk before it was damaged.
func (s *memberModel) restoreUndamaged(damaged bool) {
	switch {
	case damaged && s.undamaged == nil:
		s.undamaged = &diskContents{slices.Clone(s.durableLog), s.disk.term, s.disk.vote}
	case !damaged && s.undamaged != nil:
		s.durableLog, s.disk.term, s.disk.vote = s.undamaged.log, s.undamaged.term, s.undamaged.vote
		s.writtenLog, s.pendingChanges, s.undamaged = slices.Clone(s.durableLog), nil, nil
	}
}

func (d *durableDisk) file(path string) *diskFile {
	if d.latest != nil && d.latest.path == path {
		return d.latest
	}
	for _, f := range d.files {
		if f.path == path {
			d.latest = f
			return f
		}
	}
	f := &diskFile{path: path, named: true} // it is from an earlier run
	d.files, d.latest = append(d.files, f), f
	return f
}

func (d *durableDisk) remove(path string) {
	d.latest = nil
	for i, f := range d.files {
		if f.path == path {
			d.files = append(d.files[:i], d.files[i+1:]...)
			return
		}
	}
}

func isSegment(path string) bool { return strings.HasSuffix(path, ".seg") }

// DiskOperation observes the end of an operation on the disk of a member.
func (c *Checker) DiskOperation(m Member, op vfs.Op) {
	s := c.models[m.ID()]
	d := &s.disk
	if op.Err != nil {
		d.operationFailed(op)
		return
	}
	switch op.Kind {
	case vfs.OpCreate:
		d.remove(op.Path)
		d.file(op.Path).named = false
	case vfs.OpWrite:
		f := d.file(op.Path)
		f.dirty = append(f.dirty, byteRange{op.Offset, op.Length})
	case vfs.OpSync:
		c.synced(m, s, d.file(op.Path))
	case vfs.OpRename:
		f := d.file(op.Path)
		d.remove(op.To)
		f.path, f.named, d.latest = op.To, false, nil
	case vfs.OpRemove:
		d.remove(op.Path)
	case vfs.OpSyncDir:
		for _, f := range d.files {
			if f.named || !strings.HasPrefix(f.path, op.Path) {
				continue
			}
			f.named = true
			if isSegment(f.path) {
				c.framesDurable(m, s, f.unnamed)
			}
			f.unnamed = nil
		}
	}
}

// operationFailed: the bytes of a failed sync are not on the disk, and no later sync covers them
// (E5). A spare segment that does not fit is no failure of the log.
func (d *durableDisk) operationFailed(op vfs.Op) {
	switch {
	case errors.Is(op.Err, vfs.ErrFrozen):
	case strings.Contains(op.Path, persistence.PeersFile): // no file of the log
	case op.Kind == vfs.OpSync:
		d.file(op.Path).dirty = nil
		d.failedOperation = op.String()
	case op.Kind == vfs.OpWrite && isSegment(op.Path):
		d.failedOperation = op.String()
	}
}

// synced decodes the frames that a sync covers.
func (c *Checker) synced(m Member, s *memberModel, f *diskFile) {
	data := m.Storage().Peek(f.path)
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
		if f.named && isSegment(f.path) {
			c.framesDurable(m, s, frames)
		} else {
			f.unnamed = append(f.unnamed, frames...)
		}
	}
	f.dirty = f.dirty[:0]
}

// framesDurable: frames are on the disk for certain. The LogStore reports that later, or never.
func (c *Checker) framesDurable(m Member, s *memberModel, frames []frame) {
	id, d := m.ID(), &s.disk
	for i := range frames {
		f := &frames[i]
		if f.kind == framePreamble && d.replacedFrom > 0 && f.first != uint64(len(s.durableLog))+1 {
			s.durableLog = append(s.durableLog[:d.replacedFrom-1], d.replacedTerms...)
		}
		if f.first == 0 || f.first > uint64(len(s.durableLog))+1 {
			if m.Storage().HasDamage() {
				return // recovery shows what can be read of it
			}
			c.fail("disk matches appends", "on the disk of member %d entry %d follows a log of %d entries", id, f.first, len(s.durableLog))
			return
		}
		d.replacedFrom, d.replacedTerms = f.first, append(d.replacedTerms[:0], s.durableLog[f.first-1:]...)
		s.durableLog = append(s.durableLog[:f.first-1], f.terms...)
		for k, sum := range f.sums {
			index := f.first + uint64(k)
			if is := c.entries.lookup(index, f.terms[k]); is.sum != sum || is.before != termAt(s.durableLog, index-1) {
				c.fail("disk matches appends", "the disk of member %d has at index %d an entry of term %d that was never appended there", id, index, f.terms[k])
			}
		}
		d.term, d.vote = f.term, f.vote
		if f.kind == frameEntries || f.kind == frameIdle {
			c.checkWritten(id, s)
		}
	}
}

// checkWritten: one frame has all changes that the LogStore was given since the last one.
func (c *Checker) checkWritten(id uint64, s *memberModel) {
	if len(s.pendingChanges) == 0 || s.logIncarnation == 0 || s.nodeIncarnation != s.logIncarnation {
		return // written by a LogStore that opens: see reconcileRecovered
	}
	hard := &s.pendingChanges[len(s.pendingChanges)-1]
	for i := range s.pendingChanges {
		s.writtenLog = s.pendingChanges[i].applyTo(s.writtenLog)
		if from := s.pendingChanges[i].from; from != 0 && from <= s.acknowledged.index {
			s.acknowledged = position{from - 1, termAt(s.writtenLog, from-1)} // a later leader replaced it
		}
	}
	if len(s.writtenLog) != len(s.durableLog) || termAt(s.writtenLog, uint64(len(s.writtenLog))) != termAt(s.durableLog, uint64(len(s.durableLog))) ||
		s.disk.term != hard.term || s.disk.vote != hard.vote {
		c.fail("disk matches appends", "member %d wrote a log of %d entries, term %d, vote %d; it was given %d entries, term %d, vote %d",
			id, len(s.durableLog), s.disk.term, s.disk.vote, len(s.writtenLog), hard.term, hard.vote)
	}
	s.pendingChanges = s.pendingChanges[:0]
}
