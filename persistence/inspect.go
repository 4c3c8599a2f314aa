package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// InspectOptions are the options of Dump and Verify. Neither ever writes.
type InspectOptions struct {
	// EvenIfRunning reads the log of a running node too. A frame that is being written then looks like
	// a write that did not finish.
	EvenIfRunning bool
}

// FrameInfo describes one frame of the log.
type FrameInfo struct {
	File     string
	Segment  uint64
	Offset   int64
	Bytes    int
	Kind     string // "open", "batch", "idle", "base", "index"
	Sequence uint64
	// DurableEnd is the offset up to which the segment was durable when the frame was written.
	DurableEnd int64
	HardState  *messages.HardState
	// The frame truncates the log to end before First, then appends Entries (nil: none).
	First   uint64
	Entries *messages.Entries
	// Only of a base or open frame.
	BaseIndex, BaseTerm uint64
	BaseConfiguration   *messages.Configuration
}

// Report is the result of Verify.
type Report struct {
	Identity              Identity
	FirstIndex, LastIndex uint64
	HardState             *messages.HardState
	Segments              int
	Frames                int
	Entries               int // of all frames, overridden ones included
	Bytes                 int64
	Warnings              []string
}

// Dump calls show for every frame of a data directory's log in the order in which they were
// written.
func Dump(filesystem vfs.FS, dataDir string, how InspectOptions, show func(FrameInfo) error) error {
	return openForInspection(filesystem, dataDir, how, func(_ Identity, r *recoveryState) error {
		return r.walkFrames(func(s *segment, f *frameHeader, b []byte) error {
			info, err := f.info(s, b)
			if err != nil {
				return corruptError(s.path, int64(f.offset), "%v", err)
			}
			return show(info)
		})
	})
}

// Verify reads the whole log of a data directory. It checks every checksum, the order of frames and
// segments, and every index against the frames of its segment. It returns a *CorruptError for the
// first fault.
func Verify(filesystem vfs.FS, dataDir string, how InspectOptions) (Report, error) {
	var report Report
	err := openForInspection(filesystem, dataDir, how, func(id Identity, r *recoveryState) error {
		hard := r.provenHard
		report = Report{Identity: id, FirstIndex: r.base.index + 1, LastIndex: r.last, Segments: len(r.segments), Warnings: r.warnings}
		err := r.walkFrames(func(s *segment, f *frameHeader, b []byte) error {
			report.Frames++
			report.Entries += int(f.entryCount)
			report.Bytes += int64(f.length)
			return nil
		})
		for _, c := range r.unproven {
			report.LastIndex, hard = c.header.lastIndex(), c.header.hard
		}
		report.HardState = hard.message()
		if err != nil {
			return err
		}
		return r.verifyIndexes()
	})
	return report, err
}

func openForInspection(filesystem vfs.FS, dataDir string, how InspectOptions, inspect func(Identity, *recoveryState) error) error {
	path := filepath.Join(dataDir, lockFile)
	if _, err := filesystem.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readError(path, 0, err)
	} else if err == nil && !how.EvenIfRunning {
		lock, err := lockDir(filesystem, dataDir)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	id, err := ReadIdentity(filesystem, dataDir)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	o := Options{FS: filesystem, Dir: filepath.Join(dataDir, LogDirName), NodeID: id.NodeID, StorageID: id.StorageID, concurrentWriter: how.EvenIfRunning}
	o.setDefaults()
	r, err := analyzeLog(&o)
	if err != nil {
		return err
	}
	return inspect(id, r)
}

// walkFrames calls visit for every frame of every segment, up to the end that the next segment
// gives; in the newest segment, up to the last valid frame.
func (r *recoveryState) walkFrames(visit func(s *segment, f *frameHeader, b []byte) error) error {
	for i, s := range r.segments {
		err := r.walkSegment(i, func(f *frameHeader, b []byte) error { return visit(s, f, b) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *recoveryState) walkSegment(i int, visit func(f *frameHeader, b []byte) error) error {
	s := r.segments[i]
	w, err := openFileWindow(r.options.FS, s.path, scanReadBytes)
	if err != nil {
		return err
	}
	defer w.file.Close()
	newest := i == len(r.segments)-1
	limit := w.size
	if !newest {
		limit = int64(r.headers[i+1].previousEnd)
	}
	sc := segmentScanner{window: w, header: r.headers[i]}
	if err := sc.scan(limit, visit); err != nil || newest {
		return err
	}
	if sc.stopReason != nil {
		return corruptError(s.path, sc.end, "%v", sc.stopReason)
	}
	if next := &r.headers[i+1]; sc.lastCRC != next.previousCRC {
		return corruptError(s.path, sc.end, "the segment ends with checksum %08x, the next segment has %08x", sc.lastCRC, next.previousCRC)
	}
	return nil
}

// verifyIndexes rebuilds every index and compares it with the one on the disk.
func (r *recoveryState) verifyIndexes() error {
	for i, s := range r.segments[:max(0, len(r.segments)-1)] {
		next := &r.headers[i+1]
		rebuilt, err := rebuildIndex(r.options.FS, s, &r.headers[i], next)
		if err != nil {
			return err
		}
		stored, err := loadIndex(r.options.FS, s, next)
		if err != nil {
			return corruptIfInvalid(s.indexAt.path, s.indexAt.offset, "read the index of "+s.path, err)
		}
		if rebuilt.first != stored.first || rebuilt.last != stored.last || !slices.Equal(rebuilt.rows, stored.rows) ||
			!slices.Equal(rebuilt.runs, stored.runs) || !slices.Equal(rebuilt.configurations, stored.configurations) {
			return corruptError(s.indexAt.path, s.indexAt.offset, "the index of %s does not match its frames", s.path)
		}
	}
	return nil
}

func (f *frameHeader) info(s *segment, b []byte) (FrameInfo, error) {
	info := FrameInfo{
		File: s.path, Segment: s.sequence, Offset: int64(f.offset), Bytes: int(f.length), Kind: f.kind.String(), Sequence: f.sequence,
		DurableEnd: int64(f.durableEnd), First: f.first,
		HardState: f.hard.message(),
	}
	switch f.kind {
	case kindBatch:
		info.Entries = f.decodeEntries(b)
	case kindBase, kindOpen:
		base, err := decodeBase(f.payload(b))
		if err != nil {
			return info, err
		}
		info.BaseIndex, info.BaseTerm, info.BaseConfiguration = base.index, base.term, base.configuration
	}
	return info, nil
}
