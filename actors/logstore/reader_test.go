package logstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// ask sends the LogReader a question and returns what it answered; nil for no answer.
func (s *fixture) readLog(q *messages.ReadLog) (answer *messages.ReadLogResponse) {
	reader := actor.NewPID(s.store.Address, s.store.Id+"/"+actors.LogReaderName)
	s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Request(reader, q)
			case *messages.ReadLogResponse:
				answer = m
			}
		})
	}))
	s.Run()
	return answer
}

func TestTheReaderAnswersWhoAsked(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.send(appendMessage(1, 0, makeEntries(1, 3, 1, 100)))
	s.send(appendMessage(2, 0, makeEntries(4, 5, 2, 100)))
	p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 4, To: 8, MaxBytes: 250, Token: 99})
	if p == nil || p.Token != 99 || p.Incarnation != incarnation || p.Missing || p.PrevTerm != 1 || p.Entries.First != 4 || len(p.Entries.Data) != 2 {
		t.Fatalf("answer %v", p)
	}
	if p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 9, To: 12, Token: 1}); p == nil || !p.Missing {
		t.Fatalf("answer %v for entries that are not there", p)
	}
	if p := s.readLog(&messages.ReadLog{Incarnation: 2, From: 1, To: 2}); p != nil {
		t.Fatalf("answer %v for a question of another incarnation", p)
	}
}

func TestTheReaderIsRestartedAloneAndReadsOn(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 3, 1, 100)))
	s.RestartFailed = true
	disk.Inject(vfs.FailNth(vfs.OpRead, ".seg", 1, nil))
	if p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3}); p != nil {
		t.Fatalf("answer %v from a failing disk", p)
	}
	if _, ok := s.Failures[0].(*actors.StorageError); !ok || len(s.Failures) != 1 {
		t.Fatalf("failures %v", s.Failures)
	}
	s.clearRecorded()
	if p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20}); p == nil || len(p.Entries.Data) != 3 {
		t.Fatalf("answer %v after the restart", p)
	}
	if len(s.nodeReceived(&messages.Recovered{})) != 0 {
		t.Fatal("the LogStore was restarted too")
	}
}

func TestE7TheReaderNeverAnswersWithRottenEntries(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 3, 1, 1000)))
	s.Advance(time.Second)
	if err := disk.FlipBit("/data/log/0000000000000001.seg", (4096+96+2000)*8); err != nil {
		t.Fatal(err)
	}
	if p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20}); p != nil {
		t.Fatalf("answer %v", p)
	}
	if err, ok := s.Failures[0].(*actors.StorageError); !ok || !errors.Is(err, persistence.ErrCorrupt) {
		t.Fatalf("failures %v", s.Failures)
	}
}

func TestE7TheReaderSaysWhatItReadWrongOnceAndAnswersRight(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 3, 1, 1000)))
	once := true
	disk.Inject(func(op vfs.Op) error {
		if op.Kind != vfs.OpRead || !once {
			return nil
		}
		once = false
		return &vfs.FlippedRead{Bit: 8 * (96 + 2000)}
	})
	p := s.readLog(&messages.ReadLog{Incarnation: incarnation, From: 1, To: 3, MaxBytes: 1 << 20})
	if p == nil || len(p.Entries.Data) != 3 || raft.CheckEntries(p.Entries) != nil || len(s.Failures) != 0 {
		t.Fatalf("answer %v, failures %v", p, s.Failures)
	}
	if !strings.Contains(s.Logged.String(), "0000000000000001.seg") || !strings.Contains(s.Logged.String(), "and the right ones when repeated") {
		t.Fatalf("it says %s", s.Logged.String())
	}
}
