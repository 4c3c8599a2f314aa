// Package machine holds the Machine, the actor that applies committed entries to the application's
// state machine and makes each command take effect exactly once.
package machine

import (
	"cmp"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/statemachine"
)

// Machine applies committed entries.
//
//	owns        the application's state machine, its applied index, the session table
//	receives    Committed from the Node, ReadLogResponse from the LogReader, Tick from itself
//	sends       MachineReady and Pull to the Node; ReadLog to the LogReader;
//	            CommandResults, SessionRegistered and ReplayComplete to the Session
//	persists    nothing itself; an OnDisk state machine stores the record of the session table and
//	            Batch.Last together with its own changes (E11)
//	on restart  only with the whole node: the state machine is closed and opened again, and what it
//	            lacks is applied from the log. A failed state machine stops the node
//
// # Credit
//
// The Machine is the only consumer of committed entries, and may be slower than the log grows. It
// therefore asks for entries instead of being sent them: a Pull is credit for MaxBatchBytes of
// entries from one index on. The Node keeps the Pull, and uses it up once when entries are
// committed and on its own disk (docs/protocol.md P45 to P48):
//
//	Machine          Node
//	Pull(from 8)  →               at most one Pull is outstanding
//	              ←  Committed    entries 8 … 20 from memory, or "on disk through 900"
//	apply 8 … 20
//	Pull(from 21) →               also tells the Node that everything before 21 is applied
//
// No entry waits in the Machine's mailbox, so a slow state machine leaves its backlog in the log,
// and the batches become larger the further it falls behind. If the entries are no longer in
// memory, the Machine reads the range from the LogReader, piece by piece (see diskRead), and sends
// its next Pull when it has applied all of it.
type Machine struct {
	env    actors.Env
	config Config
	limits SessionLimits

	ctx  actor.Context // of the current message
	node *actor.PID

	state    statemachine.StateMachine // nil before it is opened and after it is closed
	sizer    statemachine.ResultSizer  // of state; nil: it has none
	sessions *sessionTable
	recorder *sessionRecorder // nil with an InMemory state machine: nothing is stored
	applied  uint64
	serving  bool // everything up to config.ReplayThrough is applied

	cold diskRead
	work batchWork
}

// Config configures a Machine.
type Config struct {
	// Incarnation of the node's actors.
	Incarnation uint64
	// Reader is the LogReader.
	Reader *actor.PID
	// Factory opens the application's state machine.
	Factory statemachine.Factory
	// MaxBatchBytes bounds the entries that are applied at a time. 0: defaults.MaxBatchBytes.
	MaxBatchBytes uint64
	// MaxResultBytes bounds the results of one batch, as a state machine that is a ResultSizer
	// estimates them; the last one may exceed it. 0: defaults.ApplyResultBytes.
	MaxResultBytes uint64
	// SessionLimits bound the session table, on all members alike. The zero value is that of the
	// feature level.
	SessionLimits SessionLimits
	// ReplayThrough is the commit index known at the start: no read is served before it is applied.
	ReplayThrough uint64
}

// New makes the producer of a Machine, which the Node spawns as its child.
func New(env actors.Env, config Config) actor.Producer {
	config.MaxBatchBytes = cmp.Or(config.MaxBatchBytes, defaults.MaxBatchBytes)
	config.MaxResultBytes = cmp.Or(config.MaxResultBytes, defaults.ApplyResultBytes)
	config.SessionLimits = cmp.Or(config.SessionLimits, featureLevel1Limits)
	return func() actor.Actor { return &Machine{env: env, config: config, limits: config.SessionLimits} }
}

// Receive handles one message.
func (m *Machine) Receive(ctx actor.Context) {
	if actors.IsStale(ctx.Message(), m.config.Incarnation) {
		return
	}
	m.ctx = ctx
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.open()
	case *messages.Committed:
		m.committed(msg)
	case *messages.ReadLogResponse:
		m.receiveRead(msg)
	case *messages.Tick:
		m.retryRead(msg)
	case *actor.Stopping, *actor.Restarting:
		m.close()
	}
}

// open opens the state machine, and reports how far it has applied.
func (m *Machine) open() {
	m.node = m.ctx.Parent()
	// Bound once: otherwise the method value would be allocated for each batch.
	m.work.sessionUpdate = m.sessionUpdate
	state, err := openState(m.config.Factory)
	if err != nil {
		panic(&actors.ApplicationError{Err: fmt.Errorf("open the state machine: %w", err)})
	}
	m.state = state
	m.sizer, _ = state.(statemachine.ResultSizer)
	m.sessions = newSessionTable(m.limits)
	if onDisk, ok := state.(statemachine.OnDisk); ok {
		m.recoverOnDisk(onDisk)
	}
	m.ctx.Send(m.node, &messages.MachineReady{Incarnation: m.config.Incarnation, Applied: m.applied})
	m.reportServing()
	m.publishState()
	m.pull()
}

func openState(factory statemachine.Factory) (state statemachine.StateMachine, err error) {
	defer recoverPanic(&err)
	state, err = factory()
	if err == nil && state == nil {
		err = fmt.Errorf("the factory returned no state machine")
	}
	return state, err
}

func (m *Machine) recoverOnDisk(state statemachine.OnDisk) {
	applied, records, err := recoverState(state)
	if err == nil {
		m.sessions, m.recorder, err = recoverSessionTable(applied, records, m.limits)
	}
	if err != nil {
		panic(&actors.ApplicationError{Err: fmt.Errorf("recover the state machine: %w; if its files are damaged or incomplete, "+
			"move them away and start the node again: it begins empty, and everything is applied again from the log", err)})
	}
	m.applied = applied
}

func recoverState(state statemachine.OnDisk) (applied uint64, records []statemachine.SessionRecord, err error) {
	defer recoverPanic(&err)
	return state.Recover()
}

// pull gives the Node credit for the next batch, and reports that everything before it is applied.
func (m *Machine) pull() {
	m.ctx.Send(m.node, &messages.Pull{
		Incarnation: m.config.Incarnation,
		From:        m.applied + 1,
		MaxBytes:    m.config.MaxBatchBytes,
	})
}

// committed handles the Node's response to the Pull. One Pull is outstanding at a time, so entries
// that do not continue at the applied index are a copy, and are dropped.
func (m *Machine) committed(c *messages.Committed) {
	switch {
	case m.cold.through != 0:
		return
	case c.OnDiskThrough > m.applied:
		m.readFromLog(c.OnDiskThrough)
	case c.Entries.GetFirst() == m.applied+1 && len(c.Entries.Data) > 0:
		m.apply(c.Entries)
		m.pull()
	}
}

// reportServing reports once that everything is applied that the log knew to be committed at the
// start. Before that, even a local read would go back behind what this member had shown before the
// restart. What it had shown at the very end may not have been written down as committed; a local
// read may still go back behind that (docs/protocol.md P58).
func (m *Machine) reportServing() {
	if m.serving || m.applied < m.config.ReplayThrough {
		return
	}
	m.serving = true
	m.ctx.Send(m.env.ReplySink(), &messages.ReplayComplete{Incarnation: m.config.Incarnation, Applied: m.applied})
	m.env.Log().Info().Uint64("applied", m.applied).Uint64("incarnation", m.config.Incarnation).Msg("state machine ready")
}

func (m *Machine) publishState() {
	if observer := m.env.Observer(); observer != nil {
		observer.Machine(actors.MachineView{
			Incarnation:  m.config.Incarnation,
			Applied:      m.applied,
			Serving:      m.serving,
			Sessions:     len(m.sessions.sessions),
			SessionBytes: m.sessions.sizeBytes(),
		})
		if o, ok := observer.(actors.SessionTableObserver); ok {
			o.SessionTable(m.config.Incarnation, m.applied, appendFull(nil, m.sessions))
		}
	}
}

// close closes the state machine, so that two are never open. A failure is logged only: each batch
// was stored with its own Apply.
func (m *Machine) close() {
	m.cold.stop()
	if m.state == nil {
		return
	}
	state := m.state
	m.state, m.sizer = nil, nil
	if err := closeState(state); err != nil {
		m.env.Log().Warn().Err(err).Uint64("applied", m.applied).Msg("closing the state machine failed")
	}
}

func closeState(state statemachine.StateMachine) (err error) {
	defer recoverPanic(&err)
	return state.Close()
}
