package troupe

import "github.com/troupe-raft/troupe/internal/session"

// ReadMode says how recent the state machine must be for a read. The zero value is ReadIndex.
type ReadMode = session.ReadMode

const (
	// ReadIndex is linearizable and the default. The leader confirms its leadership with a round of
	// heartbeats that starts after the read arrived (dissertation §6.4).
	ReadIndex = session.ReadIndex
	// ReadLog is linearizable. It appends an entry without effect to the log and waits for it.
	ReadLog = session.ReadLog
	// ReadLease is linearizable as long as the members' clocks keep their drift bound. This version
	// has no leases and treats it as ReadIndex.
	ReadLease = session.ReadLease
	// ReadLeader returns the leader's state without a round of heartbeats. A leader that is cut off
	// from the majority may return stale data.
	ReadLeader = session.ReadLeader
	// ReadLocal returns this member's state, however old it is (in etcd: a serializable read).
	ReadLocal = session.ReadLocal
)

type (
	// Result is the outcome of a proposal: its index, and what this member's Apply returned.
	Result = session.Result
	// ReadPoint is the outcome of a read: the state machine contains everything up to Index.
	ReadPoint = session.ReadPoint
	// RefusalCount counts the requests that were refused because one limit was reached.
	RefusalCount = session.RefusalCount
)
