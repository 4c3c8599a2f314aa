package troupe

import (
	"fmt"

	"github.com/troupe-raft/troupe/supervisor"
)

// CrashPoint describes a failure of one actor, for tests: which actor, at which message, and
// whether it fails before or after it has handled the message.
type CrashPoint struct {
	// Actor is its path below the Node: "" for the Node itself, "log", "log/reader", "machine",
	// "peer-0x3".
	Actor string
	// Message is the type of message at which it fails, as in "AppendEntries"; "" for any.
	Message string
	// After lets the actor handle the message before it fails, so that what it sends and stores is not
	// lost.
	After bool
	// Times is the number of failures; 0 means one.
	Times int
}

// Crash makes an actor of this node fail as described. The actor is then restarted from what is on
// disk. Crash returns an error if no such failure can happen: without Config.CrashInjection, for an
// actor that does not exist, or at a message that the actor does not handle.
func (n *Node) Crash(c CrashPoint) error {
	if err := n.core.Crash(supervisor.CrashPoint(c)); err != nil {
		return fmt.Errorf("troupe: Crash: %w", err)
	}
	return nil
}

// CrashNow makes an actor fail at once. The path names it as CrashPoint.Actor does. CrashNow
// returns an error without Config.CrashInjection, and if the actor does not run: a Replicator
// ("peer-0x2") runs while its node leads.
func (n *Node) CrashNow(path string) error {
	if err := n.core.CrashNow(path); err != nil {
		return fmt.Errorf("troupe: CrashNow: %w", err)
	}
	return nil
}
