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

// InspectOptions says how Dump and Verify look at a data directory. They never write.
type InspectOptions struct {
	// EvenIfRunning looks at the log of a running node too: what is being written just then shows as a torn write.
	EvenIfRunning bool
}

// FrameInfo is one frame of the log, for people.
type FrameInfo struct {
	File     string
	Segment  uint64
	Offset   int64
	Bytes    int
	Kind     string // "open", "batch", "idle", "base", "index"
	Sequence uint64
	// The segment was synced up to here when the frame was written.
	DurableEnd int64
	HardState  *messages.HardState
	// The log ends before First, then come the entries, if any.
	First   uint64
	Entries *messages.Entries
	// Of a base or open frame.
	BaseIndex, BaseTerm uint64
	BaseConfiguration   *messages.Configuration
}

// Report is what Verify found.
type Report struct {
	Identity              Identity
	FirstIndex, LastIndex uint64
	HardState             *messages.HardState
	Segments              int
	Frames                int
	Entries               int // of all frames, those that later ones override too
	Bytes                 int64
	Warnings              []string
}

// Dump shows every frame of a data directory's log in the order in which they were written, and ends where the log does.
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

// Verify reads all of a data directory's log and checks every sum, every link from frame to frame and from segment to
// segment, and every index against the frames that it is of. The error is a *CorruptError for the first thing wrong.
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
		report.HardState = &messages.HardState{Term: hard.term, Vote: hard.vote, Commit: hard.commit}
		if err != nil {
			return err
		}
		return r.verifyIndexes()
	})
	return report, err
}

func openForInspection(filesystem vfs.FS, dataDir string, how InspectOptions, look func(Identity, *recoveryState) error) error {
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
	return look(id, r)
}

// walk visits every frame of every segment, up to where each ends for ever; the newest up to its last good frame.
func (r *recoveryState) walkFrames(visit func(s *segment, f *frameHeader, b []byte) error) error {
	for i, s := range r.segments {
		file, err := r.options.FS.Open(s.path)
		if err != nil {
			return readError(s.path, 0, err)
		}
		err = r.walkSegment(i, file, func(f *frameHeader, b []byte) error { return visit(s, f, b) })
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *recoveryState) walkSegment(i int, file vfs.File, visit func(f *frameHeader, b []byte) error) error {
	s := r.segments[i]
	w, err := newFileWindow(file, s.path, scanReadBytes)
	if err != nil {
		return err
	}
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
		return corruptError(s.path, sc.end, "the segment ends with checksum %08x, its successor says %08x", sc.lastCRC, next.previousCRC)
	}
	return nil
}

// verifyIndexes makes every index anew and compares.
func (r *recoveryState) verifyIndexes() error {
	for i, s := range r.segments[:max(0, len(r.segments)-1)] {
		next := &r.headers[i+1]
		made, err := rebuildIndex(r.options.FS, s, &r.headers[i], int64(next.previousEnd), next.previousCRC)
		if err != nil {
			return err
		}
		kept, err := loadIndex(r.options.FS, s, int64(next.previousEnd), next.previousCRC)
		if err != nil {
			return corruptIfInvalid(s.indexAt.path, s.indexAt.offset, "read the index of "+s.path, err)
		}
		if made.first != kept.first || made.last != kept.last || !slices.Equal(made.rows, kept.rows) ||
			!slices.Equal(made.runs, kept.runs) || !slices.Equal(made.configurations, kept.configurations) {
			return corruptError(s.indexAt.path, s.indexAt.offset, "the index of %s is not that of its frames", s.path)
		}
	}
	return nil
}

func (f *frameHeader) info(s *segment, b []byte) (FrameInfo, error) {
	info := FrameInfo{
		File: s.path, Segment: s.sequence, Offset: int64(f.offset), Bytes: int(f.length), Kind: f.kind.String(), Sequence: f.sequence,
		DurableEnd: int64(f.durableEnd), First: f.first,
		HardState: &messages.HardState{Term: f.hard.term, Vote: f.hard.vote, Commit: f.hard.commit},
	}
	switch f.kind {
	case kindBatch:
		info.Entries = f.decodeEntries(b)
	case kindBase, kindOpen:
		base, err := decodeBase(b[f.tableEnd() : f.tableEnd()+int64(f.payloadBytes)])
		if err != nil {
			return info, err
		}
		info.BaseIndex, info.BaseTerm, info.BaseConfiguration = base.index, base.term, base.configuration
	}
	return info, nil
}
