package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// batchWork is what the Machine needs for one batch. Its slices are used again for the next one, so
// that a batch allocates nothing but the messages to the Session.
type batchWork struct {
	batch statemachine.Batch
	// commandIDs has the session and sequence of each command of the batch.
	commandIDs []commandID
	// changes are the entries that change the session table, for the recorder; empty with an InMemory
	// state machine.
	changes []change
	// deliveries are the replies for this node's Session, in the order of the log.
	deliveries []delivery
	// delivered and cached copy results for the Session and for the session table.
	delivered, cached valueCopier
	// sessionUpdate is Machine.sessionUpdate; updateCalled: the state machine has called it.
	sessionUpdate func(results [][]byte) statemachine.SessionUpdate
	updateCalled  bool
	// maxResultBytes is the most that the results of the batch may have.
	maxResultBytes uint64
}

type commandID struct{ session, sequence uint64 }

// apply applies entries, in one batch or in several: a batch ends when its results may become too
// large, so that all results of a megabyte of small commands are never in memory together.
func (m *Machine) apply(e *messages.Entries) {
	run := 0
	for i, data := range e.Data {
		index := e.First + uint64(i)
		for run+1 < len(e.Runs) && e.Runs[run+1].FirstIndex <= index {
			run++
		}
		term := e.Runs[run].Term
		m.addEntry(index, term, data)
		if i == len(e.Data)-1 || m.work.maxResultBytes >= m.config.MaxResultBytes {
			m.applyThrough(index, term)
		}
	}
}

// applyThrough applies the entries that were added, the last of which has this index and term. The
// session table has decided which commands are new. The state machine applies those, their replies
// are cached, and the replies for this node's Session are sent.
func (m *Machine) applyThrough(index, term uint64) {
	w := &m.work
	w.batch.Last = index
	results := m.applyBatch()
	if m.recorder == nil {
		m.cacheReplies(results)
	}
	m.applied = w.batch.Last
	m.deliver(results, term)
	m.reportServing()
	m.publishState()
	w.reset()
}

// addEntry adds an entry to the batch.
func (m *Machine) addEntry(index, term uint64, data []byte) {
	entry, err := raft.DecodeEntry(data)
	if err != nil {
		panic(&actors.FatalError{Err: fmt.Errorf("decode committed entry %d: %w; a newer version may have written it: "+
			"start this member with the version that the others run", index, err)})
	}
	switch entry.Kind {
	case raft.KindCommand:
		m.addCommand(index, term, entry)
	case raft.KindRegisterSession:
		if id := m.sessions.register(index, entry.NodeID, entry.Payload); id != 0 {
			m.ctx.Send(m.env.ReplySink(), &messages.SessionRegistered{Incarnation: m.config.Incarnation, Nonce: entry.Payload, SessionId: id})
			m.addChange(change{kind: changeRegister, index: index, node: entry.NodeID, nonce: entry.Payload})
		}
	case raft.KindExpireSession:
		if m.sessions.expire(entry.SessionID) {
			m.addChange(change{kind: changeExpire, index: index, session: entry.SessionID})
		}
	case raft.KindBarrier:
		m.addBarrier(index, entry)
	case raft.KindConfiguration:
		m.closeForeignSessions(index, data)
	case raft.KindNoop:
		// It concerns the Node only.
	}
}

// closeForeignSessions closes the sessions of members that a configuration does not contain.
func (m *Machine) closeForeignSessions(index uint64, data []byte) {
	c, err := raft.DecodeConfiguration(data)
	if err != nil {
		panic(&actors.FatalError{Err: fmt.Errorf("decode the committed configuration at index %d: %w", index, err)})
	}
	for _, id := range m.sessions.foreign(c) {
		m.sessions.expire(id)
		m.addChange(change{kind: changeExpire, index: index, session: id})
	}
}

// addCommand lets the session table decide about a command, and adds it to the batch if it is new.
func (m *Machine) addCommand(index, term uint64, entry raft.Entry) {
	w := &m.work
	d := delivery{commandID: commandID{entry.SessionID, entry.Sequence}, batchPosition: notInBatch}
	s := m.sessions.find(entry.SessionID)
	if s == nil {
		// The table no longer knows whose it is. Our Session compares the session id with its own.
		d.outcome = messages.Outcome_OUTCOME_UNKNOWN
		w.deliveries = append(w.deliveries, d)
		return
	}
	decision, reply := m.sessions.admit(s, index, entry.Sequence, entry.LowestOutstanding)
	c := change{kind: changeDuplicate, index: index, session: entry.SessionID, sequence: entry.Sequence, lowestOutstanding: entry.LowestOutstanding}
	d.index, d.value = reply.index, reply.value
	switch decision {
	case isNew:
		c.kind, c.batchPosition = changeApply, len(w.batch.Commands)
		d.batchPosition, d.index = c.batchPosition, index
		w.batch.Commands = append(w.batch.Commands, statemachine.Command{Index: index, Term: term, Data: entry.Payload})
		w.commandIDs = append(w.commandIDs, d.commandID)
		s.setBatchPosition(entry.Sequence, c.batchPosition)
		w.maxResultBytes += m.maxResultBytes(&w.batch.Commands[c.batchPosition])
	case isInBatch:
		d.batchPosition = reply.batchPosition
	case isEvicted:
		d.outcome = messages.Outcome_OUTCOME_UNKNOWN
	}
	m.addChange(c)
	if decision != isAcknowledged && s.node == m.env.ID() {
		w.deliveries = append(w.deliveries, d)
	}
}

// maxResultBytes returns how large the result of a command may become; 0 if the state machine does
// not say.
func (m *Machine) maxResultBytes(c *statemachine.Command) uint64 {
	if m.sizer == nil {
		return 0
	}
	n, err := callMaxResultBytes(m.sizer, c.Data)
	if err != nil {
		panic(applicationError(&statemachine.Batch{Last: c.Index, Commands: []statemachine.Command{*c}}, err))
	}
	return uint64(max(n, 0))
}

func callMaxResultBytes(sizer statemachine.ResultSizer, command []byte) (n int, err error) {
	defer recoverPanic(&err)
	return sizer.MaxResultBytes(command), nil
}

// addBarrier replies to a read through the log. A barrier has no effect, so each copy of it may get
// a reply.
func (m *Machine) addBarrier(index uint64, entry raft.Entry) {
	d := delivery{commandID: commandID{entry.SessionID, entry.Sequence}, index: index, batchPosition: notInBatch}
	s := m.sessions.find(entry.SessionID)
	if s == nil {
		d.index, d.outcome = 0, messages.Outcome_OUTCOME_UNKNOWN
	} else {
		m.sessions.use(s, index)
		m.addChange(change{kind: changeUse, index: index, session: s.id})
		if s.node != m.env.ID() {
			return
		}
	}
	m.work.deliveries = append(m.work.deliveries, d)
}

// addChange keeps a change of the session table for the recorder.
func (m *Machine) addChange(c change) {
	if m.recorder != nil {
		m.work.changes = append(m.work.changes, c)
	}
}

// applyBatch has the state machine apply the batch. If it fails, it would fail again, here and on
// every other member, so the node stops and names the command (docs/protocol.md P50).
func (m *Machine) applyBatch() [][]byte {
	w := &m.work
	w.batch.SessionUpdate, w.updateCalled = nil, false
	if m.recorder != nil {
		w.batch.SessionUpdate = w.sessionUpdate
	}
	results, err := callApply(m.state, &w.batch)
	switch {
	case err != nil:
	case len(results) != len(w.batch.Commands):
		err = fmt.Errorf("%d results for %d commands", len(results), len(w.batch.Commands))
	case m.recorder != nil && !w.updateCalled:
		err = fmt.Errorf("the state machine did not store its session record: Apply must call Batch.SessionUpdate")
	}
	if err != nil {
		panic(applicationError(&w.batch, err))
	}
	return results
}

func callApply(state statemachine.StateMachine, b *statemachine.Batch) (results [][]byte, err error) {
	defer recoverPanic(&err)
	return state.Apply(b)
}

// recoverPanic turns a panic of the application into an error with its stack.
func recoverPanic(err *error) {
	if reason := recover(); reason != nil {
		*err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
	}
}

// applicationError names the first command of the batch, and how many there are: any of them may
// have failed.
func applicationError(b *statemachine.Batch, err error) *actors.ApplicationError {
	if len(b.Commands) == 0 {
		return &actors.ApplicationError{Err: fmt.Errorf("in a batch without commands that ends at index %d: %w", b.Last, err)}
	}
	first, last := b.Commands[0], b.Commands[len(b.Commands)-1]
	if first.Index != last.Index {
		err = fmt.Errorf("in a batch of %d commands up to index %d: %w", len(b.Commands), last.Index, err)
	}
	hash := sha256.Sum256(first.Data)
	return &actors.ApplicationError{Index: first.Index, CommandHash: hex.EncodeToString(hash[:8]), Err: err}
}

// sessionUpdate is Batch.SessionUpdate: an OnDisk state machine calls it during Apply, and stores
// the record together with its own changes.
func (m *Machine) sessionUpdate(results [][]byte) statemachine.SessionUpdate {
	w := &m.work
	if w.updateCalled || len(results) != len(w.batch.Commands) {
		panic(fmt.Sprintf("Batch.SessionUpdate called with %d results for %d commands, called before: %v",
			len(results), len(w.batch.Commands), w.updateCalled))
	}
	w.updateCalled = true
	m.cacheReplies(results)
	return m.recorder.update(m.sessions, w.batch.Last, w.changes, results)
}

func (m *Machine) cacheReplies(results [][]byte) {
	for i, id := range m.work.commandIDs {
		value := results[i]
		if len(value) <= m.limits.MaxValueBytes { // a larger one is not kept
			value = m.work.cached.copy(value)
		}
		m.sessions.cacheReply(id.session, id.sequence, value)
	}
}

// reset empties the slices, and drops their references to the batch.
func (w *batchWork) reset() {
	clear(w.batch.Commands)
	clear(w.changes)
	clear(w.deliveries)
	w.maxResultBytes = 0
	w.batch.Commands, w.commandIDs = reuse(w.batch.Commands), reuse(w.commandIDs)
	w.changes, w.deliveries = reuse(w.changes), reuse(w.deliveries)
}

// maxReusedCapacity bounds the slices that are kept: those of a replay may be much larger than any
// later one.
const maxReusedCapacity = 16 << 10

func reuse[T any](s []T) []T {
	if cap(s) > maxReusedCapacity {
		return nil
	}
	return s[:0]
}
