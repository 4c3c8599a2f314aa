package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// probeFileName is a file beside the segments that holds nothing worth keeping.
const probeFileName = "probe"

// probeFileBytes is one sector.
const probeFileBytes = 512

// PendingIsRedundant tells that what was added says nothing that is not on the disk already: no entries, no truncation, the same
// term and vote. It may hold a newer commit index, which goes along with the next write.
func (l *Log) PendingIsRedundant() bool {
	p := &l.pending
	return p.nonEmpty && len(p.entries.Data) == 0 && p.entries.First == l.published.terms.LastIndex()+1 &&
		p.hard.term == l.hard.term && p.hard.vote == l.hard.vote
}

// Probe has the disk give a sign of life without the log growing: it writes over one small file and syncs it. A failure
// ends the log as that of any other write.
func (l *Log) ProbeDisk() error {
	if l.latched != nil {
		return l.latched
	}
	if err := l.writeProbeFile(); err != nil {
		return l.latch("probe the disk", err)
	}
	return nil
}

func (l *Log) writeProbeFile() (err error) {
	path := l.path(probeFileName)
	if l.probeFile == nil {
		l.probeFile, err = l.options.FS.OpenReadWrite(path)
		if errors.Is(err, fs.ErrNotExist) {
			l.probeFile, err = l.options.FS.Create(path)
		}
		if err != nil {
			l.probeFile = nil
			return err
		}
	}
	l.probeCount++
	var sector [probeFileBytes]byte
	binary.LittleEndian.PutUint64(sector[:], l.probeCount)
	if n, err := l.probeFile.WriteAt(sector[:], 0); err != nil || n != probeFileBytes {
		return fmt.Errorf("write %s: %w", path, orShortWrite(err))
	}
	if err := l.probeFile.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
