package persistence

import (
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestDiskProbeDoesNotGrowTheLog(t *testing.T) {
	l, _ := mustOpen(t, Options{FS: vfs.NewMem(), Dir: "/log", NodeID: 1})
	hard := testHardState(3, 1, 0)
	mustSucceed(t, l.Add(0, nil, hard))
	if l.PendingIsRedundant() {
		t.Fatal("a new term is redundant")
	}
	mustSucceed(t, errors.Join(l.Commit(), l.Idle()))
	end := l.active.writeOffset
	for range 3 {
		mustSucceed(t, l.Add(0, nil, hard))
		if !l.PendingIsRedundant() {
			t.Fatal("the same term and vote are not redundant")
		}
		mustSucceed(t, errors.Join(l.ProbeDisk(), l.Idle()))
	}
	if l.active.writeOffset != end {
		t.Errorf("probes extended the log from %d to %d", end, l.active.writeOffset)
	}
	mustSucceed(t, l.Add(0, nil, hard))
	if !l.PendingIsRedundant() {
		t.Fatal("the same term and vote are not redundant after a probe")
	}
	mustSucceed(t, l.Add(0, nil, testHardState(4, 0, 0)))
	if l.PendingIsRedundant() {
		t.Fatal("a higher term is redundant")
	}
}

func TestFailedDiskProbeLatchesTheLog(t *testing.T) {
	disk := vfs.NewMem()
	o := Options{FS: disk, Dir: "/log", NodeID: 1}
	l, _ := mustOpen(t, o)
	mustAppend(t, l, 0, nil, testHardState(3, 1, 0))
	mustSucceed(t, l.ProbeDisk())
	mustAppend(t, l, 0, nil, testHardState(4, 0, 0))
	failure := errors.New("the disk is gone")
	disk.Inject(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			return failure
		}
		return nil
	})
	if err := l.ProbeDisk(); !errors.Is(err, failure) {
		t.Errorf("a probe of a failed disk: %v", err)
	}
	disk.Inject(nil)
	if err := l.Add(0, nil, testHardState(5, 0, 0)); !errors.Is(err, ErrLogFailed) {
		t.Errorf("Add after a failed probe: %v", err)
	}
	mustSucceed(t, l.Close())
	again, found := mustOpen(t, o)
	if found.HardState.Term != 4 {
		t.Fatalf("recovered %v", found.HardState)
	}
	mustSucceed(t, again.Close())
}
