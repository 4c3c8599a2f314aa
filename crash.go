package troupe

import "github.com/troupe-raft/troupe/supervisor"

// CrashPoint describes a failure of one actor, for tests: which actor, at which message, and
// whether it fails before or after it has handled the message.
type CrashPoint = supervisor.CrashPoint

// Crash makes an actor of this node fail as described. The actor is then restarted from what is on
// disk. Crash panics without Config.CrashInjection.
func (n *Node) Crash(c CrashPoint) {
	n.requireCrashInjection()
	n.core.Crash(c)
}

// CrashNow makes an actor fail at once. The path names it as CrashPoint.Actor does. CrashNow panics
// without Config.CrashInjection.
func (n *Node) CrashNow(path string) {
	n.requireCrashInjection()
	n.core.CrashNow(path)
}

func (n *Node) requireCrashInjection() {
	if !n.config.CrashInjection {
		panic("troupe: crash injection is off: set Config.CrashInjection")
	}
}
