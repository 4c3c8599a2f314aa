package watch

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSpanFollowsRangeEndRules(t *testing.T) {
	for _, c := range []struct {
		key, end string
		in, out  []string
	}{
		{"b", "d", []string{"b", "c", "cz"}, []string{"a", "d"}},
		{"b", "\x00", []string{"b", "z", "\xff\xff"}, []string{"a"}},
		{"\x00", "\x00", []string{"\x00", "a", "\xff"}, nil},
		{"b", "a", nil, []string{"a", "b", "c"}},
	} {
		s, isSpan := spanOf([]byte(c.key), []byte(c.end))
		if !isSpan {
			t.Errorf("%q to %q is parsed as a single key", c.key, c.end)
		}
		for _, k := range c.in {
			if !s.contains([]byte(k)) {
				t.Errorf("%q to %q does not contain %q", c.key, c.end, k)
			}
		}
		for _, k := range c.out {
			if s.contains([]byte(k)) {
				t.Errorf("%q to %q contains %q", c.key, c.end, k)
			}
		}
	}
	if _, isSpan := spanOf([]byte("b"), nil); isSpan {
		t.Error("a key without an end is parsed as a range")
	}
}

func TestIntervalTreeAgreesWithLinearSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree intervalTree[int]
		model := map[span]int{}
		key := rapid.StringMatching(`[a-d]{0,3}`)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := span{lo: key.Draw(t, "lo"), hi: key.Draw(t, "hi")}
			if rapid.IntRange(0, 5).Draw(t, "toEnd") == 0 {
				s.hi, s.toEnd = "", true
			}
			if rapid.Bool().Draw(t, "remove") {
				tree.remove(s)
				delete(model, s)
			} else {
				*tree.getOrInsert(s) = i
				model[s] = i
			}
			k := []byte(key.Draw(t, "key"))
			var got, want []int
			tree.visit(k, func(v *int) bool { got = append(got, *v); return true })
			for s, v := range model {
				if s.contains(k) {
					want = append(want, v)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("at %q found %v, want %v of %v", k, got, want, model)
			}
			if tree.size != len(model) {
				t.Fatalf("size %d, want %d", tree.size, len(model))
			}
		}
	})
}

func TestWatchIndexMatchesExactlyTheWatchers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newWatchIndex(liveIndex)
		var in []*watcher
		key := rapid.StringMatching(`[a-c]{1,2}`)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(in) > 0 && rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				i := rapid.IntRange(0, len(in)-1).Draw(t, "which")
				x.remove(in[i])
				in = slices.Delete(in, i, i+1)
			} else {
				w := &watcher{}
				end := rapid.SampledFrom([]string{"", "\x00", "b", "bb", "c"}).Draw(t, "end")
				w.span, w.isRange = spanOf([]byte(key.Draw(t, "lo")), []byte(end))
				x.add(w)
				in = append(in, w)
			}
			e := putEvent(key.Draw(t, "event"), "", 1)
			matched := map[*watcher]int{}
			x.match(e, func(w *watcher) { matched[w]++ })
			for _, w := range in {
				want := 0
				if (w.isRange && w.span.contains(e.Kv.Key)) || (!w.isRange && w.span.lo == string(e.Kv.Key)) {
					want = 1
				}
				if matched[w] != want {
					t.Fatalf("watcher of %+v matched %d times for %q, want %d", w.span, matched[w], e.Kv.Key, want)
				}
			}
			if x.count != len(in) {
				t.Fatalf("count %d, want %d", x.count, len(in))
			}
		}
		for _, w := range in {
			x.remove(w)
		}
		if len(x.keys) != 0 || x.spans.size != 0 {
			t.Fatalf("an empty index keeps %d keys and %d spans", len(x.keys), x.spans.size)
		}
	})
}

func BenchmarkMatchOneOfManyPrefixes(b *testing.B) {
	x := newWatchIndex(liveIndex)
	for i := range 10_000 {
		w := &watcher{}
		lo := fmt.Sprintf("/registry/%05d/", i)
		w.span, w.isRange = spanOf([]byte(lo), []byte(lo[:len(lo)-1]+"0"))
		x.add(w)
	}
	e := putEvent("/registry/05000/pods/x", "", 1)
	found := 0
	for b.Loop() {
		x.match(e, func(*watcher) { found++ })
	}
	if found != b.N {
		b.Fatalf("found %d in %d rounds", found, b.N)
	}
}
