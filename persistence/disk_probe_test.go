package persistence

import (
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestDiskProbeDoesNotGrowTheLog(t *testing.T) {
	disk := vfs.NewMem()
	l, _, err := Open(Options{FS: disk, Dir: "/log", NodeID: 1})
	if err != nil {
		t.Fatal(err)
	}
	hard := &messages.HardState{Term: 3, Vote: 1}
	if err := l.Add(0, nil, hard); err != nil || l.PendingIsRedundant() {
		t.Fatalf("a new term is new: %v", err)
	}
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := l.Idle(); err != nil {
		t.Fatal(err)
	}
	at := l.active.writeOffset
	for range 3 {
		if err := l.Add(0, nil, hard); err != nil || !l.PendingIsRedundant() {
			t.Fatalf("the same term and vote are nothing new: %v", err)
		}
		if err := l.ProbeDisk(); err != nil {
			t.Fatal(err)
		}
		if err := l.Idle(); err != nil {
			t.Fatal(err)
		}
	}
	if l.active.writeOffset != at {
		t.Errorf("the log grew from %d to %d by probes", at, l.active.writeOffset)
	}
	if err := l.Add(0, nil, &messages.HardState{Term: 3, Vote: 1}); err != nil || !l.PendingIsRedundant() {
		t.Fatal(err)
	}
	if err := l.Add(0, nil, &messages.HardState{Term: 4}); err != nil || l.PendingIsRedundant() {
		t.Fatalf("a higher term is new: %v", err)
	}
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is gone")
	disk.Inject(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			return broken
		}
		return nil
	})
	if err := l.ProbeDisk(); !errors.Is(err, broken) {
		t.Errorf("a probe of a broken disk: %v", err)
	}
	disk.Inject(nil)
	if err := l.Add(0, nil, &messages.HardState{Term: 5}); !errors.Is(err, ErrLogFailed) {
		t.Errorf("the log goes on after a failed probe: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, found, err := Open(Options{FS: disk, Dir: "/log", NodeID: 1})
	if err != nil || found.HardState.Term != 4 {
		t.Fatalf("opened again: %v, %v", found, err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
