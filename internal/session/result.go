package session

import "fmt"

// ReadMode says how recent the state machine must be for a read. The zero value is ReadIndex.
type ReadMode int

const (
	// ReadIndex is linearizable: the leader confirms its leadership with a round of heartbeats that
	// starts after the read arrived (dissertation §6.4).
	ReadIndex ReadMode = iota
	// ReadLog is linearizable: it appends an entry without effect to the log and waits for it.
	ReadLog
	// ReadLease is linearizable as long as the members' clocks keep their drift bound. This version
	// has no leases and treats it as ReadIndex.
	ReadLease
	// ReadLeader takes the leader's commit index without a round of heartbeats: stale if the leader
	// was replaced.
	ReadLeader
	// ReadLocal takes this member's applied index, however old it is.
	ReadLocal
)

// readModeNames are the modes as programs write them.
var readModeNames = [...]string{
	ReadIndex: "ReadIndex", ReadLog: "ReadLog", ReadLease: "ReadLease", ReadLeader: "ReadLeader", ReadLocal: "ReadLocal",
}

// String returns the name of the mode, such as "ReadIndex".
func (m ReadMode) String() string {
	if m.check() != nil {
		return fmt.Sprintf("ReadMode(%d)", int(m))
	}
	return readModeNames[m]
}

// check returns an error for a number that is not a mode.
func (m ReadMode) check() error {
	if m < 0 || int(m) >= len(readModeNames) {
		return fmt.Errorf("unknown ReadMode %d: use one of %v", int(m), readModeNames)
	}
	return nil
}

// Result is the outcome of a proposal.
type Result struct {
	// Index is the index of the command's entry.
	Index uint64
	// AppliedTerm is the term of the last entry that was applied in the same batch.
	AppliedTerm uint64
	// Value is what this member's Apply returned for the command. It belongs to the caller.
	Value []byte
}

// ReadPoint is the outcome of a read: the state machine contains all entries up to Index. Term is
// the leader's term when it confirmed the read, or for a local read that of the last applied batch.
type ReadPoint struct {
	Index uint64
	Term  uint64
}
