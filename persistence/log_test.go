package persistence

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

var testStorage = [16]byte{1, 2, 3}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "/data/log", NodeID: 7, StorageID: testStorage, FirstSegmentBytes: 8 << 10, SegmentBytes: 32 << 10}
}

func mustOpen(t testing.TB, o Options) (*Log, *Recovery) {
	t.Helper()
	l, r, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l, r
}

// testBatch returns entries of one term whose bytes contain index and term.
func testBatch(first uint64, n int, term uint64, size int) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
	for i := range n {
		data := entryData(first+uint64(i), term, size)
		e.Data = append(e.Data, data)
		e.Bytes += uint64(len(data))
	}
	return e
}

func entryData(index, term uint64, size int) []byte {
	payload := fmt.Appendf(nil, "entry %d of term %d ", index, term)
	payload = append(payload, bytes.Repeat([]byte{byte(index)}, max(0, size-len(payload)))...)
	return raft.EncodeCommand(1, index, 0, payload)
}

func testHardState(term, vote, commit uint64) *messages.HardState {
	return &messages.HardState{Term: term, Vote: vote, Commit: commit}
}

// mustRecover opens a log, which must be as the model.
func mustRecover(t testing.TB, o Options, m *logModel) {
	t.Helper()
	l, r := mustOpen(t, o)
	if d := m.diff(r, l); d != "" {
		t.Fatal(d)
	}
}

// addAndCommit returns the error of Commit.
func addAndCommit(t testing.TB, l *Log, truncateFrom uint64, e *messages.Entries, h *messages.HardState) error {
	t.Helper()
	if err := l.Add(truncateFrom, e, h); err != nil {
		t.Fatalf("add: %v", err)
	}
	return l.Commit()
}

func mustAppend(t testing.TB, l *Log, truncateFrom uint64, e *messages.Entries, h *messages.HardState) {
	t.Helper()
	if err := addAndCommit(t, l, truncateFrom, e, h); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// readAll reads [from, to] in several Reads.
func readAll(t testing.TB, r *Reader, from, to, maxBytes uint64) (data [][]byte, terms []uint64) {
	t.Helper()
	for from <= to {
		e, _, err := r.Read(from, to, maxBytes)
		if err != nil {
			t.Fatalf("read from %d: %v", from, err)
		}
		if e.First != from || len(e.Data) == 0 {
			t.Fatalf("read from %d gave %d entries from %d", from, len(e.Data), e.First)
		}
		for i := range e.Data {
			terms = append(terms, raft.EntriesTerm(e, from+uint64(i)))
		}
		data = append(data, e.Data...)
		from += uint64(len(e.Data))
	}
	return data, terms
}

func TestAppendedEntriesAreReadAndRecovered(t *testing.T) {
	fs := vfs.NewMem()
	l, r := mustOpen(t, testOptions(fs))
	if r.LastIndex != 0 || r.HardState.Term != 0 || len(r.Runs) != 0 {
		t.Fatalf("a new log is not empty: %+v", r)
	}
	next := uint64(1)
	for term := uint64(1); term <= 5; term++ {
		for range 40 {
			mustAppend(t, l, 0, testBatch(next, 7, term, 60), testHardState(term, 3, next-1))
			next += 7
		}
	}
	check := func(l *Log) {
		t.Helper()
		reader := l.Reader()
		defer reader.Close()
		for _, maxBytes := range []uint64{0, 100, 1000, 1 << 20} {
			data, terms := readAll(t, reader, 1, next-1, maxBytes)
			for i := range data {
				index, term := uint64(i+1), uint64(i/280+1)
				if terms[i] != term || !bytes.Equal(data[i], entryData(index, term, 60)) {
					t.Fatalf("entry %d: term %d, data %q", index, terms[i], data[i])
				}
			}
		}
	}
	check(l)
	if s := l.Stats(); s.Segments < 3 {
		t.Fatalf("only %d segments were made", s.Segments)
	}
	for range 3 {
		l.Close()
		l, r = mustOpen(t, testOptions(fs))
		if r.LastIndex != next-1 || len(r.Runs) != 5 || len(r.Warnings) != 0 {
			t.Fatalf("recovered %+v", r)
		}
		if h := r.HardState; h.Term != 5 || h.Vote != 3 || h.Commit != next-8 {
			t.Fatalf("recovered hard state %v", h)
		}
		check(l)
	}
}

// testConfigurationBatch returns one entry that is a configuration; its cluster id is the index.
func testConfigurationBatch(index, term uint64) *messages.Entries {
	data := raft.EncodeConfiguration(&messages.Configuration{ClusterId: index, Members: []*messages.Member{{Id: 1}}})
	return &messages.Entries{First: index, Runs: []*messages.TermRun{{FirstIndex: index, Term: term}}, Data: [][]byte{data}, Bytes: uint64(len(data))}
}

// A Reader that has read zeros at the end of the active segment must not take them for the frames
// that are there later.
func TestReaderSurvivesASegmentRoll(t *testing.T) {
	l, _ := mustOpen(t, testOptions(vfs.NewMem()))
	reader := l.Reader()
	defer reader.Close()
	for i := range uint64(40) {
		mustAppend(t, l, 0, testBatch(i+1, 1, 1, 700), testHardState(1, 1, 0))
		readAll(t, reader, 1, i+1, 300)
	}
	if s := l.Stats(); s.Segments < 3 {
		t.Fatalf("only %d segments were made", s.Segments)
	}
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
