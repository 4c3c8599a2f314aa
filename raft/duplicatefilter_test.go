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
	for name, heard := range map[string][]message{
		"in order":               {{1, 1, true}, {1, 2, true}, {1, 3, true}},
		"copies":                 {{1, 1, true}, {1, 1, false}, {1, 2, true}, {1, 1, false}, {1, 2, false}},
		"overtaken":              {{1, 3, true}, {1, 1, true}, {1, 2, true}, {1, 1, false}},
		"lost":                   {{1, 1, true}, {1, 9, true}, {1, 5, true}, {1, 9, false}},
		"far behind":             {{1, 64, true}, {1, 1, true}, {1, 65, true}, {1, 2, true}, {1, 66, true}, {1, 3, true}, {1, 67, true}, {1, 2, false}},
		"a jump beyond the mask": {{1, 1, true}, {1, 1000, true}, {1, 1, false}, {1, 936, false}, {1, 937, true}},
		"a sender's next life":   {{1, 1, true}, {2, 1, true}, {2, 1, false}},
		"copies of earlier ones": {{1, 1, true}, {2, 1, true}, {3, 1, true}, {1, 1, false}, {2, 1, false}, {3, 1, false}, {3, 2, true}},
		"lives overtaken":        {{2, 1, true}, {1, 1, true}, {2, 1, false}, {2, 2, true}, {1, 1, false}, {1, 2, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var o DuplicateFilter
			for i, m := range heard {
				if got := o.Accept(m.stream, m.number); got != m.first {
					t.Fatalf("message %d, %+v: first: %v", i, m, got)
				}
			}
		})
	}
}

// Whatever comes in whatever order, no number is taken twice, and none is refused that was not seen
// and is among the last 64.
func TestDuplicateFilterMatchesSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o DuplicateFilter
		seen, highest := map[uint64]bool{}, uint64(0)
		for _, n := range rapid.SliceOfN(rapid.Uint64Range(1, 200), 0, 300).Draw(t, "numbers") {
			want := !seen[n] && (n > highest || highest-n < 64)
			if got := o.Accept(1, n); got != want {
				t.Fatalf("number %d after %d: first: %v, want %v", n, highest, got, want)
			}
			seen[n], highest = true, max(highest, n)
		}
	})
}
