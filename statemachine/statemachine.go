// Package statemachine defines the state machine that an application hands to Troupe to replicate
// it.
//
// Applications use these types through package troupe, which has an alias for each of them. They
// stand in a package of their own so that a state machine, such as the store of package kv, depends
// on nothing else.
//
// An application implements one of two kinds. InMemory keeps its state in memory only: Troupe
// rebuilds it from the log at every start. OnDisk stores its state itself, together with the index
// that it has applied.
package statemachine

import "io"

// StateMachine is the replicated state of an application. It must also be an InMemory or an OnDisk.
//
// Troupe calls its methods from one goroutine, one call at a time. Apply must be deterministic: the
// same commands in the same order must give the same state and the same results on every member. So
// Apply must not use the time, random numbers or the order of a map.
//
// The application reads its state directly, from any goroutine, after Node.Read has returned.
type StateMachine interface {
	// Apply applies the commands of the batch in order. It returns one result for each command; a nil
	// result is allowed. It must not keep or change the batch or the data of a command after it has
	// returned. Troupe copies the results, so that the next Apply may use their memory again.
	//
	// An error, or a panic, means that the state machine cannot continue, for example because its disk
	// failed: the node stops. A command that the application's own rules reject is not an error;
	// return the rejection as its result.
	Apply(b *Batch) ([][]byte, error)
	// Close releases the resources of the state machine. Troupe calls it before it opens a new one in
	// its place, and when the node stops.
	Close() error
}

// InMemory is a state machine that loses its state when the process ends. Troupe rebuilds it from
// the log.
type InMemory interface {
	StateMachine
	// Snapshot writes the whole state. Troupe calls it only where the log is compacted, which this
	// version does not do.
	Snapshot(w io.Writer) error
	// Restore replaces the whole state by one that Snapshot wrote.
	Restore(r io.Reader) error
}

// OnDisk is a state machine that stores its own state. Each Apply must store the changes,
// Batch.Last and the batch's session record in one transaction (E11). A crash may lose the newest
// transactions, but only in order: Troupe applies the lost commands again from the log.
type OnDisk interface {
	StateMachine
	// Recover returns what the state machine has stored: the Last of the newest stored batch, 0 for
	// none, and all session records. Troupe calls it once, before the first Apply.
	Recover() (applied uint64, sessions []SessionRecord, err error)
}

// ResultSizer is a StateMachine that bounds the result of a command before it applies it. Troupe
// then applies so few commands at a time that the results in memory stay small: a few bytes of the
// log may have a large result each, such as a range of keys. A state machine whose results are not
// larger than its commands needs no ResultSizer.
type ResultSizer interface {
	StateMachine
	// MaxResultBytes returns how large the result of a command may become, in bytes. It is called for
	// each command before Apply, from the same goroutine, so it must be fast. It decides only how the
	// log is divided into batches, so members may differ in it.
	MaxResultBytes(command []byte) int
}

// Factory opens the state machine. Troupe calls it at the start of the node, and again after a
// restart of the node's actors, when the former state machine is closed.
type Factory func() (StateMachine, error)

// Command is one committed command of the application.
type Command struct {
	Index uint64 // of the command's entry in the log
	Term  uint64 // of that entry
	Data  []byte // as the application proposed it
}

// Batch is a range of the committed log. Batches are applied in the order of their indexes, without
// gaps.
type Batch struct {
	// Last is the index that the state has reached when the batch is applied. A batch may hold no
	// command: the entries of the cluster itself, for example those of a new term, are not shown to
	// the application.
	Last     uint64
	Commands []Command
	// SessionUpdate returns the change of the session records that an OnDisk state machine must store
	// together with the batch. Apply must call it exactly once, with the results that Apply returns.
	// It is nil for an InMemory one.
	SessionUpdate func(results [][]byte) SessionUpdate
}

// SessionRecord is a part of the session table, which lets a client's retry take effect once only.
// Its data mean nothing to the state machine.
type SessionRecord struct {
	// Index identifies the record and gives the order of records: it is the Last of the record's
	// batch.
	Index uint64
	// Data may be overwritten after Apply has returned: a state machine that keeps records in memory
	// must copy it.
	Data []byte
}

// SessionUpdate is a change of the stored session records: delete those with an index below
// DropBelow, then store Put, unless Put.Data is empty.
type SessionUpdate struct {
	DropBelow uint64
	Put       SessionRecord
}
