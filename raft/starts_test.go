package raft

import "testing"

func TestStartsIncludeWhatAPeerMet(t *testing.T) {
	s := Starts{}
	for id := uint64(101); id <= 104; id++ {
		s = s.Next(id)
	}
	if got := s.Present(); got != (Start{4, 104}) {
		t.Fatalf("the present start is %v", got)
	}
	copied := Starts{}.Next(101).Next(102)
	for what, c := range map[string]struct {
		starts Starts
		met    Start
		want   bool
	}{
		"nothing met":                              {s, Start{}, true},
		"the present one":                          {s, Start{4, 104}, true},
		"an earlier one":                           {s, Start{2, 102}, true},
		"the first one":                            {s, Start{1, 101}, true},
		"an older copy":                            {copied.Next(203), Start{4, 104}, false},
		"an older copy, of the same number":        {copied.Next(203).Next(204), Start{4, 104}, false},
		"an older copy that was started often":     {copied.Next(203).Next(204).Next(205), Start{4, 104}, false},
		"no start is named":                        {Starts{}, Start{1, 101}, false},
		"too long ago to tell":                     {Starts{Count: 9, IDs: []uint64{7, 8, 9}}, Start{6, 1}, true},
		"as long ago as the ids reach":             {Starts{Count: 9, IDs: []uint64{7, 8, 9}}, Start{7, 1}, false},
		"the count is lost, and the peer has none": {Starts{}.Next(1), Start{}, true},
	} {
		if got := c.starts.Include(c.met); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestStartIDsAreBounded(t *testing.T) {
	s := Starts{}
	for id := range uint64(3 * MaxStartIDs) {
		s = s.Next(id)
	}
	if s.Count != 3*MaxStartIDs || len(s.IDs) != MaxStartIDs || s.IDs[0] != 2*MaxStartIDs || s.Present().ID != 3*MaxStartIDs-1 {
		t.Fatalf("%+v", s)
	}
}

func TestEarlierStartHasPassed(t *testing.T) {
	s := Starts{}.Next(101).Next(102).Next(103)
	for start, want := range map[Start]bool{{1, 101}: true, {2, 102}: true, {3, 103}: false, {2, 202}: false, {4, 104}: false, {}: false} {
		if got := s.Passed(start); got != want {
			t.Errorf("%v: %v", start, got)
		}
	}
}
