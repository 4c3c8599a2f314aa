// Package machine is the Machine actor: it applies what is committed to the application's state machine, exactly once, and
// tells the handle what came of it.
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
//	owns      the application's state machine, appliedIndex, the ledger of answers (ledger.go)
//	hears     Committed from the Node, ReadLogResponse from the LogReader, Tick from itself
//	says      MachineReady and Pull to the Node; ReadLog to the LogReader; Results, SessionRegistered, Serving to the handle
//	persists  nothing itself; an OnDisk state machine stores the ledger's record and Batch.Last with its own changes (E11)
//	crash     the subtree restarts: the state machine is closed, opened again by the factory, and what it lacks is applied
//	          again from the log. What an InMemory one lacks is everything. A state machine that fails stops the node
//
// It is fed by credit. One Pull stands at the Node at any time that this actor does nothing: "I can take this much from
// here on". The Node answers as soon as something is committed and on this node's disk, with entries where it has them in
// memory, else with the index up to which they are to be read from the LogReader, piece by piece. When all is applied the
// next Pull goes out. A state machine that is slow thus leaves the backlog in the log, and gets it in large batches.
type Machine struct {
	env    actors.Env
	config Config
	limits sessionLimits

	ctx  actor.Context // of the message in hand
	node *actor.PID

	state    statemachine.StateMachine // nil until opened and after it was closed
	recorder *sessionRecorder          // nil for an InMemory machine: nothing is stored
	sessions *sessionTable
	applied  uint64
	serving  bool

	cold coldRead
	work batchWork
}

// Config is what a Machine needs to know beyond its environment.
type Config struct {
	// Incarnation of the subtree it lives in.
	Incarnation uint64
	// Reader is the LogReader.
	Reader *actor.PID
	// Factory opens the application's state machine.
	Factory statemachine.Factory
	// MaxBatchBytes bounds what is applied at a time: the bytes of a Pull and of a piece read. 0: 1 MiB.
	MaxBatchBytes uint64
	// ReplayThrough is the commit index known at the start: nothing is served before it is applied.
	ReplayThrough uint64
}

// New makes the producer of a Machine, to be spawned by the Node it is to serve.
func New(env actors.Env, config Config) actor.Producer {
	config.MaxBatchBytes = cmp.Or(config.MaxBatchBytes, defaults.MaxBatchBytes)
	return func() actor.Actor { return &Machine{env: env, config: config, limits: featureLevel1Limits} }
}

// Receive handles one message.
func (m *Machine) Receive(ctx actor.Context) {
	m.ctx = ctx
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.open()
	case *messages.Committed:
		if msg.Incarnation == m.config.Incarnation {
			m.committed(msg)
		}
	case *messages.ReadLogResponse:
		if msg.Incarnation == m.config.Incarnation {
			m.receiveRead(msg)
		}
	case *messages.Tick:
		if msg.Incarnation == m.config.Incarnation {
			m.retryRead(msg)
		}
	case *actor.Stopping, *actor.Restarting:
		m.close()
	}
}

// open opens the state machine and says where it stands.
func (m *Machine) open() {
	m.node = m.ctx.Parent()
	m.work.sessionUpdate = m.sessionUpdate // bound once, so that a batch does not allocate it
	state, err := openState(m.config.Factory)
	if err != nil {
		panic(&actors.ApplicationError{Err: fmt.Errorf("opening the state machine: %w", err)})
	}
	m.state = state
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
		panic(&actors.ApplicationError{Err: fmt.Errorf("recovering the state machine: %w; where its files are damaged or incomplete, "+
			"move them away and start the node again: it begins empty, and the log, which is not compacted, brings all back", err)})
	}
	m.applied = applied
}

func recoverState(state statemachine.OnDisk) (applied uint64, records []statemachine.SessionRecord, err error) {
	defer recoverPanic(&err)
	return state.Recover()
}

// pull tells the Node what may come next, and that all before it is applied.
func (m *Machine) pull() {
	m.ctx.Send(m.node, &messages.Pull{
		Incarnation: m.config.Incarnation,
		From:        m.applied + 1,
		MaxBytes:    m.config.MaxBatchBytes,
	})
}

// committed answers the standing Pull. What does not continue where this machine stands answers the Pull of a former one.
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

// reportServing tells the handle, once, that everything is applied which the log knew to be committed at the start: until
// then even a read that promises nothing could go back behind what this node had shown long before (DESIGN §4, Reads). What
// it showed at the very last, the log may not have got to write down as committed: behind that a local read may go back.
func (m *Machine) reportServing() {
	if m.serving || m.applied < m.config.ReplayThrough {
		return
	}
	m.serving = true
	m.ctx.Send(m.env.Session(), &messages.ReplayComplete{Incarnation: m.config.Incarnation, Applied: m.applied})
	m.env.Log().Info().Uint64("applied", m.applied).Uint64("incarnation", m.config.Incarnation).Msg("state machine ready")
}

// show lets the probe see the machine as it stands.
func (m *Machine) publishState() {
	if probe := m.env.Observer(); probe != nil {
		probe.Machine(actors.MachineView{
			Incarnation:  m.config.Incarnation,
			Applied:      m.applied,
			Serving:      m.serving,
			Sessions:     len(m.sessions.sessions),
			SessionBytes: m.sessions.sizeBytes(),
		})
	}
}

// close closes the state machine, so that there are never two of them. A failure to close is told and changes nothing:
// what matters is stored with each batch.
func (m *Machine) close() {
	m.cold.stop()
	if m.state == nil {
		return
	}
	state := m.state
	m.state = nil
	if err := closeState(state); err != nil {
		m.env.Log().Warn().Err(err).Uint64("applied", m.applied).Msg("closing the state machine failed")
	}
}

func closeState(state statemachine.StateMachine) (err error) {
	defer recoverPanic(&err)
	return state.Close()
}
