package raft

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func storageConfiguration(ids ...string) *messages.Configuration {
	c := &messages.Configuration{}
	for i, id := range ids {
		c.Members = append(c.Members, &messages.Member{Id: uint64(i + 1), StorageId: []byte(id)})
	}
	return c
}

func TestStorageMayVote(t *testing.T) {
	for what, c := range map[string]struct {
		named     string
		rejoining bool
		want      bool
	}{
		"a new cluster":                        {"", false, true},
		"a directory that replaces a lost one": {"", true, false},
		"recorded":                             {"own", false, true},
		"recorded after a rejoin":              {"own", true, true},
		"replaced by another":                  {"other", false, false},
		"replaced by another, after a rejoin":  {"other", true, false},
	} {
		s := Storage{ID: []byte("own"), Rejoining: c.rejoining}
		if got := s.MayVote(storageConfiguration("x", c.named), 2); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestRejoinedMemberCountsOnceCommitted(t *testing.T) {
	before := storageConfiguration("a", "b", "")
	rejoined, err := WithRejoined(before, 2, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	first, complete := WithStorageIDs(before, func(uint64) []byte { return []byte("c") })
	if first == nil || !complete || string(before.Members[2].StorageId) != "" {
		t.Fatalf("recorded %v of %v", first, before)
	}
	unmet, err := WithRejoined(before, 3, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		committed, latest *messages.Configuration
		id                uint64
		want              bool
	}{
		"uncommitted":                 {before, rejoined, 2, false},
		"committed":                   {rejoined, rejoined, 2, true},
		"another member":              {before, rejoined, 1, true},
		"recorded for the first time": {before, first, 3, true},
		"rejoins before it was met":   {before, unmet, 3, false},
	} {
		if got := CountsInMajorities(c.committed, c.latest, c.id); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	for what, bad := range map[string]struct {
		id      uint64
		storage string
	}{"no member": {9, "new"}, "no storage id": {2, ""}, "the same": {2, "b"}, "that of another": {2, "a"}} {
		if _, err := WithRejoined(before, bad.id, []byte(bad.storage)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestRefusalOfOnePeerStops(t *testing.T) {
	own, other := []byte("own"), []byte("other")
	for what, c := range map[string]struct {
		rejoining bool
		named     []byte // by the committed configuration at index 5
		m         *messages.StorageRefused
		want      RefusalAction
	}{
		"an emptied member":              {false, nil, &messages.StorageRefused{StorageId: own, Known: other}, RefusalStops},
		"a former run's directory":       {false, nil, &messages.StorageRefused{StorageId: other, Known: own}, RefusalIgnored},
		"it rejoins":                     {true, nil, &messages.StorageRefused{StorageId: own, Known: other}, RefusalWaits},
		"a peer that lags behind":        {true, own, &messages.StorageRefused{StorageId: own, Known: other, ConfigurationIndex: 3}, RefusalIgnored},
		"a wrong pin":                    {false, own, &messages.StorageRefused{StorageId: own, Known: other}, RefusalIgnored},
		"replaced since":                 {true, own, &messages.StorageRefused{StorageId: own, Known: other, ConfigurationIndex: 9}, RefusalStops},
		"lost entries":                   {false, own, &messages.StorageRefused{StorageId: own, Known: own, LostEntries: true}, RefusalStops},
		"lost entries, while it rejoins": {true, nil, &messages.StorageRefused{StorageId: own, Known: own, LostEntries: true}, RefusalStops},
		"an older copy":                  {false, own, &messages.StorageRefused{StorageId: own, Known: own, Start: 3, StartId: 33}, RefusalStops},
		"an earlier start":               {false, nil, &messages.StorageRefused{StorageId: own, Known: own, Start: 2, StartId: 22}, RefusalIgnored},
		"the same number on a copy":      {false, nil, &messages.StorageRefused{StorageId: own, Known: own, Start: 3, StartId: 44}, RefusalIgnored},
	} {
		s := Storage{ID: own, Rejoining: c.rejoining, Starts: Starts{Count: 3, IDs: []uint64{22, 33}}}
		if got := s.OnRefusal(c.m, storageConfiguration("x", string(c.named)), 5, 2); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
