package scenario

import (
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

// What scripts of other packages, which have an Application, use of a Driver.

// Within runs the world until something has happened. After d it fails.
func (s *Driver) Within(d time.Duration, what string, happened func() bool) {
	s.within(d, what, happened)
}

// Never runs the world for some time in which something must not happen.
func (s *Driver) Never(d time.Duration, what string, happens func() bool) { s.never(d, what, happens) }

// Advance runs the world for some time.
func (s *Driver) Advance(d time.Duration) { s.advance(d) }

// Failf fails the script: it did not see what it expected.
func (s *Driver) Failf(format string, values ...any) { s.fail(format, values...) }

// Others returns all members but one.
func (s *Driver) Others(than *world.Member) []*world.Member { return s.others(than) }

// AwaitSessions waits until the cluster has converged and every session is registered, and returns
// the leader.
func (s *Driver) AwaitSessions() *world.Member { return s.awaitSessions() }

// AwaitSuccessor waits for a leader that a majority follows and that is none of the given ones.
func (s *Driver) AwaitSuccessor(d time.Duration, than ...*world.Member) *world.Member {
	return s.awaitSuccessor(d, than...)
}
