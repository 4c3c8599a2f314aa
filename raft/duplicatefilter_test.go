package raft

import (
	"testing"

	"pgregory.net/rapid"
)

func TestDuplicateFilterAcceptsEachMessageOnce(t *testing.T) {
	type message struct {
		stream, number uint64
		first          bool
	}
	for name, delivered := range map[string][]message{
		"in order":               {{1, 1, true}, {1, 2, true}, {1, 3, true}},
		"copies":                 {{1, 1, true}, {1, 1, false}, {1, 2, true}, {1, 1, false}, {1, 2, false}},
		"reordered":              {{1, 3, true}, {1, 1, true}, {1, 2, true}, {1, 1, false}},
		"lost":                   {{1, 1, true}, {1, 9, true}, {1, 5, true}, {1, 9, false}},
		"far behind":             {{1, 64, true}, {1, 1, true}, {1, 65, true}, {1, 2, true}, {1, 66, true}, {1, 3, true}, {1, 67, true}, {1, 2, false}},
		"a jump over the window": {{1, 1, true}, {1, 1000, true}, {1, 1, false}, {1, 936, false}, {1, 937, true}},
		"a second stream":        {{1, 1, true}, {2, 1, true}, {2, 1, false}},
		"copies of old streams":  {{1, 1, true}, {2, 1, true}, {3, 1, true}, {1, 1, false}, {2, 1, false}, {3, 1, false}, {3, 2, true}},
		"reordered streams":      {{2, 1, true}, {1, 1, true}, {2, 1, false}, {2, 2, true}, {1, 1, false}, {1, 2, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var o DuplicateFilter
			for i, m := range delivered {
				if got := o.Accept(m.stream, m.number); got != m.first {
					t.Fatalf("message %d, %+v: accepted %v", i, m, got)
				}
			}
		})
	}
}

// In any order, no number is accepted twice, and each of the last 64 is accepted once.
func TestDuplicateFilterMatchesSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o DuplicateFilter
		seen, highest := map[uint64]bool{}, uint64(0)
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(1, 200), 0, 300).Draw(t, "numbers") {
			want := !seen[n] && (n > highest || highest-n < 64)
			if got := o.Accept(1, n); got != want {
				t.Fatalf("number %d after %d: accepted %v, want %v", n, highest, got, want)
			}
			seen[n], highest = true, max(highest, n)
		}
	})
}
