package raft

import (
	"fmt"
	"math"
	"sort"

	"github.com/troupe-raft/troupe/messages"
)

// messages.Entries are consecutive entries of a log. They are immutable: LogStore, Replicators and
// Machine share them. The functions here read them, or make new ones that share the bytes.

// EntriesLast returns the index of the last entry; without entries, the index before First.
func EntriesLast(e *messages.Entries) uint64 {
	if e == nil || e.First+uint64(len(e.Data)) == 0 {
		return 0
	}
	return e.First + uint64(len(e.Data)) - 1
}

// EntriesTerm returns the term of the entry at index. It panics if e does not have it.
func EntriesTerm(e *messages.Entries, index uint64) uint64 {
	if index < e.First || index > EntriesLast(e) {
		panic(fmt.Sprintf("term of entry %d, which is not in the entries [%d, %d]", index, e.First, EntriesLast(e)))
	}
	return e.Runs[findRun(e, index)].Term
}

func findRun(e *messages.Entries, index uint64) int {
	if n := len(e.Runs) - 1; e.Runs[n].FirstIndex <= index {
		return n
	}
	return sort.Search(len(e.Runs), func(i int) bool { return e.Runs[i].FirstIndex > index }) - 1
}

// SliceEntries returns the entries of e from `from` on that fit into maxBytes, but at least one.
// The result shares the bytes of e, or is e. It panics if e does not have `from`.
func SliceEntries(e *messages.Entries, from, maxBytes uint64) *messages.Entries {
	if from < e.First || from > EntriesLast(e) {
		panic(fmt.Sprintf("slice from %d, which is not in the entries [%d, %d]", from, e.First, EntriesLast(e)))
	}
	if from == e.First && e.Bytes <= maxBytes {
		return e
	}
	start := int(from - e.First)
	end, bytes := start, uint64(0)
	for end < len(e.Data) && (end == start || bytes+uint64(len(e.Data[end])) <= maxBytes) {
		bytes += uint64(len(e.Data[end]))
		end++
	}
	firstRun, lastRun := findRun(e, from), findRun(e, e.First+uint64(end)-1)
	runs := e.Runs[firstRun : lastRun+1 : lastRun+1]
	if runs[0].FirstIndex != from {
		runs = append([]*messages.TermRun{{FirstIndex: from, Term: runs[0].Term}}, runs[1:]...)
	}
	return &messages.Entries{First: from, Runs: runs, Data: e.Data[start:end:end], Bytes: bytes}
}

// CheckEntries returns an error if entries that came over the network are malformed. Nil and empty
// ones are correct.
func CheckEntries(e *messages.Entries) error {
	if e == nil || len(e.Data) == 0 {
		if e != nil && (len(e.Runs) > 0 || e.Bytes > 0) {
			return fmt.Errorf("entries from %d: %d runs and %d bytes without an entry", e.First, len(e.Runs), e.Bytes)
		}
		return nil
	}
	// The highest index is not used, so that the index after any index exists.
	if e.First == 0 || uint64(len(e.Data)) > math.MaxUint64-e.First {
		return fmt.Errorf("%d entries from %d: indexes out of range", len(e.Data), e.First)
	}
	if err := checkRuns(e); err != nil {
		return fmt.Errorf("entries [%d, %d]: %w", e.First, EntriesLast(e), err)
	}
	bytes := uint64(0)
	for i, data := range e.Data {
		bytes += uint64(len(data))
		entry, err := DecodeEntry(data)
		if err == nil && entry.Kind == KindConfiguration {
			_, err = DecodeConfiguration(data)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.First+uint64(i), err)
		}
	}
	if bytes != e.Bytes {
		return fmt.Errorf("entries [%d, %d]: %d bytes stated, %d received", e.First, EntriesLast(e), e.Bytes, bytes)
	}
	return nil
}

func checkRuns(e *messages.Entries) error {
	if len(e.Runs) == 0 || e.Runs[0].GetFirstIndex() != e.First || e.Runs[0].GetTerm() == 0 {
		return fmt.Errorf("the first run of %v does not begin at the first entry, or has no term", e.Runs)
	}
	for i := 1; i < len(e.Runs); i++ {
		if e.Runs[i].GetFirstIndex() <= e.Runs[i-1].FirstIndex || e.Runs[i].GetTerm() <= e.Runs[i-1].Term {
			return fmt.Errorf("the runs %v do not ascend", e.Runs)
		}
	}
	if e.Runs[len(e.Runs)-1].FirstIndex > EntriesLast(e) {
		return fmt.Errorf("the last run of %v begins after the entries", e.Runs)
	}
	return nil
}

// CheckAppendEntries returns an error if no correct leader can have sent m.
func CheckAppendEntries(m *messages.AppendEntries) error {
	e := m.Entries
	if err := CheckEntries(e); err != nil || len(e.GetData()) == 0 {
		return err
	}
	if first, last := e.Runs[0].Term, e.Runs[len(e.Runs)-1].Term; e.First != m.PrevIndex+1 || first < m.PrevTerm || last > m.Term {
		return fmt.Errorf("entries from %d of terms %d to %d after index %d of term %d, from a leader of term %d",
			e.First, first, last, m.PrevIndex, m.PrevTerm, m.Term)
	}
	return nil
}

// CheckProposals returns an error if a Session cannot have made these entries. A malformed entry
// must not get into a leader's log: followers would refuse it and everything after it.
func CheckProposals(data [][]byte) error {
	for _, d := range data {
		switch e, err := DecodeEntry(d); {
		case err != nil:
			return err
		case e.Kind == KindNoop || e.Kind == KindConfiguration:
			return fmt.Errorf("an entry of kind %v is not a proposal", e.Kind)
		}
	}
	return nil
}
