package scenario

import (
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The writes of a script.

// submitPadded begins a write with so many bytes of padding at a member, and does not wait.
func (s *Driver) submitPadded(m *world.Member, padding int) *history.Operation {
	s.scriptWrites++
	c := history.Command{Kind: history.Append, Key: history.FirstScriptKey + s.scriptWrites/world.MaxKeyUses, Value: "x", Padding: padding}
	return s.History.Begin(history.ScriptClient, m, c, nil)
}

// submitAbandoned begins n writes at a leader and cancels them, so that nothing retries them. When
// it returns, they are in the log of the leader.
func (s *Driver) submitAbandoned(leader *world.Member, n int) []*history.Operation {
	last := leader.View.LastIndex
	all := s.submitWrites(leader, n)
	for _, o := range all {
		leader.Embedder.Cancel(o.Number)
	}
	s.within(world.ElectionTimeout, "the leader appends the proposals", func() bool { return leader.View.LastIndex >= last+uint64(n) })
	return all
}

// awaitSessions waits until the cluster has converged and every session is registered: after that
// the log grows only by what the script writes.
func (s *Driver) awaitSessions() *world.Member {
	s.within(10*world.ElectionTimeout, "all sessions are registered", func() bool {
		for _, m := range s.Members {
			if !m.Up() || !m.Embedder.Registered() {
				return false
			}
		}
		return s.Converged()
	})
	return s.majorityLeader()
}

// awaitSuccessor waits for a leader that a majority follows and that is none of the given ones.
func (s *Driver) awaitSuccessor(d time.Duration, than ...*world.Member) (leader *world.Member) {
	s.within(d, "another leader", func() bool {
		leader = s.majorityLeader()
		for _, m := range than {
			if m == leader {
				return false
			}
		}
		return leader != nil
	})
	return leader
}

// effectIndex returns the index at which a command took effect; 0: it did not.
func (s *Driver) effectIndex(command uint64) uint64 { return s.Checker.EffectIndex(command) }

// awaitApplied waits until members have applied an answered operation.
func (s *Driver) awaitApplied(d time.Duration, o *history.Operation, members ...*world.Member) {
	s.within(d, "all have applied it", func() bool {
		for _, m := range members {
			if m.Applied < o.Index {
				return false
			}
		}
		return true
	})
}

// checkNoEffect checks that operations have taken no effect.
func (s *Driver) checkNoEffect(why string, all ...*history.Operation) {
	for _, o := range all {
		if at := s.effectIndex(o.Number); at != 0 {
			s.fail("%s: command %d took effect at index %d", why, o.Number, at)
		}
	}
}

// checkConsecutive checks that operations took effect in this order from an index on, with nothing
// between them but retried copies of them.
func (s *Driver) checkConsecutive(from uint64, all ...*history.Operation) {
	log := s.commandsOnDisk(s.majorityLeader())
	known := map[uint64]bool{}
	for _, o := range all {
		for ; from < o.Index; from++ {
			if !known[log[from]] {
				s.fail("command %d took effect at index %d; the entry at %d is none of the script's", o.Number, o.Index, from)
			}
		}
		if from++; from != o.Index+1 {
			s.fail("command %d took effect at index %d, before those that were answered first", o.Number, o.Index)
		}
		known[o.Number] = true
	}
}

// partition cuts all connections but those within the groups. A member in no group is alone.
func (s *Driver) partition(groups ...[]*world.Member) {
	of := map[*world.Member]int{}
	for i, group := range groups {
		for _, m := range group {
			of[m] = i + 1
		}
	}
	for _, a := range s.Members {
		for _, b := range s.Members {
			if a != b {
				s.SetCut(a, b, of[a] == 0 || of[a] != of[b])
			}
		}
	}
}

// awaitHeartbeat waits until a leader has sent heartbeats and received the responses: the next ones
// follow most of an interval later.
func (s *Driver) awaitHeartbeat(leader *world.Member) {
	seen := s.ObserveRule(leader, nil, nil, "Heartbeat")
	s.within(2*world.HeartbeatInterval, "heartbeats are sent", func() bool { return seen.Count > 0 })
	seen.End()
	s.advance(2*s.Conditions.MaxLatency + 2*time.Millisecond)
}
