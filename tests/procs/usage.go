package procs

import (
	"fmt"
	"time"
)

// Usage is the CPU time and the memory of a process.
type Usage struct {
	CPU           time.Duration // user and system, since the start
	ResidentBytes uint64        // at present
	PeakBytes     uint64        // the largest ResidentBytes since the start
}

// Add returns the sum of the usage of two processes.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		CPU:           u.CPU + v.CPU,
		ResidentBytes: u.ResidentBytes + v.ResidentBytes,
		PeakBytes:     u.PeakBytes + v.PeakBytes,
	}
}

// Since returns u with the CPU time since an earlier reading.
func (u Usage) Since(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	return u
}

// Usage reads the usage of the process. It returns errors.ErrUnsupported outside Linux.
func (p *Process) Usage() (Usage, error) {
	u, err := usageOf(p.PID())
	if err != nil {
		return Usage{}, fmt.Errorf("reading the usage of process %d: %w", p.PID(), err)
	}
	return u, nil
}

// DeviceWritten returns the number of bytes that all processes have written to the block device
// under a path since the system started. Pages in memory are not counted: call sync(2) first.
//
// The kernel's count for each process, write_bytes of /proc/<pid>/io, is not usable: it counts a
// whole folio of the page cache for one changed byte. With the large folios of Linux 6 that was 1
// MiB for a synced write of 4 KiB.
func DeviceWritten(path string) (uint64, error) {
	written, err := deviceWritten(path)
	if err != nil {
		return 0, fmt.Errorf("reading the write counter of the device under %s: %w", path, err)
	}
	return written, nil
}
