package persistence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// readFaultRunner runs a workload. After each step it starts the member on disks where each single
// read in turn fails, or returns one flipped bit, once. A start that cannot read must fail, not
// continue with less; and once the disk can be read again, everything acknowledged must be there.
type readFaultRunner struct {
	workload *crashWorkload
	random   *rand.Rand
	oneIn    int // one in so many acknowledgements is tried
	err      error

	failures, flips, refused int
}

func (u *readFaultRunner) run() error {
	mem := vfs.NewMem()
	r := newWorkloadRunner(u.workload, mem, 1)
	r.onAcknowledge = func() {
		if u.err != nil || r.log == nil || u.random.IntN(u.oneIn) != 0 {
			return
		}
		u.failEachRead(mem.CrashClone(vfs.LoseUnsynced), r, "the power fails")
		u.failEachRead(mem.KillClone(), r, "the process is killed")
	}
	err := r.runAll()
	r.stop()
	if u.err == nil {
		u.err = err
	}
	return u.err
}

// failEachRead makes each read of a start on this disk go wrong once.
func (u *readFaultRunner) failEachRead(disk *vfs.MemFS, before *workloadRunner, how string) {
	for n := 1; u.err == nil; n++ {
		op, err := u.failRead(disk.KillClone(), before, n)
		if err != nil {
			u.err = fmt.Errorf("workload %q, %s: %s, read %d of the next start fails, %v: %w", u.workload.name, before.position, how, n, op, err)
		}
		if op.Kind == vfs.OpRead && u.err == nil {
			if bit, err := u.flipRead(disk.KillClone(), before, n); err != nil {
				u.err = fmt.Errorf("workload %q, %s: %s, read %d of the next start has bit %d flipped, %v: %w", u.workload.name, before.position, how, n, bit, op, err)
			}
		}
		if op.Path == "" {
			return // there are no more reads
		}
	}
}

// restart starts the member on a disk after workload before. If n is not 0, its nth read meets the
// error that hurt returns.
func (u *readFaultRunner) restart(disk *vfs.MemFS, before *workloadRunner, n int, hurt func(vfs.Op) error) error {
	next := newWorkloadRunner(u.workload, disk, 2)
	next.modelBefore, next.modelAfter, next.identity, next.readsFail = before.modelBefore, before.modelAfter, before.identity, n > 0
	disk.Inject(func(op vfs.Op) error {
		if op.Kind.ReadOnly() && next.log == nil { // later reads are those of the check
			if n--; n == 0 {
				return hurt(op)
			}
		}
		return nil
	})
	err := next.open()
	disk.Inject(nil)
	next.stop()
	return err
}

// failRead makes the nth read fail. The start must fail, name the file, and change nothing
// afterwards.
func (u *readFaultRunner) failRead(disk *vfs.MemFS, before *workloadRunner, n int) (failed vfs.Op, err error) {
	var after []vfs.Op
	disk.Observe(func(op vfs.Op) {
		if failed.Path != "" && modifiesDisk(op) {
			after = append(after, op)
		}
	})
	err = u.restart(disk, before, n, func(op vfs.Op) error {
		failed = op
		return syscall.EIO
	})
	disk.Observe(nil)
	if failed.Path == "" {
		return failed, err
	}
	u.failures++
	switch {
	case err == nil:
		// The start succeeded. That is right only for the truncation of the former segment, on which
		// nothing depends.
		if failed.Kind != vfs.OpOpen || !strings.HasSuffix(failed.Path, segmentSuffix) {
			return failed, violation("the start succeeded")
		}
	case errors.Is(err, errViolation) || errors.Is(err, ErrCorrupt) || !errors.Is(err, syscall.EIO):
		return failed, violation("the start returned %v", err)
	case !strings.Contains(err.Error(), failed.Path):
		return failed, violation("the start's error does not name the file: %v", err)
	case len(after) > 0:
		return failed, violation("the start returned %v, after it changed the disk: %v", err, after)
	}
	for _, left := range []*vfs.MemFS{disk.KillClone(), disk.CrashClone(vfs.LoseUnsynced)} {
		if err := u.restart(left, before, 0, nil); err != nil {
			return failed, fmt.Errorf("the start after that: %w", err)
		}
	}
	return failed, nil
}

// flipRead flips a bit in the nth read. The start must recover everything or refuse.
func (u *readFaultRunner) flipRead(disk *vfs.MemFS, before *workloadRunner, n int) (bit int64, err error) {
	u.flips++
	err = u.restart(disk, before, n, func(op vfs.Op) error {
		bit = u.pickBit(disk.Peek(op.Path), op)
		return &vfs.FlippedRead{Bit: bit}
	})
	if err == nil {
		return bit, nil
	}
	u.refused++
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrWrongMember) && !errors.Is(err, ErrWrongCluster) {
		return bit, err
	}
	if err := u.restart(disk.KillClone(), before, 0, nil); err != nil {
		return bit, fmt.Errorf("the start after that: %w", err)
	}
	return bit, nil
}

// pickBit draws a bit of those that a read returns, mostly of a byte that is not zero.
func (u *readFaultRunner) pickBit(data []byte, op vfs.Op) int64 {
	at := u.random.IntN(op.Length)
	for range 2000 {
		if off := op.Offset + int64(at); off < int64(len(data)) && data[off] != 0 {
			break
		}
		at = u.random.IntN(min(op.Length, 1+u.random.IntN(op.Length)))
	}
	return int64(at)*8 + u.random.Int64N(8)
}

// TestE7RecoveryReadFaultTruncatesNothing checks that a read that fails or returns wrong bytes is
// never taken for the end of the log, which would be a silent truncation.
func TestE7RecoveryReadFaultTruncatesNothing(t *testing.T) {
	oneIn := 1
	if testing.Short() {
		oneIn = 5
	}
	for i, s := range append(handwrittenWorkloads(), randomWorkload(*crashSeed), randomWorkload(*crashSeed+1)) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			u := &readFaultRunner{workload: s, random: rand.New(rand.NewPCG(*crashSeed, uint64(i))), oneIn: oneIn}
			if err := u.run(); err != nil {
				t.Error(err)
			}
			t.Logf("%d reads failed; %d brought a flipped bit, and %d starts refused that", u.failures, u.flips, u.refused)
			if len(s.steps) > 3 && oneIn == 1 && (u.failures < 100 || u.flips < 50) {
				t.Error("too few to mean anything")
			}
		})
	}
}
