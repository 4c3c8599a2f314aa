package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestNodeStopsOnDiskFailureAndReturns(t *testing.T) {
	for _, kind := range []fault.Kind{fault.FailedWrite, fault.FailedSync} {
		for seed := range uint64(20) {
			sc := Scenario{Name: "failing-disk", Nodes: 3, Script: func(s *Driver) {
				victim := s.Members[s.Random.IntN(3)]
				s.Inject(kind, victim)
				for i := 0; i < 20 && s.Counts.Stops[world.StopStorage] == 0; i++ {
					s.writeAndWait(s.others(victim)[0], 1)
				}
				s.within(world.StopDeadline, "it stops", func() bool { return s.Counts.Stops[world.StopStorage] == 1 })
			}}
			check(t, sc.Run(world.Options{Seed: seed}))
		}
	}
}

func TestE9StalledLeaderIsReplacedAndReturns(t *testing.T) {
	for seed := range uint64(50) {
		sc := Scenario{Name: "stall", Nodes: 3, Script: func(s *Driver) {
			former := s.majorityLeader()
			former.Disk.StalledUntil = s.Now() + 4*world.ElectionTimeout
			s.submitWrites(s.others(former)[0], 5)
			s.within(3*world.ElectionTimeout, "another leads", func() bool { l := s.majorityLeader(); return l != nil && l != former })
		}}
		check(t, sc.Run(world.Options{Seed: seed}))
	}
}

// A member whose data directory lacks something, or holds something else, is refused: what it
// acknowledged is lost (E37).
func TestE37IncompleteDataDirectoryIsRefused(t *testing.T) {
	for name, damage := range map[string]func(s *Driver, m *world.Member) error{
		"the identity": func(s *Driver, m *world.Member) error { return m.Disk.Remove(m.Disk.IdentityPath()) },
		"the log": func(s *Driver, m *world.Member) error {
			names, err := m.Disk.List(world.LogDir)
			for _, n := range names {
				err = errors.Join(err, m.Disk.Remove(world.LogDir+"/"+n))
			}
			return err
		},
		"the disk, exchanged with another's": func(s *Driver, m *world.Member) error {
			other := s.others(m)[0]
			other.PowerCut(vfs.LoseUnsynced)
			m.Disk.Attach(other.Disk.KillClone())
			return nil
		},
		"a segment in the middle": func(s *Driver, m *world.Member) error {
			names, err := m.Disk.List(world.LogDir)
			// There may be a spare segment too.
			segments := slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".seg") })
			if err != nil || len(segments) < 3 {
				return fmt.Errorf("%d segments in the log, %v", len(segments), err)
			}
			return m.Disk.Remove(world.LogDir + "/" + segments[1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc := Scenario{Name: "missing", Nodes: 3, Script: func(s *Driver) {
				m := s.others(s.majorityLeader())[0]
				s.writeAndWait(m, 10)
				for range 2 { // so that its log has three segments
					m.PowerCut(vfs.LoseUnsynced)
					m.Boot()
					s.within(5*world.ElectionTimeout, "it has recovered", s.Converged)
				}
				m.PowerCut(vfs.LoseUnsynced)
				if err := damage(s, m); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				m.Disk.Damaged = true
				m.Boot()
				s.advance(world.ElectionTimeout)
				if s.Counts.Stops[world.StopRefused] == 0 {
					s.fail("member %d started without %s", m.ID(), name)
				}
				m.PermanentlyDown = true
				if m.Up() {
					m.KillProcess()
				}
			}}
			check(t, sc.Run(world.Options{Seed: 7}))
		})
	}
}

// An empty disk under the id of a member that has acknowledged something looks like that of a new
// member, and members of a first configuration are known without their storage ids. Operators must
// not do that (E37), the fault budget does not, and the checker reports it.
func TestE37CheckerReportsLostDiskUnderOldID(t *testing.T) {
	caught := 0
	for seed := range uint64(20) {
		sc := Scenario{Name: "empty", Nodes: 3, Script: func(s *Driver) {
			m := s.others(s.majorityLeader())[0]
			s.writeAndWait(m, 5)
			m.LoseDisk()
			m.PermanentlyDown = false
			m.Boot()
			s.advance(world.ElectionTimeout)
		}}
		if r := sc.Run(world.Options{Seed: seed}); r.Failure != nil {
			caught++
		}
	}
	if caught != 20 {
		t.Fatalf("the checker reported %d of 20 members that lost what they had acknowledged", caught)
	}
}
