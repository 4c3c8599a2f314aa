package scenario

import (
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// Members 1 and 3 of three have on-disk state machines, member 2 one in memory.
var machineDiskScenarios = []Scenario{
	{Name: "machine-disk-full", Nodes: 3, Errata: []int{8, 11}, Script: machineDiskFull,
		Description: "an on-disk state machine has no space: its node stops and reports it, the others continue, and it recovers when there is space"},
	{Name: "machine-write-fails", Nodes: 3, Errata: []int{11}, Script: machineWriteFails,
		Description: "an on-disk state machine cannot store a batch, or stores it and reports a failure, or lost earlier batches: each command takes effect once"},
	{Name: "machine-state-lost", Nodes: 3, Errata: []int{11}, Script: machineStateLost,
		Description: "on-disk state machines lose some or all of their data, of one member or of all: the log restores it, cached replies included"},
	{Name: "machine-state-corrupt", Nodes: 3, Errata: []int{11}, Script: machineStateCorrupt,
		Description: "a state machine finds its files damaged: the node does not start and says what to do; after the files are moved away the log restores all"},
}

// diskMachineMember chooses a member with an on-disk state machine, the leader if it has one and
// the seed says so.
func (s *Driver) diskMachineMember(leader *world.Member) *world.Member {
	if leader.MachineDisk != nil && s.Chance(0.5) {
		return leader
	}
	for _, m := range s.others(leader) {
		if m.MachineDisk != nil {
			return m
		}
	}
	return leader
}

// checkStateFaultStop checks the error of a node whose state machine failed: what could not be
// done, and what to do.
func (s *Driver) checkStateFaultStop(m *world.Member, cause error, words ...string) {
	var application *actors.ApplicationError
	if !errors.As(m.StopError, &application) || !errors.Is(m.StopError, cause) {
		s.fail("member %d stopped with %v", m.ID(), m.StopError)
	}
	for _, w := range append(words, "/data/kv/") {
		if !strings.Contains(m.StopError.Error(), w) {
			s.fail("member %d stops without mentioning %q: %v", m.ID(), w, m.StopError)
		}
	}
}

func machineDiskFull(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	all := []*history.Operation{s.commitWrite()}
	victim.MachineDisk.Full = true
	all = append(all, s.submitPadded(s.others(victim)[0], 0))
	s.within(5*world.ElectionTimeout, "its node stops", func() bool { return s.Counts.Stops[world.StopNoSpace] > 0 })
	s.checkStateFaultStop(victim, syscall.ENOSPC, "make room")
	all = append(all, s.commitWrite())
	victim.MachineDisk.Full = false
	s.awaitApplied(20*world.ElectionTimeout, all[2], s.Members...)
	s.awaitAnswered(all, 5*world.ElectionTimeout)
	s.checkOnDisks(all, s.Members...)
}

func machineWriteFails(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	var all []*history.Operation
	for range 4 {
		all = append(all, s.commitWrite())
	}
	for range 3 {
		failed := s.Counts.Stops[world.StopStorage]
		victim.MachineDisk.FailCountdown = 1 + s.Random.IntN(3)
		for s.Counts.Stops[world.StopStorage] == failed {
			// The member of the write decides which session has to find out its outcome.
			all = append(all, s.submitPadded(s.Members[s.Random.IntN(3)], 0))
			s.advance(world.HeartbeatInterval)
			s.within(20*world.ElectionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
		}
		s.checkStateFaultStop(victim, syscall.EIO, "check")
		s.within(20*world.ElectionTimeout, "the cluster converges", s.Converged)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[len(all)-1], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

func machineStateLost(s *Driver) {
	leader := s.awaitSessions()
	var all []*history.Operation
	for range 6 {
		all = append(all, s.commitWrite())
	}
	victims := []*world.Member{s.diskMachineMember(leader)}
	if s.Options.Seed%2 == 0 {
		victims = []*world.Member{s.Members[0], s.Members[2]}
	}
	for _, m := range victims {
		s.powerCut(m)
		if s.Chance(0.5) {
			m.MachineDisk.LoseNewest(1 + s.Random.IntN(world.MaxUndoRecords))
		} else {
			m.ResetStateMachine()
		}
	}
	s.restart(victims...)
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[6], s.Members...)
	s.checkOnDisks(all, s.Members...)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.CompareMachines()
}

func machineStateCorrupt(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	all := []*history.Operation{s.commitWrite(), s.commitWrite()}
	s.powerCut(victim)
	victim.MachineDisk.Damaged = true
	s.restart(victim)
	s.within(5*world.ElectionTimeout, "it does not start", func() bool { return s.Counts.Stops[world.StopState] > 0 })
	s.checkStateFaultStop(victim, world.ErrStateDamaged, "move", "start the node again")
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[2], s.Members...)
	s.checkOnDisks(all, s.Members...)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.CompareMachines()
	if s.Counts.StatesLost != 1 {
		s.fail("%d state machines started empty", s.Counts.StatesLost)
	}
}
