package persistence

import (
	"cmp"
	"path/filepath"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Options configure a log. Every segment holds NodeID and StorageID; Open refuses a segment of
// another member or of another disk with ErrWrongMember.
type Options struct {
	FS        vfs.FS
	Dir       string
	NodeID    uint64
	StorageID [16]byte
	// MustExist makes Open refuse an empty directory with ErrCorrupt: the log was lost.
	MustExist bool
	// FirstSegmentBytes and SegmentBytes are the sizes of the first segment and of later ones, which
	// double up to SegmentBytes. Zero: 1 MiB and 64 MiB.
	FirstSegmentBytes int64
	SegmentBytes      int64
	// LowWater is the number of free bytes on the disk below which Log.DiskLow is true. Zero: 256 MiB.
	LowWater uint64

	skipOwnerCheck   bool // accept segments of any member
	concurrentWriter bool // a running node may append meanwhile
}

func (o *Options) setDefaults() {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, defaults.SegmentBytes)
	o.FirstSegmentBytes = cmp.Or(o.FirstSegmentBytes, min(defaults.FirstSegmentBytes, o.SegmentBytes))
	o.LowWater = cmp.Or(o.LowWater, defaults.DiskLowWaterBytes)
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }
