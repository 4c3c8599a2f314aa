package sim

import (
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
)

// Members 1 and 3 of three keep their state machines on disk, member 2 in memory.
var machineDiskScenarios = []Scenario{
	{Name: "machine-disk-full", Nodes: 3, Errata: []int{8, 11}, Script: machineDiskFull,
		Line: "a state machine on disk has no space: its node stops and says so, the others go on, and it is back when there is room"},
	{Name: "machine-write-fails", Nodes: 3, Errata: []int{11}, Script: machineWriteFails,
		Line: "a state machine on disk cannot store a batch, or does and says it could not, or had lost earlier ones: each command takes effect once"},
	{Name: "machine-state-lost", Nodes: 3, Errata: []int{11}, Script: machineStateLost,
		Line: "what state machines had on disk is gone, in part or as a whole, of one member or of all: the log brings it back, answers included"},
	{Name: "machine-state-corrupt", Nodes: 3, Errata: []int{11}, Script: machineStateCorrupt,
		Line: "a state machine finds its files damaged: the node does not start and says what to do; with the files moved away the log brings all back"},
}

// keeper chooses a member whose state machine is on disk, the leader where it is one and the seed says so.
func (s *Scene) keeper(leader *member) *member {
	if leader.store != nil && s.chance(0.5) {
		return leader
	}
	for _, m := range s.others(leader) {
		if m.store != nil {
			return m
		}
	}
	return leader
}

// stateFaultOf checks what a node says whose state machine failed: what could not be done, and what to do.
func (s *Scene) stateFaultOf(m *member, cause error, words ...string) {
	var application *actors.ApplicationError
	if !errors.As(m.lastStop, &application) || !errors.Is(m.lastStop, cause) {
		s.fail("member %d stopped with %v", m.id, m.lastStop)
	}
	for _, w := range append(words, "/data/kv/") {
		if !strings.Contains(m.lastStop.Error(), w) {
			s.fail("member %d stops without a word of %q: %v", m.id, w, m.lastStop)
		}
	}
}

func machineDiskFull(s *Scene) {
	leader := s.settles()
	victim := s.keeper(leader)
	all := []*operation{s.commits()}
	victim.store.full = true
	all = append(all, s.says(s.others(victim)[0], 0))
	s.within(5*election, "its node stops", func() bool { return s.counts.Stops[StopNoSpace] > 0 })
	s.stateFaultOf(victim, syscall.ENOSPC, "make room")
	all = append(all, s.commits())
	victim.store.full = false
	s.applied(20*election, all[2], s.members...)
	s.answered(all, 5*election)
	s.keeps(all, s.members...)
}

func machineWriteFails(s *Scene) {
	leader := s.settles()
	victim := s.keeper(leader)
	var all []*operation
	for range 4 {
		all = append(all, s.commits())
	}
	for range 3 {
		failed := s.counts.Stops[StopStorage]
		victim.store.fails = 1 + s.random.IntN(3)
		for s.counts.Stops[StopStorage] == failed { // whose word it is decides who has to find out what came of it
			all = append(all, s.says(s.members[s.random.IntN(3)], 0))
			s.pass(heartbeat)
			s.within(20*election, "a leader", func() bool { return s.leads() != nil })
		}
		s.stateFaultOf(victim, syscall.EIO, "check")
		s.within(20*election, "all are well", s.well)
	}
	all = append(all, s.commits())
	s.applied(20*election, all[len(all)-1], s.members...)
	s.keeps(all, s.members...)
}

func machineStateLost(s *Scene) {
	leader := s.settles()
	var all []*operation
	for range 6 {
		all = append(all, s.commits())
	}
	victims := []*member{s.keeper(leader)}
	if s.seed%2 == 0 {
		victims = []*member{s.members[0], s.members[2]}
	}
	for _, m := range victims {
		s.powerCut(m)
		if s.chance(0.5) {
			m.store.crash(1 + s.random.IntN(keptUndos))
		} else {
			m.moveStateAway()
		}
	}
	s.brings(victims...)
	all = append(all, s.commits())
	s.applied(20*election, all[6], s.members...)
	s.keeps(all, s.members...)
	s.within(10*election, "all are well", s.well)
	s.compareMachines()
}

func machineStateCorrupt(s *Scene) {
	leader := s.settles()
	victim := s.keeper(leader)
	all := []*operation{s.commits(), s.commits()}
	s.powerCut(victim)
	victim.store.damaged = true
	s.brings(victim)
	s.within(5*election, "it does not start", func() bool { return s.counts.Stops[StopState] > 0 })
	s.stateFaultOf(victim, errStateDamaged, "move", "start the node again")
	all = append(all, s.commits())
	s.applied(20*election, all[2], s.members...)
	s.keeps(all, s.members...)
	s.within(10*election, "all are well", s.well)
	s.compareMachines()
	if s.counts.StatesLost != 1 {
		s.fail("%d state machines began anew", s.counts.StatesLost)
	}
}
