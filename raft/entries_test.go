package raft

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
)

func TestSliceEntriesFitsTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := testEntries(rapid.Uint64Range(1, 9).Draw(t, "first"), append(drawTerms(t, 1), 99)...)
		e.Bytes = 0
		for i := range e.Data {
			e.Data[i] = EncodeCommand(1, uint64(i), 0, make([]byte, rapid.IntRange(0, 20).Draw(t, "payload")))
			e.Bytes += uint64(len(e.Data[i]))
		}
		from := rapid.Uint64Range(e.First, EntriesLast(e)).Draw(t, "from")
		limit := rapid.Uint64Range(0, e.Bytes+5).Draw(t, "limit")
		before := proto.Clone(e).(*messages.Entries)

		got := SliceEntries(e, from, limit)

		if err := CheckEntries(got); err != nil {
			t.Fatalf("%v: %v", got, err)
		}
		if got.First != from || len(got.Data) == 0 || got.Bytes > limit && len(got.Data) > 1 {
			t.Fatalf("%v of %v for %d bytes from %d", got, e, limit, from)
		}
		if last := EntriesLast(got); last < EntriesLast(e) && got.Bytes+uint64(len(e.Data[last+1-e.First])) <= limit {
			t.Fatalf("%v stops at %d although more fits into %d", got, last, limit)
		}
		for i := got.First; i <= EntriesLast(got); i++ {
			if EntriesTerm(got, i) != EntriesTerm(e, i) || &got.Data[i-got.First][0] != &e.Data[i-e.First][0] {
				t.Fatalf("entry %d differs", i)
			}
		}
		if !proto.Equal(e, before) {
			t.Fatalf("the entries were changed from %v to %v", before, e)
		}
	})
}

func TestCheckEntriesRefusesMalformedEntries(t *testing.T) {
	good := func() *messages.Entries { return testEntries(5, 2, 2, 3) }
	for _, e := range []*messages.Entries{nil, {}, {First: 7}, good()} {
		if err := CheckEntries(e); err != nil {
			t.Errorf("%v: %v", e, err)
		}
	}
	for name, spoil := range map[string]func(e *messages.Entries){
		"index 0": func(e *messages.Entries) { e.First = 0; e.Runs[0].FirstIndex = 0 },
		"indexes that overflow": func(e *messages.Entries) {
			e.First, e.Runs = math.MaxUint64-1, []*messages.TermRun{{FirstIndex: math.MaxUint64 - 1, Term: 1}}
		},
		"no runs":                     func(e *messages.Entries) { e.Runs = nil },
		"a nil run":                   func(e *messages.Entries) { e.Runs[1] = nil },
		"runs that begin later":       func(e *messages.Entries) { e.Runs[0].FirstIndex++ },
		"runs that begin earlier":     func(e *messages.Entries) { e.Runs[0].FirstIndex-- },
		"term 0":                      func(e *messages.Entries) { e.Runs[0].Term = 0 },
		"the same term twice":         func(e *messages.Entries) { e.Runs[1].Term = 2 },
		"terms that descend":          func(e *messages.Entries) { e.Runs[1].Term = 1 },
		"two runs at one index":       func(e *messages.Entries) { e.Runs[1].FirstIndex = 5 },
		"a run after the last":        func(e *messages.Entries) { e.Runs[1].FirstIndex = 8 },
		"too many bytes":              func(e *messages.Entries) { e.Bytes++ },
		"an entry without bytes":      func(e *messages.Entries) { e.Data[1] = nil; e.Bytes-- },
		"an entry of unknown kind":    func(e *messages.Entries) { e.Data[1] = []byte{77} },
		"a malformed configuration":   func(e *messages.Entries) { e.Data[1] = []byte{3, 0xff}; e.Bytes++ },
		"runs without entries":        func(e *messages.Entries) { e.Data, e.Bytes = nil, 0 },
		"bytes without entries":       func(e *messages.Entries) { e.Data, e.Runs = nil, nil },
		"a truncated command":         func(e *messages.Entries) { e.Data[0] = []byte{1} },
		"a uvarint of too many bytes": func(e *messages.Entries) { e.Data[0] = []byte{5, 0x80, 0}; e.Bytes += 2 },
	} {
		e := good()
		spoil(e)
		if CheckEntries(e) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEntriesLastOfNoEntries(t *testing.T) {
	for _, c := range []struct {
		e    *messages.Entries
		want uint64
	}{{nil, 0}, {&messages.Entries{}, 0}, {&messages.Entries{First: 4}, 3}, {testEntries(4, 1), 4}, {testEntries(4, 1, 1), 5}} {
		if got := EntriesLast(c.e); got != c.want {
			t.Errorf("%v: %d, want %d", c.e, got, c.want)
		}
	}
}

func TestCheckAppendEntriesRefusesWrongTerms(t *testing.T) {
	for name, c := range map[string]struct {
		entries *messages.Entries // after index 4 of term 2, from a leader of term 5
		correct bool
	}{
		"none":                       {nil, true},
		"of the leader's terms":      {testEntries(5, 2, 3, 5), true},
		"after a gap":                {testEntries(6, 3), false},
		"of a term below the last":   {testEntries(5, 1), false},
		"of a term above the leader": {testEntries(5, 5, 6), false},
		"malformed":                  {&messages.Entries{First: 5, Data: [][]byte{{2}}}, false},
	} {
		m := &messages.AppendEntries{Term: 5, PrevIndex: 4, PrevTerm: 2, Entries: c.entries}
		if err := CheckAppendEntries(m); (err == nil) != c.correct {
			t.Errorf("entries %s: %v", name, err)
		}
	}
}

func TestCheckProposalsRefusesEntriesOfLeaders(t *testing.T) {
	correct := [][]byte{EncodeCommand(1, 2, 0, nil), EncodeBarrier(1, 3, 0), EncodeRegisterSession(nil, 1), EncodeExpireSession(1)}
	if err := CheckProposals(correct); err != nil {
		t.Error(err)
	}
	for _, data := range [][]byte{{}, {99}, {1, 0xff}, EncodeNoop(), EncodeConfiguration(testConfiguration(1))} {
		if CheckProposals(append(correct, data)) == nil {
			t.Errorf("%x accepted", data)
		}
	}
}
