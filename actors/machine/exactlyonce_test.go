package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/statemachine"
)

// commitLog commits the log from the pending Pull on, in at most `batches` batches of random size,
// and checks the results of each.
func commitLog(t *rapid.T, s *fixture, log [][]byte, batches int, received map[commandID]bool, want *modelTable) {
	for range batches {
		from := s.pullFrom()
		if from > uint64(len(log)) {
			return
		}
		n := rapid.IntRange(1, min(12, len(log)-int(from)+1)).Draw(t, "batch")
		s.commit(termAt(from), log[from-1:int(from)-1+n]...)
		if len(s.Failures) > 0 {
			t.Fatalf("failed: %v", s.Failures)
		}
		checkResults(t, s, received, want)
	}
}

func termAt(index uint64) uint64 { return index/20 + 1 }

// checkResults: every result that the Session receives is that of the first time the command was
// applied.
func checkResults(t *rapid.T, s *fixture, received map[commandID]bool, want *modelTable) {
	results := s.takeResults()
	if len(results) == 0 {
		t.Fatal("the Session received nothing about a batch")
	}
	if last := results[len(results)-1].Applied; last != s.pullFrom()-1 {
		t.Fatalf("the last results are at index %d, and the Pull is at %d", last, s.pullFrom())
	}
	applied := uint64(0)
	for _, r := range results {
		if r.Applied < applied || r.Applied >= s.pullFrom() {
			t.Fatalf("%v has applied index %d, after %d and before the Pull at %d", r, r.Applied, applied, s.pullFrom())
		}
		applied = r.Applied
		for i, sequence := range r.Sequences {
			id := commandID{r.SessionId, sequence}
			if r.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
				continue // compareOutcome checks that each applied command had a result
			}
			if sequence >= firstBarrierSequence { // each copy has a result of its own
				if r.Indexes[i] < sequence-firstBarrierSequence || r.Indexes[i] > r.Applied || len(r.Values[i]) > 0 {
					t.Fatalf("barrier %v: received %q at %d", id, r.Values[i], r.Indexes[i])
				}
				continue
			}
			first, took := want.first[id]
			if !took || r.Indexes[i] != first.index || string(r.Values[i]) != first.value {
				t.Fatalf("command %v: received %q at %d, want %q at %d", id, r.Values[i], r.Indexes[i], first.value, first.index)
			}
			received[id] = true
		}
	}
}

// However the log is divided into batches, and wherever the Machine crashes and loses the newest of
// what it stored, it ends with the same application state, session table and results as a model
// that takes the log entry by entry.
func TestE11CrashesChangeNothingInTheEnd(t *testing.T) {
	crashes, evictedValues, repeats, runs := 0, 0, 0, 0
	run := func(rt *rapid.T) {
		log := drawLog(rt)
		want := newModelTable(smallLimits)
		for i, data := range log {
			first := uint64(i) + 1
			want.entry(first, 0, data)
		}
		repeats += len(log) - len(want.applied)
		f := newFixture(t)
		resultBytes := rapid.SampledFrom([]uint64{0, 1, 60}).Draw(rt, "result bytes") // divide a batch as well

		var d fakeDisk
		received := map[commandID]bool{}
		for {
			f.startWith(smallLimits, Config{MaxResultBytes: resultBytes,
				Factory: func() (statemachine.StateMachine, error) { return &fakeOnDisk{disk: &d}, nil }})
			if stands := f.toNode[0].(*messages.MachineReady).Applied; stands != d.newest().last {
				rt.Fatalf("the Machine reports %d as applied, its disk has %d", stands, d.newest().last)
			}
			if !rapid.Bool().Draw(rt, "crash") {
				break
			}
			commitLog(rt, f, log, rapid.IntRange(0, 4).Draw(rt, "batches"), received, want)
			f.stop()
			crashes++
			if keep := rapid.IntRange(0, len(d.states)).Draw(rt, "kept"); keep < len(d.states) {
				evictedValues++
				d.states = d.states[:keep]
			}
		}
		commitLog(rt, f, log, len(log), received, want)
		compareOutcome(rt, "on disk", want, d.newest().applied, f.machine.sessions, received)
		f.stop()

		var state *fakeInMemory
		received = map[commandID]bool{}
		f.startWith(smallLimits, Config{MaxResultBytes: resultBytes, Factory: inMemoryFactory(t, &state, nil)})
		commitLog(rt, f, log, len(log), received, want)
		compareOutcome(rt, "in memory", want, state.applied, f.machine.sessions, received)
		f.stop()
		runs++
	}
	// Twenty runs with fixed seeds show that the test covers crashes and losses. Random runs follow.
	const examples = 20
	for seed := range uint64(examples) {
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) { rapid.MakeFuzz(run)(t, seededBytes(seed)) })
	}
	if runs != examples || crashes == 0 || evictedValues == 0 || repeats == 0 {
		t.Errorf("%d runs, %d crashes, %d that evictedValues something, %d entries not applied: too tame", runs, crashes, evictedValues, repeats)
	}
	rapid.Check(t, run)
}

// seededBytes is the source of randomness of a run, longer than any run needs.
func seededBytes(seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	bytes := make([]byte, 1<<18)
	_, _ = rand.NewChaCha8(key).Read(bytes) // never fails
	return bytes
}

func compareOutcome(t *rapid.T, kind string, want *modelTable, applied []appliedCommand, got *sessionTable, received map[commandID]bool) {
	for i := range applied {
		applied[i].term = 0 // depends on the batches of the test
	}
	if !slices.Equal(applied, want.applied) {
		t.Fatalf("%s: applied\n%v\nwant\n%v", kind, applied, want.applied)
	}
	if got.String() != want.String() {
		t.Fatalf("%s: session table\n%v\nwant\n%v", kind, got, want)
	}
	for id := range want.first {
		if !received[id] {
			t.Fatalf("%s: command %v was applied and had no result", kind, id)
		}
	}
}

// A table decoded from its records equals the table that was encoded, also across a full record.
func TestSessionRecordsRestoreTheTable(t *testing.T) {
	l, j := newSessionTable(featureLevel1Limits), new(sessionRecorder)
	l.register(1, 1, []byte("one"))
	l.register(2, 2, []byte("two"))
	changes := []change{{kind: changeRegister, index: 1, node: 1, nonce: []byte("one")}, {kind: changeRegister, index: 2, node: 2, nonce: []byte("two")}}
	var stored, all []statemachine.SessionRecord
	fulls, most, afterFull := 0, 0, false
	index := uint64(2)
	for batch := range 12000 {
		var results [][]byte
		for range 1 + batch%3 {
			index++
			session := 1 + index%2
			sequence, lowest := index, index-min(index, 50)
			if index%7 == 0 {
				sequence -= 5 // of an earlier one of the other session: new, and out of order
			}
			value := bytes.Repeat([]byte{byte(index)}, int(index%200))
			decision, _ := l.admit(l.find(session), index, sequence, lowest)
			c := change{kind: changeDuplicate, index: index, session: session, sequence: sequence, lowestOutstanding: lowest}
			if decision == isNew {
				c.kind, c.batchPosition = changeApply, len(results)
				results = append(results, value)
				l.cacheReply(session, sequence, value)
			}
			changes = append(changes, c)
		}
		u := j.update(l, index, changes, results)
		changes = changes[:0]
		record := statemachine.SessionRecord{Index: u.Put.Index, Data: bytes.Clone(u.Put.Data)}
		stored, all = append(stored, record), append(all, record)
		if u.DropBelow > 0 {
			fulls++
			stored = slices.DeleteFunc(stored, func(r statemachine.SessionRecord) bool { return r.Index < u.DropBelow })
		}
		size := 0
		for _, r := range stored {
			size += len(r.Data)
		}
		most = max(most, size)
		if batch%997 == 0 || u.DropBelow > 0 || afterFull {
			checkRecovered(t, "the records left", index, stored, l)
			// Records that should have been deleted do no harm.
			checkRecovered(t, "all records", index, all, l)
		}
		afterFull = u.DropBelow > 0
	}
	if fulls < 3 {
		t.Errorf("only %d whole records", fulls)
	}
	if bound := 2 * minDeltaBytes; most > bound {
		t.Errorf("records of %d bytes at most, bound %d", most, bound)
	}
}

// checkRecovered decodes the records and compares.
func checkRecovered(t *testing.T, what string, applied uint64, records []statemachine.SessionRecord, want *sessionTable) {
	t.Helper()
	back, _, err := recoverSessionTable(applied, records, featureLevel1Limits)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if back.String() != want.String() || !bytes.Equal(appendFull(nil, back), appendFull(nil, want)) {
		t.Fatalf("%s give at %d\n%v\nwant\n%v", what, applied, back, want)
	}
}

func TestDamagedSessionRecordsAreRefused(t *testing.T) {
	l, j := newSessionTable(smallLimits), new(sessionRecorder)
	l.register(1, 1, []byte("n"))
	open := bytes.Clone(j.update(l, 1, []change{{kind: changeRegister, index: 1, node: 1, nonce: []byte("n")}}, nil).Put.Data)
	whole := appendFull([]byte{recordVersion, recordFull}, l)
	for name, records := range map[string][]statemachine.SessionRecord{
		"beyond applied":       {{Index: 10, Data: open}},
		"twice the same index": {{Index: 1, Data: whole}, {Index: 1, Data: whole}},
		"empty":                {{Index: 1}},
		"another version":      {{Index: 1, Data: []byte{2, 1}}},
		"another kind":         {{Index: 1, Data: []byte{1, 9}}},
		"cut":                  {{Index: 1, Data: open[:len(open)-1]}},
		"longer":               {{Index: 1, Data: append(bytes.Clone(whole), 0)}},
		"whole, cut":           {{Index: 1, Data: whole[:len(whole)-1]}},
		"an unknown change":    {{Index: 1, Data: []byte{1, 1, 9, 1}}},
		"a missing record":     {{Index: 2, Data: []byte{1, 1, byte(changeDuplicate), 2, 1, 1, 0}}},
		"a close of nothing":   {{Index: 2, Data: []byte{1, 1, byte(changeExpire), 2, 1}}},
		"a repeat that is new": {{Index: 1, Data: open}, {Index: 2, Data: []byte{1, 1, byte(changeDuplicate), 2, 1, 1, 0}}},
		"an apply that is old": {{Index: 1, Data: open}, {Index: 2, Data: []byte{1, 1, byte(changeApply), 2, 1, 1, 2, 0}}},
	} {
		if _, _, err := recoverSessionTable(5, records, smallLimits); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := recoverSessionTable(5, []statemachine.SessionRecord{{Index: 2, Data: whole}, {Index: 1, Data: open}}, smallLimits); err != nil {
		t.Errorf("good records, in any order: %v", err)
	}
}

func FuzzSessionRecord(f *testing.F) {
	l := newSessionTable(smallLimits)
	l.register(1, 1, []byte("n"))
	l.admit(l.find(1), 2, 5, 1)
	l.cacheReply(1, 5, []byte("value"))
	f.Add(appendFull([]byte{recordVersion, recordFull}, l), []byte{1, 1, byte(changeApply), 3, 1, 6, 2, 1, 'x'})
	f.Add([]byte{1, 1, 1, 1, 7, 1, 'a', 3, 1, 1, 2, 1}, []byte{1, 1, 2, 9, 1})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		back, j, err := recoverSessionTable(9, []statemachine.SessionRecord{{Index: 1, Data: first}, {Index: 2, Data: second}}, smallLimits)
		if err != nil {
			return
		}
		if _, _, err := recoverSessionTable(9, []statemachine.SessionRecord{{Index: 1, Data: appendFull([]byte{recordVersion, recordFull}, back)}}, smallLimits); err != nil {
			t.Fatalf("what was read cannot be written and read again: %v\n%v%v", err, back, j)
		}
	})
}

// replies slides through its array: the ends are easy to get wrong.
func TestRepliesBehaveAsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, list, evictedValues := &clientSession{}, []uint64{}, map[uint64]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				o.acknowledgeBelow(o.lowestOutstanding + rapid.Uint64Range(0, 30).Draw(t, "by"))
				list = slices.DeleteFunc(list, func(s uint64) bool { return s < o.lowestOutstanding })
				maps.DeleteFunc(evictedValues, func(s uint64, _ bool) bool { return s < o.lowestOutstanding })
			case 1:
				lowest := slices.IndexFunc(list, func(s uint64) bool { return s%5 > 0 && !evictedValues[s] })
				if lowest >= 0 {
					evictedValues[list[lowest]] = true
					o.evictLowestValue()
				}
			default:
				s := o.lowestOutstanding + rapid.Uint64Range(0, 40).Draw(t, "sequence")
				at, found := o.search(s)
				if wantAt, want := slices.BinarySearch(list, s); at != wantAt || found != want {
					t.Fatalf("%d in %v: %d, %v", s, list, at, found)
				}
				if !found {
					o.insert(at, cachedReply{sequence: s})
					o.setValue(at, make([]byte, s%5))
					list = slices.Insert(list, at, s)
				}
			}
			bytes := 0
			for i, a := range o.replies {
				size := int(a.sequence % 5)
				if evictedValues[a.sequence] {
					size = 0
				}
				if a.sequence != list[i] || len(a.value) != size || (a.state == evicted) != evictedValues[a.sequence] {
					t.Fatalf("%v, want %v", o.replies, list)
				}
				bytes += len(a.value)
			}
			if len(o.replies) != len(list) || o.valueBytes != bytes {
				t.Fatalf("%d replies of %d bytes, want %d of %d", len(o.replies), o.valueBytes, len(list), bytes)
			}
		}
	})
}

func TestSteadySessionAllocatesNothing(t *testing.T) {
	for _, outstanding := range []uint64{1, 1000} {
		t.Run(fmt.Sprint(outstanding), func(t *testing.T) {
			l := newSessionTable(featureLevel1Limits)
			l.register(1, 1, nil)
			sequence := uint64(0)
			step := func() {
				sequence++
				l.admit(l.find(1), sequence+1, sequence, sequence-min(sequence, outstanding))
				l.cacheReply(1, sequence, nil)
			}
			for range 10 * outstanding {
				step()
			}
			if n := testing.AllocsPerRun(10000, step); n != 0 {
				t.Errorf("%v allocations a command", n)
			}
		})
	}
}
