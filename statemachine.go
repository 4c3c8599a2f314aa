package troupe

import "github.com/troupe-raft/troupe/statemachine"

// The types of the state machine that an application hands in. Package statemachine defines them.
type (
	// StateMachine is the replicated state of an application: an InMemory or an OnDisk one.
	//
	//	type StateMachine interface {
	//		Apply(b *Batch) ([][]byte, error)
	//		Close() error
	//	}
	StateMachine = statemachine.StateMachine
	// InMemory is a state machine that Troupe rebuilds from the log at every start.
	//
	//	type InMemory interface {
	//		StateMachine
	//		Snapshot(w io.Writer) error
	//		Restore(r io.Reader) error
	//	}
	InMemory = statemachine.InMemory
	// OnDisk is a state machine that stores its own state, with the index that it has applied.
	//
	//	type OnDisk interface {
	//		StateMachine
	//		Recover() (applied uint64, sessions []SessionRecord, err error)
	//	}
	OnDisk = statemachine.OnDisk
	// ResultSizer is a state machine that bounds the result of a command before it applies it.
	//
	//	type ResultSizer interface {
	//		StateMachine
	//		MaxResultBytes(command []byte) int
	//	}
	ResultSizer = statemachine.ResultSizer
	// Factory opens the state machine.
	//
	//	type Factory func() (StateMachine, error)
	Factory = statemachine.Factory
	// Command is one committed command of the application.
	//
	//	type Command struct {
	//		Index uint64
	//		Term  uint64
	//		Data  []byte
	//	}
	Command = statemachine.Command
	// Batch is a range of the committed log, as Apply receives it.
	//
	//	type Batch struct {
	//		Last          uint64
	//		Commands      []Command
	//		SessionUpdate func(results [][]byte) SessionUpdate
	//	}
	Batch = statemachine.Batch
	// SessionRecord is what an OnDisk state machine stores of the client sessions with each batch.
	//
	//	type SessionRecord struct {
	//		Index uint64
	//		Data  []byte
	//	}
	SessionRecord = statemachine.SessionRecord
	// SessionUpdate is a change of the stored session records.
	//
	//	type SessionUpdate struct {
	//		DropBelow uint64
	//		Put       SessionRecord
	//	}
	SessionUpdate = statemachine.SessionUpdate
)
