package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// probeName is a file beside the segments that holds nothing worth keeping.
const probeName = "probe"

// probeBytes is one sector.
const probeBytes = 512

// NothingNew tells that what was added says nothing that is not on the disk already: no entries, no truncation, the same
// term and vote. It may hold a newer commit index, which goes along with the next write.
func (l *Log) NothingNew() bool {
	p := &l.pending
	return p.any && len(p.entries.Data) == 0 && p.entries.First == l.catalog.terms.Last()+1 &&
		p.hard.term == l.hard.term && p.hard.vote == l.hard.vote
}

// Probe has the disk give a sign of life without the log growing: it writes over one small file and syncs it. A failure
// ends the log as that of any other write.
func (l *Log) Probe() error {
	if l.failed != nil {
		return l.failed
	}
	if err := l.writeProbe(); err != nil {
		return l.fail("probe the disk", err)
	}
	return nil
}

func (l *Log) writeProbe() (err error) {
	path := l.path(probeName)
	if l.probe == nil {
		l.probe, err = l.o.FS.OpenReadWrite(path)
		if errors.Is(err, fs.ErrNotExist) {
			l.probe, err = l.o.FS.Create(path)
		}
		if err != nil {
			l.probe = nil
			return err
		}
	}
	l.probes++
	var sector [probeBytes]byte
	binary.LittleEndian.PutUint64(sector[:], l.probes)
	if n, err := l.probe.WriteAt(sector[:], 0); err != nil || n != probeBytes {
		return fmt.Errorf("write %s: %w", path, shortIfNil(err))
	}
	if err := l.probe.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
