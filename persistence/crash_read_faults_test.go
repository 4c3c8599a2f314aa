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

// misreader tells a story, and after each of its steps starts the member on disks whose every single read goes wrong in
// turn: fails, or brings a flipped bit once. Whatever was acknowledged before is there when the disk is read well again, and
// a start that cannot read says so instead of going on with less.
type readFaultRunner struct {
	workload *crashWorkload
	random   *rand.Rand
	oneIn    int // of so many acknowledgements one is looked at
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

// look lets every read of a start on this disk go wrong once.
func (u *readFaultRunner) failEachRead(disk *vfs.MemFS, told *workloadRunner, how string) {
	for n := 1; u.err == nil; n++ {
		op, err := u.failRead(disk.KillClone(), told, n)
		if err != nil {
			u.err = fmt.Errorf("story %q, %s: %s, read %d of the next start fails, %v: %w", u.workload.name, told.position, how, n, op, err)
		}
		if op.Kind == vfs.OpRead && u.err == nil {
			if bit, err := u.flipRead(disk.KillClone(), told, n); err != nil {
				u.err = fmt.Errorf("story %q, %s: %s, read %d of the next start has bit %d flipped, %v: %w", u.workload.name, told.position, how, n, bit, op, err)
			}
		}
		if op.Path == "" {
			return // there are no more reads
		}
	}
}

// again is the member's start on a disk after what told has told. The nth read of it, if n is not 0, meets what hurt says.
func (u *readFaultRunner) restart(disk *vfs.MemFS, told *workloadRunner, n int, hurt func(vfs.Op) error) error {
	next := newWorkloadRunner(u.workload, disk, 2)
	next.modelBefore, next.modelAfter, next.identity, next.readsFail = told.modelBefore, told.modelAfter, told.identity, n > 0
	disk.Inject(func(op vfs.Op) error {
		if op.Kind.ReadOnly() && next.log == nil { // what the teller looks at afterwards is its own affair
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

// fails lets the nth read fail. The start must say so and name the file, and change nothing from then on.
func (u *readFaultRunner) failRead(disk *vfs.MemFS, told *workloadRunner, n int) (failed vfs.Op, err error) {
	var after []vfs.Op
	disk.Observe(func(op vfs.Op) {
		if failed.Path != "" && modifiesDisk(op) {
			after = append(after, op)
		}
	})
	err = u.restart(disk, told, n, func(op vfs.Op) error {
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
		// It went on, and what it found was right. That is so for the one thing which nothing depends on: giving back the
		// zeros behind the end of the former segment.
		if failed.Kind != vfs.OpOpen || !strings.HasSuffix(failed.Path, segmentSuffix) {
			return failed, violation("the start goes on")
		}
	case errors.Is(err, errViolation) || errors.Is(err, ErrCorrupt) || !errors.Is(err, syscall.EIO):
		return failed, violation("the start says %v", err)
	case !strings.Contains(err.Error(), failed.Path):
		return failed, violation("the start does not say which file: %v", err)
	case len(after) > 0:
		return failed, violation("the start says %v, and then does %v", err, after)
	}
	for _, left := range []*vfs.MemFS{disk.KillClone(), disk.CrashClone(vfs.LoseUnsynced)} {
		if err := u.restart(left, told, 0, nil); err != nil {
			return failed, fmt.Errorf("the start after that: %w", err)
		}
	}
	return failed, nil
}

// flips1 lets the nth read bring a bit that is not so on the disk. The start finds all there is, or says what it read.
func (u *readFaultRunner) flipRead(disk *vfs.MemFS, told *workloadRunner, n int) (bit int64, err error) {
	u.flips++
	err = u.restart(disk, told, n, func(op vfs.Op) error {
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
	if err := u.restart(disk.KillClone(), told, 0, nil); err != nil {
		return bit, fmt.Errorf("the start after that: %w", err)
	}
	return bit, nil
}

// bit draws one of those that a read brings, mostly of a byte that is not zero.
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

// A read that fails, or brings something else than the disk holds, is never taken for the end of the log: that would be
// a truncation that nobody is told of.
func TestE7AReadThatGoesWrongInARecoveryTruncatesNothing(t *testing.T) {
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
