package logstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// readLog sends a request to the LogReader and returns its response; nil if there is none.
func (f *fixture) readLog(request *messages.ReadLog) *messages.ReadLogResponse {
	f.read = nil
	reader := actor.NewPID(f.store.Address, f.store.Id+"/"+actors.LogReaderName)
	f.System.Root.RequestWithCustomSender(reader, request, f.Sink("requester", func(m proto.Message) { f.read = m.(*messages.ReadLogResponse) }))
	f.Run()
	return f.read
}

func TestReaderRespondsToTheSender(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 100)))
	f.send(appendMessage(2, 0, makeEntries(4, 5, 2, 100)))
	p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 4, To: 8, MaxBytes: 250, Token: 99})
	if p == nil || p.Token != 99 || p.Incarnation != incarnation || p.Missing || p.PrevTerm != 1 || p.Entries.First != 4 || len(p.Entries.Data) != 2 {
		t.Fatalf("answer %v", p)
	}
	if p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 9, To: 12, Token: 1}); p == nil || !p.Missing {
		t.Fatalf("answer %v for entries that are not there", p)
	}
	if p := f.readLog(&messages.ReadLog{Incarnation: 2, From: 1, To: 2}); p != nil {
		t.Fatalf("answer %v for a question of another incarnation", p)
	}
}

func TestReaderRestartsAlone(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 100)))
	f.RestartFailed = true
	disk.Inject(vfs.FailNth(vfs.OpRead, ".seg", 1, nil))
	if p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3}); p != nil {
		t.Fatalf("answer %v from a failing disk", p)
	}
	if _, ok := f.Failures[0].(*actors.StorageError); !ok || len(f.Failures) != 1 {
		t.Fatalf("failures %v", f.Failures)
	}
	f.clearRecorded()
	if p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20}); p == nil || len(p.Entries.Data) != 3 {
		t.Fatalf("answer %v after the restart", p)
	}
	if len(received[*messages.Recovered](f)) != 0 {
		t.Fatal("the LogStore was restarted too")
	}
}

func TestE7ReaderNeverReturnsCorruptEntries(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 1000)))
	f.Advance(time.Second)
	if err := disk.FlipBit("/data/log/0000000000000001.seg", (4096+96+2000)*8); err != nil {
		t.Fatal(err)
	}
	if p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20}); p != nil {
		t.Fatalf("answer %v", p)
	}
	if err, ok := f.Failures[0].(*actors.StorageError); !ok || !errors.Is(err, persistence.ErrCorrupt) {
		t.Fatalf("failures %v", f.Failures)
	}
}

func TestE7ReaderRepeatsAReadWithFlippedBits(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 1000)))
	once := true
	disk.Inject(func(op vfs.Op) error {
		if op.Kind != vfs.OpRead || !once {
			return nil
		}
		once = false
		return &vfs.FlippedRead{Bit: 8 * (96 + 2000)}
	})
	p := f.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20})
	if p == nil || len(p.Entries.Data) != 3 || raft.CheckEntries(p.Entries) != nil || len(f.Failures) != 0 {
		t.Fatalf("answer %v, failures %v", p, f.Failures)
	}
	if !strings.Contains(f.Logged.String(), "0000000000000001.seg") || !strings.Contains(f.Logged.String(), "and the right ones when repeated") {
		t.Fatalf("logged %s", f.Logged.String())
	}
}
