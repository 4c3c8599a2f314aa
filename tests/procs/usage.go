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
	// WrittenBytes is what it caused to be written to storage (write_bytes of /proc/<pid>/io): page cache that became
	// dirty on its behalf, so a page rewritten before its write-back counts once.
	WrittenBytes uint64
}

// Add returns the sum of two processes.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		CPU:           u.CPU + v.CPU,
		ResidentBytes: u.ResidentBytes + v.ResidentBytes,
		PeakBytes:     u.PeakBytes + v.PeakBytes,
		WrittenBytes:  u.WrittenBytes + v.WrittenBytes,
	}
}

// Since returns what was used after an earlier reading; what is held stays as it is now.
func (u Usage) Since(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	u.WrittenBytes -= earlier.WrittenBytes
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
