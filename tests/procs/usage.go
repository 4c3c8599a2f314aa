package procs

import (
	"fmt"
	"time"
)

// Usage is what a process has used of the machine since it started, and what it holds now.
type Usage struct {
	CPU time.Duration // user and system
	// ResidentBytes now; PeakBytes the most it ever held.
	ResidentBytes, PeakBytes uint64
}

// Add returns the sum of two processes.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		CPU:           u.CPU + v.CPU,
		ResidentBytes: u.ResidentBytes + v.ResidentBytes,
		PeakBytes:     u.PeakBytes + v.PeakBytes,
	}
}

// Since returns what was used after an earlier reading; what is held stays as it is now.
func (u Usage) Since(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	return u
}

// Usage reads what the process has used.
func (p *Process) Usage() (Usage, error) {
	u, err := usageOf(p.PID())
	if err != nil {
		return Usage{}, fmt.Errorf("reading the usage of process %d: %w", p.PID(), err)
	}
	return u, nil
}

// DeviceWritten is how many bytes the block device under a path has been told to write since the
// system started, by whomever. It is not told by process: write_bytes of /proc/<pid>/io counts a
// whole folio of the page cache for one byte changed in it, which with the large folios of Linux 6
// came to 1 MiB for a synced write of 4 KiB.
//
// What is still in memory is not counted: sync(2) before each reading.
func DeviceWritten(path string) (uint64, error) {
	written, err := deviceWritten(path)
	if err != nil {
		return 0, fmt.Errorf("reading what was written to the device under %s: %w", path, err)
	}
	return written, nil
}
