package machine

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func (s *stage) lastAsked() *messages.ReadLog {
	s.t.Helper()
	if len(s.toReader) == 0 {
		s.t.Fatal("the reader was not asked")
	}
	return s.toReader[len(s.toReader)-1].(*messages.ReadLog)
}

// give answers the request under way with n entries.
func (s *stage) give(n int) {
	s.t.Helper()
	ask := s.lastAsked()
	data := make([][]byte, n)
	for i := range data {
		data[i] = raft.EncodeNoop()
	}
	s.send(&messages.LogPiece{Incarnation: incarnation, Token: ask.Token, Entries: entriesOf(ask.From, 1, data...)})
}

func TestABacklogIsReadFromTheLogInPiecesAndThenPulledAgain(t *testing.T) {
	s, state := withOrigin(t)
	pulls := len(s.toNode)
	s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 9})
	expect(t, "the reader", s.toReader, &messages.ReadLog{Incarnation: incarnation, From: 2, To: 9, MaxBytes: defaultMaxBatchBytes, Token: 1})
	s.give(3)
	if ask := s.lastAsked(); ask.From != 5 || ask.To != 9 || (*state).last != 4 {
		t.Fatalf("after the first piece: asked for %v, applied %d", ask, (*state).last)
	}
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(5, 1, raft.EncodeNoop())}) // nobody pulled
	if (*state).last != 4 || len(s.toNode) != pulls {
		t.Fatalf("applied %d, pulled %d times", (*state).last, len(s.toNode)-pulls)
	}
	asked := len(s.toReader)
	s.give(5)
	if (*state).last != 9 || s.pulled() != 10 || len(s.toNode) != pulls+1 || len(s.toReader) != asked {
		t.Fatalf("applied %d, pulls from %d", (*state).last, s.pulled())
	}
	if last := s.Timers[len(s.Timers)-1]; !last.Stopped {
		t.Fatal("the timer runs on although all is there")
	}
	s.send(s.Timers[len(s.Timers)-1].Message)
	if len(s.toReader) != asked {
		t.Fatal("the timer asked again for what is there")
	}
	if r := s.results(); len(r) != 2 || r[1].Applied != 9 {
		t.Fatalf("the handle heard %v", r)
	}
	s.commit(1, raft.EncodeNoop())
	if (*state).last != 10 {
		t.Fatal("it does not go on from memory")
	}
}

func TestAPieceOfARequestGivenUpIsDropped(t *testing.T) {
	s, state := withOrigin(t)
	s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 4})
	first := s.lastAsked()
	s.fire() // the reader was restarted and forgot it
	if again := s.lastAsked(); len(s.toReader) != 2 || again.From != first.From || again.To != first.To || again.Token == first.Token {
		t.Fatalf("asked %v", s.toReader)
	}
	if !strings.Contains(s.Logged.String(), "asked again") {
		t.Errorf("nothing was logged: %s", &s.Logged)
	}
	s.send(&messages.Tick{Incarnation: incarnation, Timer: first.Token}) // a timer that was stopped too late
	if len(s.toReader) != 2 {
		t.Fatalf("asked %v", s.toReader)
	}
	late := &messages.LogPiece{Incarnation: incarnation, Token: first.Token, Entries: entriesOf(2, 1, raft.EncodeNoop())}
	s.send(late)
	if (*state).last != 1 {
		t.Fatal("the late piece was applied")
	}
	s.give(3)
	if (*state).last != 4 || s.pulled() != 5 {
		t.Fatalf("applied %d", (*state).last)
	}
	late.Token = s.lastAsked().Token
	s.send(late) // twice the same answer
	if len(s.Failures) > 0 || (*state).last != 4 {
		t.Fatalf("failures %v", s.Failures)
	}
}

func TestAReaderThatDeniesCommittedEntriesIsAskedAgainButNotForEver(t *testing.T) {
	s, state := withOrigin(t)
	s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 3})
	deny := func() {
		s.send(&messages.LogPiece{Incarnation: incarnation, Token: s.lastAsked().Token, Gone: true})
		s.fire()
	}
	deny()
	deny()
	s.give(1)
	if (*state).last != 2 {
		t.Fatal("two refusals were not forgiven")
	}
	deny()
	deny()
	if len(s.Failures) > 0 {
		t.Fatalf("failed after two more: %v", s.Failures)
	}
	deny()
	if len(s.Failures) != 1 || !strings.Contains(s.Failures[0].(string), "[3, 3] are gone") {
		t.Fatalf("failures %v", s.Failures)
	}
}

func TestAPieceThatWasNotAskedForIsABugOfTheReader(t *testing.T) {
	for name, e := range map[string]*messages.Entries{
		"elsewhere": entriesOf(3, 1, raft.EncodeNoop()),
		"nothing":   {First: 2},
		"no piece":  nil,
		"too much":  entriesOf(2, 1, raft.EncodeNoop(), raft.EncodeNoop()),
	} {
		s, _ := withOrigin(t)
		s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 2})
		s.send(&messages.LogPiece{Incarnation: incarnation, Token: 1, Entries: e})
		if len(s.Failures) != 1 {
			t.Errorf("%s: accepted", name)
		}
		if len(s.Timers) != 1 || !s.Timers[0].Stopped {
			t.Errorf("%s: its timer was left running", name)
		}
	}
}
