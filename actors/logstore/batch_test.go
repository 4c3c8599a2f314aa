package logstore

import (
	"slices"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestE12TruncationDropsDeferredMessages(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 10)))
	f.clearRecorded()
	f.send(
		appendMessage(1, 0, makeEntries(4, 3, 1, 10), acceptedResponse(2, 6)),
		appendMessage(1, 0, nil, acceptedResponse(2, 3)),
		voteMessage(2, 2),
		appendMessage(2, 5, makeEntries(5, 1, 2, 10), acceptedResponse(3, 5)),
	)
	var acknowledged []uint64
	for _, m := range f.toPeers {
		if a, ok := m.(*messages.AppendResponse); ok {
			acknowledged = append(acknowledged, a.Index)
		}
	}
	if !slices.Equal(acknowledged, []uint64{3, 5}) || len(f.toPeers) != 3 {
		t.Fatalf("acknowledged %v; all messages %v", acknowledged, f.toPeers)
	}
	// What was truncated is not reported durable either.
	durable := received[*messages.Durable](f)
	if len(durable) != 1 || durable[0].Mark.Index != 5 || durable[0].Mark.Term != 2 {
		t.Fatalf("durable %v", durable)
	}
}

// An acknowledgement is dropped if it covers the first entry that is replaced, and is sent if it
// ends just before. The same holds for marks.
func TestE12TruncationBoundary(t *testing.T) {
	for _, c := range []struct{ covers, from, mark uint64 }{{4, 5, 4}, {5, 5, 4}, {6, 5, 4}, {5, 4, 3}, {6, 4, 3}} {
		f := newFixture(t, vfs.NewMem())
		f.send(appendMessage(1, 0, makeEntries(1, 3, 1, 10)))
		f.clearRecorded()
		f.send(
			appendMessage(1, 0, makeEntries(4, int(c.covers)-3, 1, 10), acceptedResponse(2, c.covers)),
			&messages.Append{Incarnation: incarnation, Mark: &messages.AppendMark{Term: 2}, TruncateFrom: c.from, HardState: &messages.HardState{Term: 2}},
		)
		if dropped := len(f.toPeers) == 0; dropped != (c.covers >= c.from) {
			t.Errorf("entries from %d on are replaced; the acknowledgement through %d is dropped: %v", c.from, c.covers, dropped)
		}
		if d := received[*messages.Durable](f); len(d) != 1 || d[0].Mark.Index != c.mark || d[0].Mark.Term != 1 {
			t.Errorf("entries 4 to %d are appended, and replaced from %d on; durable are %v", c.covers, c.from, d)
		}
	}
}

func TestE12MarksAreNotMerged(t *testing.T) {
	var b batch
	mark := func(term, index, truncateFrom uint64) {
		b.add(&messages.Append{Mark: &messages.AppendMark{Term: term, Index: index}, TruncateFrom: truncateFrom, Notify: true})
	}
	marks := func() (all [][2]uint64) {
		for _, m := range b.marks {
			all = append(all, [2]uint64{m.Term, m.Index})
		}
		return all
	}
	mark(3, 10, 0) // a follower of term 3 …
	mark(4, 0, 0)  // … campaigns in the same batch: both are reported, each under its own term
	if got := marks(); !slices.Equal(got, [][2]uint64{{3, 10}, {4, 0}}) {
		t.Fatal(got)
	}
	mark(5, 8, 7) // … and follows again, and truncates
	if got := marks(); !slices.Equal(got, [][2]uint64{{5, 8}}) {
		t.Fatal(got)
	}
	mark(6, 8, 0) // of two marks with one index the newer is enough
	if got := marks(); !slices.Equal(got, [][2]uint64{{6, 8}}) {
		t.Fatal(got)
	}
	b.reset()
	mark(3, 10, 0)
	b.add(&messages.Append{Mark: &messages.AppendMark{Term: 4, Index: 6}, TruncateFrom: 6})
	if got := marks(); !slices.Equal(got, [][2]uint64{{3, 5}}) {
		t.Fatal(got)
	}
}
