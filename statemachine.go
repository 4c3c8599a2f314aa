package troupe

import "github.com/troupe-raft/troupe/statemachine"

// The types of the state machine that an application hands in. Package statemachine defines them.
type (
	// StateMachine is the replicated state of an application: an InMemory or an OnDisk one.
	StateMachine = statemachine.StateMachine
	// InMemory is a state machine that Troupe rebuilds from the log at every start.
	InMemory = statemachine.InMemory
	// OnDisk is a state machine that stores its own state, with the index that it has applied.
	OnDisk = statemachine.OnDisk
	// Factory opens the state machine.
	Factory = statemachine.Factory
	// Command is one committed command of the application.
	Command = statemachine.Command
	// Batch is a range of the committed log, as Apply receives it.
	Batch = statemachine.Batch
	// SessionRecord is what an OnDisk state machine stores of the client sessions with each batch.
	SessionRecord = statemachine.SessionRecord
	// SessionUpdate is a change of the stored session records.
	SessionUpdate = statemachine.SessionUpdate
)
