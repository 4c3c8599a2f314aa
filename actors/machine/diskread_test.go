package machine

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func (s *fixture) lastRead() *messages.ReadLog {
	s.t.Helper()
	if len(s.toReader) == 0 {
		s.t.Fatal("the reader was not asked")
	}
	return s.toReader[len(s.toReader)-1].(*messages.ReadLog)
}

// respondRead responds to the pending request with n entries.
func (s *fixture) respondRead(n int) {
	s.t.Helper()
	ask := s.lastRead()
	data := make([][]byte, n)
	for i := range data {
		data[i] = raft.EncodeNoop()
	}
	s.send(&messages.ReadLogResponse{Incarnation: incarnation, Token: ask.Token, Entries: entriesOf(ask.From, 1, data...)})
}

func TestBacklogIsReadFromDiskInPieces(t *testing.T) {
	s, state := startWithSession(t)
	pulls := len(s.toNode)
	s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 9})
	expectMessages(t, "the reader", s.toReader, &messages.ReadLog{Incarnation: incarnation, From: 2, To: 9, MaxBytes: defaults.MaxBatchBytes, Token: 1})
	s.respondRead(3)
	if ask := s.lastRead(); ask.From != 5 || ask.To != 9 || (*state).last != 4 {
		t.Fatalf("after the first piece: asked for %v, applied %d", ask, (*state).last)
	}
	// A Committed without a Pull.
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(5, 1, raft.EncodeNoop())})
	if (*state).last != 4 || len(s.toNode) != pulls {
		t.Fatalf("applied %d, pulled %d times", (*state).last, len(s.toNode)-pulls)
	}
	asked := len(s.toReader)
	s.respondRead(5)
	if (*state).last != 9 || s.pullFrom() != 10 || len(s.toNode) != pulls+1 || len(s.toReader) != asked {
		t.Fatalf("applied %d, pulls from %d", (*state).last, s.pullFrom())
	}
	if last := s.Timers[len(s.Timers)-1]; !last.Stopped {
		t.Fatal("the timer was not stopped")
	}
	s.send(s.Timers[len(s.Timers)-1].Message)
	if len(s.toReader) != asked {
		t.Fatal("a stopped timer requested entries")
	}
	if r := s.takeResults(); len(r) != 2 || r[1].Applied != 9 {
		t.Fatalf("the Session received %v", r)
	}
	s.commit(1, raft.EncodeNoop())
	if (*state).last != 10 {
		t.Fatal("entries from memory are not applied after a cold read")
	}
}

func TestLateReadResponseIsDropped(t *testing.T) {
	s, state := startWithSession(t)
	s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 4})
	first := s.lastRead()
	s.fireTimers() // as if the LogReader had restarted
	if again := s.lastRead(); len(s.toReader) != 2 || again.From != first.From || again.To != first.To || again.Token == first.Token {
		t.Fatalf("asked %v", s.toReader)
	}
	if !strings.Contains(s.Logged.String(), "repeating the request") {
		t.Errorf("nothing was logged: %s", &s.Logged)
	}
	// The tick of a timer that was stopped too late.
	s.send(&messages.Tick{Incarnation: incarnation, Timer: first.Token})
	if len(s.toReader) != 2 {
		t.Fatalf("asked %v", s.toReader)
	}
	late := &messages.ReadLogResponse{Incarnation: incarnation, Token: first.Token, Entries: entriesOf(2, 1, raft.EncodeNoop())}
	s.send(late)
	if (*state).last != 1 {
		t.Fatal("the late piece was applied")
	}
	s.respondRead(3)
	if (*state).last != 4 || s.pullFrom() != 5 {
		t.Fatalf("applied %d", (*state).last)
	}
	late.Token = s.lastRead().Token
	s.send(late) // the same response again
	if len(s.Failures) > 0 || (*state).last != 4 {
		t.Fatalf("failures %v", s.Failures)
	}
}

func TestMissingEntriesAreRequestedThreeTimes(t *testing.T) {
	s, state := startWithSession(t)
	s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 3})
	deny := func() {
		s.send(&messages.ReadLogResponse{Incarnation: incarnation, Token: s.lastRead().Token, Missing: true})
		s.fireTimers()
	}
	deny()
	deny()
	s.respondRead(1)
	if (*state).last != 2 {
		t.Fatal("two missing responses count after a good one")
	}
	deny()
	deny()
	if len(s.Failures) > 0 {
		t.Fatalf("failed after two more: %v", s.Failures)
	}
	deny()
	if len(s.Failures) != 1 || !strings.Contains(s.Failures[0].(string), "[3, 3] as missing") {
		t.Fatalf("failures %v", s.Failures)
	}
}

func TestUnrequestedEntriesAreAnInternalError(t *testing.T) {
	for name, e := range map[string]*messages.Entries{
		"elsewhere": entriesOf(3, 1, raft.EncodeNoop()),
		"nothing":   {First: 2},
		"no piece":  nil,
		"too much":  entriesOf(2, 1, raft.EncodeNoop(), raft.EncodeNoop()),
	} {
		s, _ := startWithSession(t)
		s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 2})
		s.send(&messages.ReadLogResponse{Incarnation: incarnation, Token: 1, Entries: e})
		if len(s.Failures) != 1 {
			t.Errorf("%s: accepted", name)
		}
		if len(s.Timers) != 1 || !s.Timers[0].Stopped {
			t.Errorf("%s: its timer was left running", name)
		}
	}
}
