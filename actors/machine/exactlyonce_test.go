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
)

// feed gives the log to the machine from where it stands, in batches of random size, and checks what the handle hears of
// each. It stops after at most `batches`.
func feed(t *rapid.T, s *stage, log [][]byte, batches int, heard map[order]bool, want *naiveLedger) {
	for range batches {
		from := s.pulled()
		if from > uint64(len(log)) {
			return
		}
		n := rapid.IntRange(1, min(12, len(log)-int(from)+1)).Draw(t, "batch")
		s.commit(termAt(from), log[from-1:int(from)-1+n]...)
		if len(s.Failures) > 0 {
			t.Fatalf("failed: %v", s.Failures)
		}
		checkHeard(t, s, heard, want)
	}
}

func termAt(index uint64) uint64 { return index/20 + 1 }

// checkHeard: whatever the handle hears of a command is the truth about its one application.
func checkHeard(t *rapid.T, s *stage, heard map[order]bool, want *naiveLedger) {
	results := s.results()
	if len(results) == 0 {
		t.Fatal("a batch was applied and the handle heard nothing")
	}
	for _, r := range results {
		if r.Applied != s.pulled()-1 {
			t.Fatalf("%v says applied, the Pull stands at %d", r, s.pulled())
		}
		for i, sequence := range r.Sequences {
			id := order{r.Origin, sequence}
			if r.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
				continue // those that took effect must be heard of at least once: checked at the end
			}
			if sequence >= barriers { // answered each time it is met, at its own index
				if r.Indexes[i] < sequence-barriers || r.Indexes[i] > r.Applied || len(r.Values[i]) > 0 {
					t.Fatalf("barrier %v: heard %q at %d", id, r.Values[i], r.Indexes[i])
				}
				continue
			}
			first, took := want.first[id]
			if !took || r.Indexes[i] != first.index || string(r.Values[i]) != first.value {
				t.Fatalf("command %v: heard %q at %d, want %q at %d", id, r.Values[i], r.Indexes[i], first.value, first.index)
			}
			heard[id] = true
		}
	}
}

// The heart of it: however the log is cut into batches, and wherever the machine is torn down and loses the last of what
// it stored, it ends with the same application state, the same ledger and the same answers as one that took the log
// entry by entry and never crashed.
func TestE11ACrashedMachineEndsAsOneThatNeverCrashed(t *testing.T) {
	crashes, lost, repeats, plays := 0, 0, 0, 0
	play := func(rt *rapid.T) {
		log := drawLog(rt)
		want := newNaiveLedger(small)
		for i, data := range log {
			first := uint64(i) + 1
			want.entry(first, 0, data)
		}
		repeats += len(log) - len(want.applied)
		newStageFor := newStage(t)

		var d disk
		heard := map[order]bool{}
		for {
			newStageFor.startWith(small, Config{Factory: func() (StateMachine, error) { return &onDisk{disk: &d}, nil }})
			if stands := newStageFor.toNode[0].(*messages.MachineReady).Applied; stands != d.newest().last {
				rt.Fatalf("the machine says it stands at %d, its disk at %d", stands, d.newest().last)
			}
			if !rapid.Bool().Draw(rt, "crash") {
				break
			}
			feed(rt, newStageFor, log, rapid.IntRange(0, 4).Draw(rt, "batches"), heard, want)
			newStageFor.stop()
			crashes++
			if keep := rapid.IntRange(0, len(d.states)).Draw(rt, "kept"); keep < len(d.states) {
				lost++
				d.states = d.states[:keep]
			}
		}
		feed(rt, newStageFor, log, len(log), heard, want)
		compareOutcome(rt, "on disk", want, d.newest().applied, newStageFor.actor.ledger, heard)
		newStageFor.stop()

		var state *inMemory
		heard = map[order]bool{}
		newStageFor.startWith(small, Config{Factory: factoryOf(t, &state, nil)})
		feed(rt, newStageFor, log, len(log), heard, want)
		compareOutcome(rt, "in memory", want, state.applied, newStageFor.actor.ledger, heard)
		newStageFor.stop()
		plays++
	}
	// The same twenty plays each time, to know that what is played is worth it; what luck adds is not counted.
	const examples = 20
	for seed := range uint64(examples) {
		t.Run(fmt.Sprint("told-", seed), func(t *testing.T) { rapid.MakeFuzz(play)(t, noise(seed)) })
	}
	if plays != examples || crashes == 0 || lost == 0 || repeats == 0 {
		t.Errorf("%d plays, %d crashes, %d that lost something, %d entries not applied: too tame", plays, crashes, lost, repeats)
	}
	rapid.Check(t, play)
}

// noise is what a play draws from, the same for the same seed, and more than it can want.
func noise(seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	bytes := make([]byte, 1<<18)
	_, _ = rand.NewChaCha8(key).Read(bytes) // never fails
	return bytes
}

func compareOutcome(t *rapid.T, kind string, want *naiveLedger, applied []done, got *ledger, heard map[order]bool) {
	for i := range applied {
		applied[i].term = 0 // depends on the batches of the test
	}
	if !slices.Equal(applied, want.applied) {
		t.Fatalf("%s: applied\n%v\nwant\n%v", kind, applied, want.applied)
	}
	if got.String() != want.String() {
		t.Fatalf("%s: ledger\n%v\nwant\n%v", kind, got, want)
	}
	for id := range want.first {
		if !heard[id] {
			t.Fatalf("%s: command %v took effect and the handle never heard of it", kind, id)
		}
	}
}

// A ledger read back from its records is the ledger that wrote them, also across the point where a whole one is written.
func TestTheLedgerIsReadBackExactlyAndItsRecordsDoNotPileUp(t *testing.T) {
	l, j := newLedger(featureLevel1), new(journal)
	l.open(1, 1, []byte("one"))
	l.open(2, 2, []byte("two"))
	changes := []change{{kind: changeOpen, index: 1, node: 1, nonce: []byte("one")}, {kind: changeOpen, index: 2, node: 2, nonce: []byte("two")}}
	var stored, all []LedgerRecord
	wholes, most, afterWhole := 0, 0, false
	index := uint64(2)
	for batch := range 12000 {
		var results [][]byte
		for range 1 + batch%3 {
			index++
			origin := 1 + index%2
			sequence, lowest := index, index-min(index, 50)
			if index%7 == 0 {
				sequence -= 5 // that of an earlier one of the other origin: new, and out of order
			}
			value := bytes.Repeat([]byte{byte(index)}, int(index%200))
			verdict, _ := l.admit(l.find(origin), index, sequence, lowest)
			c := change{kind: changeRepeat, index: index, origin: origin, sequence: sequence, lowest: lowest}
			if verdict == isNew {
				c.kind, c.command = changeApply, len(results)
				results = append(results, value)
				l.settle(origin, sequence, value)
			}
			changes = append(changes, c)
		}
		u := j.update(l, index, changes, results)
		changes = changes[:0]
		record := LedgerRecord{Index: u.Put.Index, Data: bytes.Clone(u.Put.Data)}
		stored, all = append(stored, record), append(all, record)
		if u.DropBelow > 0 {
			wholes++
			stored = slices.DeleteFunc(stored, func(r LedgerRecord) bool { return r.Index < u.DropBelow })
		}
		size := 0
		for _, r := range stored {
			size += len(r.Data)
		}
		most = max(most, size)
		if batch%997 == 0 || u.DropBelow > 0 || afterWhole {
			same(t, "the records left", index, stored, l)
			// Records that should have been dropped and were not do no harm.
			same(t, "all records", index, all, l)
		}
		afterWhole = u.DropBelow > 0
	}
	if wholes < 3 {
		t.Errorf("only %d whole records", wholes)
	}
	if bound := 2 * minChangeBytes; most > bound {
		t.Errorf("records of %d bytes at most, bound %d", most, bound)
	}
}

// same reads a ledger back and compares.
func same(t *testing.T, what string, applied uint64, records []LedgerRecord, want *ledger) {
	t.Helper()
	back, _, err := recoverLedger(applied, records, featureLevel1)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if back.String() != want.String() || !bytes.Equal(appendWhole(nil, back), appendWhole(nil, want)) {
		t.Fatalf("%s give at %d\n%v\nwant\n%v", what, applied, back, want)
	}
}

func TestRecordsThatAreNotWhatWasStoredAreRefused(t *testing.T) {
	l, j := newLedger(small), new(journal)
	l.open(1, 1, []byte("n"))
	open := bytes.Clone(j.update(l, 1, []change{{kind: changeOpen, index: 1, node: 1, nonce: []byte("n")}}, nil).Put.Data)
	whole := appendWhole([]byte{recordVersion, recordWhole}, l)
	for name, records := range map[string][]LedgerRecord{
		"beyond applied":       {{Index: 10, Data: open}},
		"twice the same index": {{Index: 1, Data: whole}, {Index: 1, Data: whole}},
		"empty":                {{Index: 1}},
		"another version":      {{Index: 1, Data: []byte{2, 1}}},
		"another kind":         {{Index: 1, Data: []byte{1, 9}}},
		"cut":                  {{Index: 1, Data: open[:len(open)-1]}},
		"longer":               {{Index: 1, Data: append(bytes.Clone(whole), 0)}},
		"whole, cut":           {{Index: 1, Data: whole[:len(whole)-1]}},
		"an unknown change":    {{Index: 1, Data: []byte{1, 1, 9, 1}}},
		"a missing record":     {{Index: 2, Data: []byte{1, 1, byte(changeRepeat), 2, 1, 1, 0}}},
		"a close of nothing":   {{Index: 2, Data: []byte{1, 1, byte(changeClose), 2, 1}}},
		"a repeat that is new": {{Index: 1, Data: open}, {Index: 2, Data: []byte{1, 1, byte(changeRepeat), 2, 1, 1, 0}}},
		"an apply that is old": {{Index: 1, Data: open}, {Index: 2, Data: []byte{1, 1, byte(changeApply), 2, 1, 1, 2, 0}}},
	} {
		if _, _, err := recoverLedger(5, records, small); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := recoverLedger(5, []LedgerRecord{{Index: 2, Data: whole}, {Index: 1, Data: open}}, small); err != nil {
		t.Errorf("good records, in any order: %v", err)
	}
}

func FuzzLedgerRecord(f *testing.F) {
	l := newLedger(small)
	l.open(1, 1, []byte("n"))
	l.admit(l.find(1), 2, 5, 1)
	l.settle(1, 5, []byte("value"))
	f.Add(appendWhole([]byte{recordVersion, recordWhole}, l), []byte{1, 1, byte(changeApply), 3, 1, 6, 2, 1, 'x'})
	f.Add([]byte{1, 1, 1, 1, 7, 1, 'a', 3, 1, 1, 2, 1}, []byte{1, 1, 2, 9, 1})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		back, j, err := recoverLedger(9, []LedgerRecord{{Index: 1, Data: first}, {Index: 2, Data: second}}, small)
		if err != nil {
			return
		}
		if _, _, err := recoverLedger(9, []LedgerRecord{{Index: 1, Data: appendWhole([]byte{recordVersion, recordWhole}, back)}}, small); err != nil {
			t.Fatalf("what was read cannot be written and read again: %v\n%v%v", err, back, j)
		}
	})
}

// Slices that slide through their arrays are easy to get wrong at their ends.
func TestAnOriginsAnswersAreAsGoodAsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, list, lost := &origin{}, []uint64{}, map[uint64]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				o.raise(o.watermark + rapid.Uint64Range(0, 30).Draw(t, "by"))
				list = slices.DeleteFunc(list, func(s uint64) bool { return s < o.watermark })
				maps.DeleteFunc(lost, func(s uint64, _ bool) bool { return s < o.watermark })
			case 1:
				lowest := slices.IndexFunc(list, func(s uint64) bool { return s%5 > 0 && !lost[s] })
				if lowest >= 0 {
					lost[list[lowest]] = true
					o.giveWay()
				}
			default:
				s := o.watermark + rapid.Uint64Range(0, 40).Draw(t, "sequence")
				at, found := o.search(s)
				if wantAt, want := slices.BinarySearch(list, s); at != wantAt || found != want {
					t.Fatalf("%d in %v: %d, %v", s, list, at, found)
				}
				if !found {
					o.insert(at, answer{sequence: s})
					o.keep(at, make([]byte, s%5))
					list = slices.Insert(list, at, s)
				}
			}
			bytes := 0
			for i, a := range o.answers {
				size := int(a.sequence % 5)
				if lost[a.sequence] {
					size = 0
				}
				if a.sequence != list[i] || len(a.value) != size || (a.state == dropped) != lost[a.sequence] {
					t.Fatalf("%v, want %v", o.answers, list)
				}
				bytes += len(a.value)
			}
			if len(o.answers) != len(list) || o.bytes != bytes {
				t.Fatalf("%d answers of %d bytes, want %d of %d", len(o.answers), o.bytes, len(list), bytes)
			}
		}
	})
}

func TestAnOriginInTheSteadyStateAllocatesNothing(t *testing.T) {
	for _, outstanding := range []uint64{1, 1000} {
		t.Run(fmt.Sprint(outstanding), func(t *testing.T) {
			l := newLedger(featureLevel1)
			l.open(1, 1, nil)
			sequence := uint64(0)
			step := func() {
				sequence++
				l.admit(l.find(1), sequence+1, sequence, sequence-min(sequence, outstanding))
				l.settle(1, sequence, nil)
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
