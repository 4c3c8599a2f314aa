package logstore

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestE8LowDiskAndItsEndAreReported(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 1, 1, 10)))
	f.Advance(time.Second)
	f.clearRecorded()
	disk.SetCapacity(disk.UsedBytes() + 1000)
	f.send(appendMessage(1, 0, makeEntries(2, 1, 1, 10)))
	f.Advance(100 * time.Millisecond)
	durable := received[*messages.Durable](f)
	last := durable[len(durable)-1]
	if !last.DiskLow || last.Mark.Index != 2 || !f.Views.Logs[len(f.Views.Logs)-1].DiskLow {
		t.Fatalf("durable %v", durable)
	}
	disk.SetCapacity(-1)
	f.Advance(2 * time.Second)
	durable = received[*messages.Durable](f)
	if last := durable[len(durable)-1]; last.DiskLow || last.Mark.Index != 2 {
		t.Fatalf("durable %v", durable)
	}
}

// The disk has space again while an append waits for its sync. The report of that names what is
// durable, and not the append.
func TestE8SpaceReportMarksNothingPending(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	disk.SetCapacity(disk.UsedBytes() + 1000)
	f.send(appendMessage(1, 0, makeEntries(1, 1, 1, 10)))
	f.Advance(100 * time.Millisecond)
	f.clearRecorded()
	disk.SetCapacity(-1)
	f.send(appendMessage(1, 0, makeEntries(2, 1, 1, 10)), &messages.Tick{Incarnation: incarnation, Timer: spaceTimer})
	d := received[*messages.Durable](f)
	if len(d) != 2 || d[0].DiskLow || d[0].Mark.Index != 1 || d[1].Mark.Index != 2 {
		t.Fatalf("durable %v", d)
	}
}
