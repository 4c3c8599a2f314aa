package session

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

// Result is the outcome of a proposal.
type Result struct {
	// Index is the index of the command's entry.
	Index uint64
	// AppliedTerm is the term of the last entry that was applied in the same batch.
	AppliedTerm uint64
	// Value is what this member's Apply returned for the command. It must not be changed.
	Value []byte
}

// ReadPoint is the outcome of a read: the state machine contains all entries up to Index. Term is
// the leader's term when it confirmed the read, or for a local read that of the last applied batch.
type ReadPoint struct {
	Index uint64
	Term  uint64
}
