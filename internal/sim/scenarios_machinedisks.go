package sim

import (
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
)

// Members 1 and 3 of three keep their state machines on disk, member 2 in memory.
var machineDiskScenarios = []Scenario{
	{Name: "machine-disk-full", Nodes: 3, Errata: []int{8, 11}, Script: machineDiskFull,
		Description: "a state machine on disk has no space: its node stops and says so, the others go on, and it is back when there is room"},
	{Name: "machine-write-fails", Nodes: 3, Errata: []int{11}, Script: machineWriteFails,
		Description: "a state machine on disk cannot store a batch, or does and says it could not, or had lost earlier ones: each command takes effect once"},
	{Name: "machine-state-lost", Nodes: 3, Errata: []int{11}, Script: machineStateLost,
		Description: "what state machines had on disk is gone, in part or as a whole, of one member or of all: the log brings it back, answers included"},
	{Name: "machine-state-corrupt", Nodes: 3, Errata: []int{11}, Script: machineStateCorrupt,
		Description: "a state machine finds its files damaged: the node does not start and says what to do; with the files moved away the log brings all back"},
}

// keeper chooses a member whose state machine is on disk, the leader where it is one and the seed says so.
func (s *Driver) diskMachineMember(leader *member) *member {
	if leader.machineDisk != nil && s.chance(0.5) {
		return leader
	}
	for _, m := range s.others(leader) {
		if m.machineDisk != nil {
			return m
		}
	}
	return leader
}

// checkStateFaultStop checks what a node says whose state machine failed: what could not be done, and what to do.
func (s *Driver) checkStateFaultStop(m *member, cause error, words ...string) {
	var application *actors.ApplicationError
	if !errors.As(m.stopError, &application) || !errors.Is(m.stopError, cause) {
		s.fail("member %d stopped with %v", m.id, m.stopError)
	}
	for _, w := range append(words, "/data/kv/") {
		if !strings.Contains(m.stopError.Error(), w) {
			s.fail("member %d stops without a word of %q: %v", m.id, w, m.stopError)
		}
	}
}

func machineDiskFull(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	all := []*history.Operation{s.commitWrite()}
	victim.machineDisk.full = true
	all = append(all, s.submitPadded(s.others(victim)[0], 0))
	s.within(5*electionTimeout, "its node stops", func() bool { return s.counts.Stops[StopNoSpace] > 0 })
	s.checkStateFaultStop(victim, syscall.ENOSPC, "make room")
	all = append(all, s.commitWrite())
	victim.machineDisk.full = false
	s.awaitApplied(20*electionTimeout, all[2], s.members...)
	s.awaitAnswered(all, 5*electionTimeout)
	s.checkOnDisks(all, s.members...)
}

func machineWriteFails(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	var all []*history.Operation
	for range 4 {
		all = append(all, s.commitWrite())
	}
	for range 3 {
		failed := s.counts.Stops[StopStorage]
		victim.machineDisk.failCountdown = 1 + s.random.IntN(3)
		for s.counts.Stops[StopStorage] == failed { // whose word it is decides who has to find out what came of it
			all = append(all, s.submitPadded(s.members[s.random.IntN(3)], 0))
			s.advance(heartbeatInterval)
			s.within(20*electionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
		}
		s.checkStateFaultStop(victim, syscall.EIO, "check")
		s.within(20*electionTimeout, "all are well", s.converged)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[len(all)-1], s.members...)
	s.checkOnDisks(all, s.members...)
}

func machineStateLost(s *Driver) {
	leader := s.awaitSessions()
	var all []*history.Operation
	for range 6 {
		all = append(all, s.commitWrite())
	}
	victims := []*member{s.diskMachineMember(leader)}
	if s.seed%2 == 0 {
		victims = []*member{s.members[0], s.members[2]}
	}
	for _, m := range victims {
		s.powerCut(m)
		if s.chance(0.5) {
			m.machineDisk.loseNewest(1 + s.random.IntN(maxUndoRecords))
		} else {
			m.resetStateMachine()
		}
	}
	s.startAll(victims...)
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[6], s.members...)
	s.checkOnDisks(all, s.members...)
	s.within(10*electionTimeout, "all are well", s.converged)
	s.compareMachines()
}

func machineStateCorrupt(s *Driver) {
	leader := s.awaitSessions()
	victim := s.diskMachineMember(leader)
	all := []*history.Operation{s.commitWrite(), s.commitWrite()}
	s.powerCut(victim)
	victim.machineDisk.damaged = true
	s.startAll(victim)
	s.within(5*electionTimeout, "it does not start", func() bool { return s.counts.Stops[StopState] > 0 })
	s.checkStateFaultStop(victim, errStateDamaged, "move", "start the node again")
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[2], s.members...)
	s.checkOnDisks(all, s.members...)
	s.within(10*electionTimeout, "all are well", s.converged)
	s.compareMachines()
	if s.counts.StatesLost != 1 {
		s.fail("%d state machines began anew", s.counts.StatesLost)
	}
}
