package raft

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
)

func testConfiguration(ids ...uint64) *messages.Configuration {
	c := &messages.Configuration{ClusterId: 99}
	for _, id := range ids {
		c.Members = append(c.Members, &messages.Member{
			Id: id, Name: fmt.Sprintf("n%d", id), Address: fmt.Sprintf("host%d:1", id), PeerUrls: []string{fmt.Sprintf("https://host%d:1", id)},
		})
	}
	return c
}

func TestE30E31ConfigurationInEffectUntilTruncated(t *testing.T) {
	base, second, third := testConfiguration(1), testConfiguration(1, 2), testConfiguration(1, 2, 3)
	c := NewConfigurationHistory(base, 3, []*messages.IndexedConfiguration{{Index: 5, Configuration: second}})
	latest := func(wantIndex uint64, want *messages.Configuration) {
		t.Helper()
		if index, got := c.Latest(); index != wantIndex || got != want {
			t.Fatalf("in effect: %v of %d; want %v of %d", got, index, want, wantIndex)
		}
	}
	latest(5, second)
	c.Append(9, third)
	latest(9, third)
	for index, want := range map[uint64]*messages.Configuration{2: nil, 3: base, 4: base, 5: second, 8: second, 9: third, 20: third} {
		if got := c.at(index); got != want {
			t.Errorf("at %d: %v, want %v", index, got, want)
		}
	}
	if c.Truncate(10) {
		t.Error("truncation after the last configuration reports a change")
	}
	if !c.Truncate(9) {
		t.Error("truncation of the last configuration reports no change")
	}
	latest(5, second)
	c.Append(6, third) // of another leader
	if !c.Truncate(4) {
		t.Error("truncation of both reports no change")
	}
	latest(3, base)
}

func TestConfigurationHistoryMatchesLogModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewConfigurationHistory(nil, 0, nil)
		log := []*messages.Configuration{nil} // by index; nil for other entries
		inEffect := func(index int) (at uint64, conf *messages.Configuration) {
			for i := index; i > 0; i-- {
				if log[i] != nil {
					return uint64(i), log[i]
				}
			}
			return 0, nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				log = append(log, nil)
				if rapid.Bool().Draw(t, "configuration") {
					log[len(log)-1] = testConfiguration(uint64(len(log)))
					c.Append(uint64(len(log)-1), log[len(log)-1])
				}
			},
			"truncate": func(t *rapid.T) {
				from := rapid.IntRange(1, len(log)).Draw(t, "from")
				before, _ := inEffect(len(log) - 1)
				log = log[:from]
				after, _ := inEffect(len(log) - 1)
				if changed := c.Truncate(uint64(from)); changed != (before != after) {
					t.Fatalf("truncation from %d: changed is %v, but %d became %d", from, changed, before, after)
				}
			},
			"": func(t *rapid.T) {
				for i := range log {
					_, want := inEffect(i)
					if got := c.at(uint64(i)); want != nil && got != want || want == nil && len(got.Members) > 0 {
						t.Fatalf("at %d: %v, want %v", i, got, want)
					}
				}
				wantIndex, want := inEffect(len(log) - 1)
				if index, got := c.Latest(); index != wantIndex || want != nil && got != want || got == nil {
					t.Fatalf("latest %d %v, want %d %v", index, got, wantIndex, want)
				}
			},
		})
	})
}

func TestConfigurationOutOfOrderPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"same index":         func() { NewConfigurationHistory(nil, 0, nil).Append(0, testConfiguration(1)) },
		"below the base":     func() { NewConfigurationHistory(testConfiguration(1), 4, nil).Append(4, testConfiguration(1)) },
		"truncated the base": func() { NewConfigurationHistory(testConfiguration(1), 4, nil).Truncate(4) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestE34DemotedVoterCountsInOldMajorityOnly(t *testing.T) {
	c := testConfiguration(4, 1, 3, 2)
	FindMember(c, 1).Learner = true // 1 becomes a learner, 4 is new
	c.OutgoingVoters = []uint64{3, 1, 2}
	q := QuorumOf(c)
	if !slices.Equal(q.Incoming, Majority{2, 3, 4}) || !slices.Equal(q.Outgoing, Majority{1, 2, 3}) {
		t.Fatalf("%+v", q)
	}
	if !slices.Equal(c.OutgoingVoters, []uint64{3, 1, 2}) {
		t.Fatal("the configuration was changed")
	}
	for id, want := range map[uint64]bool{1: true, 2: true, 4: true, 5: false} {
		if q.Contains(id) != want {
			t.Errorf("%d: want voter %v", id, want)
		}
	}
	c.OutgoingVoters = nil
	if QuorumOf(c).Contains(1) || FindMember(c, 1) == nil || FindMember(c, 9) != nil {
		t.Error("member 1 must be a learner after the joint configuration")
	}
}

func TestInvalidConfigurationIsRefused(t *testing.T) {
	if err := ValidateConfiguration(testConfiguration(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if err := ValidateConfiguration(&messages.Configuration{Members: []*messages.Member{{Id: 1}}}); err != nil {
		t.Fatalf("a single member without address: %v", err)
	}
	for name, spoil := range map[string]func(c *messages.Configuration){
		"no members":       func(c *messages.Configuration) { c.Members = nil },
		"id 0":             func(c *messages.Configuration) { c.Members[1].Id = 0 },
		"a repeated id":    func(c *messages.Configuration) { c.Members[1].Id = 1 },
		"a shared address": func(c *messages.Configuration) { c.Members[1].Address = c.Members[0].Address },
		"a removed id":     func(c *messages.Configuration) { c.Removed = []uint64{7, 2} },
		"a shared data directory": func(c *messages.Configuration) {
			c.Members[0].StorageId, c.Members[1].StorageId = []byte("x"), []byte("x")
		},
		"learners only":             func(c *messages.Configuration) { c.Members[0].Learner, c.Members[1].Learner = true, true },
		"an unknown outgoing voter": func(c *messages.Configuration) { c.OutgoingVoters = []uint64{1, 9} },
		"a repeated outgoing voter": func(c *messages.Configuration) { c.OutgoingVoters = []uint64{1, 1} },
		"a name that is not UTF-8":  func(c *messages.Configuration) { c.Members[0].Name = "\xff" },
		"a URL that is not UTF-8":   func(c *messages.Configuration) { c.Members[0].PeerUrls[0] = "\xff" },
	} {
		c := testConfiguration(1, 2)
		spoil(c)
		if err := ValidateConfiguration(c); !errors.Is(err, ErrInvalidConfiguration) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClusterIDDependsOnMembersAndToken(t *testing.T) {
	c := testConfiguration(1, 2, 3)
	id := ClusterID(c, "token")
	shuffled := testConfiguration(3, 1, 2)
	shuffled.ClusterId = 0 // not part of the hash
	if ClusterID(shuffled, "token") != id {
		t.Error("the order of the members changes the id")
	}
	if shuffled.Members[0].Id != 3 {
		t.Error("the members were sorted in place")
	}
	seen := map[uint64]string{id: "itself"}
	for name, change := range map[string]func(c *messages.Configuration){
		"an id":         func(c *messages.Configuration) { c.Members[2].Id = 4 },
		"an address":    func(c *messages.Configuration) { c.Members[0].Address = "host1:2" },
		"a name":        func(c *messages.Configuration) { c.Members[0].Name = "n" },
		"a URL":         func(c *messages.Configuration) { c.Members[0].PeerUrls = nil },
		"fewer members": func(c *messages.Configuration) { c.Members = c.Members[:2] },
		"the same text": func(c *messages.Configuration) { c.Members[0].Name, c.Members[0].Address = "n1h", "ost1:1" },
	} {
		other := proto.Clone(c).(*messages.Configuration)
		change(other)
		got := ClusterID(other, "token")
		if before, taken := seen[got]; taken || got == 0 {
			t.Errorf("%s: same id as %s", name, before)
		}
		seen[got] = name
	}
	if ClusterID(c, "other") == id {
		t.Error("the token does not change the id")
	}
}
