package persistence

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

const (
	probeFileName  = "probe" // next to the segments; its content is never read
	probeFileBytes = 512     // one sector
)

// diskProbe is a small file that is overwritten and synced to test the disk.
type diskProbe struct {
	file  vfs.File // nil until the first probe
	count uint64
}

// ProbeDisk tests the disk without making the log longer: it overwrites one sector of a separate
// file and syncs it. A failure latches the log, as that of any other write.
func (l *Log) ProbeDisk() error {
	if l.latched != nil {
		return l.latched
	}
	if err := l.probe.write(l.options.FS, l.path(probeFileName)); err != nil {
		return l.latch("probe the disk", err)
	}
	return nil
}

func (p *diskProbe) write(filesystem vfs.FS, path string) (err error) {
	if p.file == nil {
		p.file, err = filesystem.OpenReadWrite(path)
		if errors.Is(err, fs.ErrNotExist) {
			p.file, err = filesystem.Create(path)
		}
		if err != nil {
			p.file = nil
			return err
		}
	}
	p.count++
	var sector [probeFileBytes]byte
	le.PutUint64(sector[:], p.count)
	if err := writeFull(p.file, path, sector[:], 0); err != nil {
		return err
	}
	if err := p.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

func (p *diskProbe) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}
