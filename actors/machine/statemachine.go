package machine

import "io"

// StateMachine is what an application gives to be replicated. It is either InMemory or OnDisk.
//
// Its methods are called from one goroutine, one call at a time. Apply must be deterministic: the same commands in the
// same order leave every replica in the same state and give the same results. Reading is the application's own business:
// it reads its state directly, from any goroutine, after a read of the wanted mode has said that the state is recent enough.
type StateMachine interface {
	// Apply applies the batch in order and returns one result for each command of it (nil is a result too). Neither the
	// batch nor its commands may be kept or changed after the call. An error means that the machine cannot go on (its
	// disk failed): the node stops. A command that is refused by the application's own rules is not an error; say so in
	// its result.
	Apply(b *Batch) ([][]byte, error)
	// Close releases what the machine holds. It is called before a new one is made in its place, and at the end.
	Close() error
}

// InMemory is a state machine that forgets everything when the process ends. It is built again from the log (and, once
// the log is compacted, from a snapshot).
type InMemory interface {
	StateMachine
	// Snapshot writes the whole state.
	Snapshot(w io.Writer) error
	// Restore replaces the whole state by one that Snapshot wrote.
	Restore(r io.Reader) error
}

// OnDisk is a state machine that persists itself: each Apply stores Batch.Last and the batch's ledger record in the same
// transaction as the changes (E11). What it stored last may be lost in a crash, in order only: the log brings it back.
type OnDisk interface {
	StateMachine
	// Recover tells where the machine stands after it was opened: the Last of the last batch that it holds, 0 for none,
	// and the ledger records that it holds.
	Recover() (applied uint64, ledger []SessionRecord, err error)
}

// Factory opens the state machine: once at the start, and again after the node's actors were restarted, when the former
// one is closed.
type Factory func() (StateMachine, error)

// Command is one committed command of the application.
type Command struct {
	Index uint64
	Term  uint64
	Data  []byte
}

// Batch is a piece of the committed log.
type Batch struct {
	// Last is the index that the state has reached once the batch is applied. The batch may hold no command at all:
	// entries of the cluster itself (a new term, a configuration) are not shown to the application.
	Last     uint64
	Commands []Command
	// Ledger makes the record that an OnDisk machine stores together with the changes. It must be called once in every
	// Apply, with the results that Apply is about to return. Nil for InMemory machines.
	SessionUpdate func(results [][]byte) SessionUpdate
}

// SessionRecord is one piece of the ledger of answers that makes writes exactly-once over a failover. Opaque to the machine.
// The bytes of one to be stored are good until Apply returns: a machine that keeps them in memory copies them.
type SessionRecord struct {
	// Index identifies the record and orders it: the Last of its batch.
	Index uint64
	Data  []byte
}

// SessionUpdate changes the ledger: records below DropBelow are no longer needed, Put is added unless its Data is empty.
type SessionUpdate struct {
	DropBelow uint64
	Put       SessionRecord
}
