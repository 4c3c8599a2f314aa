package machine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// A state machine may return all its results in one buffer that it uses again in the next batch.
// Neither the callers nor the session table may see that.
func TestReusedResultBufferReachesNobody(t *testing.T) {
	large := strings.Repeat("large", largeValueBytes)
	buffer := make([]byte, 0, 1<<20)
	var state *fakeInMemory
	s := newFixture(t)
	s.start(Config{Factory: inMemoryFactory(t, &state, func(b *statemachine.Batch) ([][]byte, error) {
		buffer = buffer[:0]
		results := make([][]byte, len(b.Commands))
		for i, c := range b.Commands {
			first := len(buffer)
			buffer = append(buffer, c.Data...)
			results[i] = buffer[first:]
		}
		return results, nil
	})})
	s.commit(1, raft.EncodeRegisterSession([]byte("mine"), ownNodeID))
	want := map[uint64]string{}
	var all [][]byte
	for sequence := uint64(1); sequence <= 1000; sequence += 2 {
		first, second := fmt.Sprint("value ", sequence), fmt.Sprint(sequence, large[:sequence])
		s.commit(1, commandEntry(1, sequence, 1, first), commandEntry(1, sequence+1, 1, second))
		want[sequence], want[sequence+1] = first, second
	}
	clear(buffer[:cap(buffer)])
	check := func(what string) {
		t.Helper()
		seen := 0
		for _, r := range s.takeResults() {
			for i, sequence := range r.Sequences {
				if seen++; string(r.Values[i]) != want[sequence] {
					t.Fatalf("%s: command %d has the result %.20q, want %.20q", what, sequence, r.Values[i], want[sequence])
				}
				all = append(all, r.Values[i])
			}
		}
		if seen != len(want) {
			t.Fatalf("%s: %d results of %d", what, seen, len(want))
		}
	}
	check("results")
	// A caller may change its result, and append to it.
	for _, value := range all {
		copy(value, bytes.Repeat([]byte{'!'}, len(value)))
		_ = append(value, "!!!!!!!!"...)
	}
	for sequence := uint64(1); sequence <= 1000; sequence++ {
		s.commit(1, commandEntry(1, sequence, 1, "repeated"))
	}
	check("cached replies")
}

func TestEmptyResultsStayEmpty(t *testing.T) {
	var c valueCopier
	if c.copy(nil) != nil || c.copy([]byte{}) == nil || len(c.copy([]byte{})) != 0 {
		t.Error("nil and empty results must be told apart")
	}
}
