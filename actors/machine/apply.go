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

// work is one batch on its way through the machine. Its slices are used again for the next, so that a batch in the steady
// state allocates nothing but what is said to the handle.
type batchWork struct {
	batch statemachine.Batch
	// orders tells for each command of the batch whose it is.
	commandIDs []commandID
	// changes are the entries that change the ledger, for the journal; empty for InMemory machines.
	changes []change
	// deliveries are what the handle is to hear, in the order of the log.
	deliveries []delivery
	// update is Machine.sessionUpdate, and updated tells that the state machine called it.
	sessionUpdate func(results [][]byte) statemachine.SessionUpdate
	updateCalled  bool
}

type commandID struct{ session, sequence uint64 }

// apply brings the state machine forward by some entries: decode, tell what is new from what was applied before, apply the
// new, keep their answers, tell the handle.
func (m *Machine) apply(e *messages.Entries) {
	w := &m.work
	run := 0
	for i, data := range e.Data {
		index := e.First + uint64(i)
		for run+1 < len(e.Runs) && e.Runs[run+1].FirstIndex <= index {
			run++
		}
		m.addEntry(index, e.Runs[run].Term, data)
	}
	w.batch.Last = raft.EntriesLast(e)
	results := m.applyBatch()
	if m.recorder == nil {
		m.cacheReplies(results)
	}
	m.applied = w.batch.Last
	m.deliver(results, e.Runs[run].Term)
	m.reportServing()
	m.publishState()
	w.reset()
}

// take puts an entry where it belongs.
func (m *Machine) addEntry(index, term uint64, data []byte) {
	entry, err := raft.DecodeEntry(data)
	if err != nil {
		panic(&actors.FatalError{Err: fmt.Errorf("the committed entry %d cannot be read: %w; was it written by a newer version? "+
			"start this member with the version that the others run", index, err)})
	}
	switch entry.Kind {
	case raft.KindCommand:
		m.addCommand(index, term, entry)
	case raft.KindRegisterSession:
		if origin := m.sessions.register(index, entry.NodeID, entry.Payload); origin != 0 {
			m.ctx.Send(m.env.Session(), &messages.SessionRegistered{Incarnation: m.config.Incarnation, Nonce: entry.Payload, SessionId: origin})
			m.addChange(change{kind: changeRegister, index: index, node: entry.NodeID, nonce: entry.Payload})
		}
	case raft.KindExpireSession:
		if m.sessions.expire(entry.SessionID) {
			m.addChange(change{kind: changeExpire, index: index, session: entry.SessionID})
		}
	case raft.KindBarrier:
		m.addBarrier(index, entry)
	case raft.KindNoop, raft.KindConfiguration:
		// The Node's own affair.
	}
}

// addCommand asks the ledger whether a command is new.
func (m *Machine) addCommand(index, term uint64, entry raft.Entry) {
	w := &m.work
	o := m.sessions.find(entry.SessionID)
	if o == nil {
		// Whose it was is forgotten too, so it is told to our handle in any case; the handle knows its origins.
		w.deliveries = append(w.deliveries, delivery{commandID: commandID{entry.SessionID, entry.Sequence}, batchPosition: notInBatch, outcome: messages.Outcome_OUTCOME_UNKNOWN})
		return
	}
	verdict, kept := m.sessions.admit(o, index, entry.Sequence, entry.LowestOutstanding)
	c := change{kind: changeDuplicate, index: index, session: entry.SessionID, sequence: entry.Sequence, lowestOutstanding: entry.LowestOutstanding}
	d := delivery{commandID: commandID{entry.SessionID, entry.Sequence}, index: kept.index, batchPosition: notInBatch, value: kept.value}
	switch verdict {
	case isNew:
		c.kind, c.batchPosition = changeApply, len(w.batch.Commands)
		d.batchPosition, d.index = c.batchPosition, index
		w.batch.Commands = append(w.batch.Commands, statemachine.Command{Index: index, Term: term, Data: entry.Payload})
		w.commandIDs = append(w.commandIDs, d.commandID)
		m.sessions.setBatchPosition(o, entry.Sequence, c.batchPosition)
	case isPending:
		d.batchPosition = kept.batchPosition
	case isEvicted:
		d.index, d.outcome = 0, messages.Outcome_OUTCOME_UNKNOWN
	}
	m.addChange(c)
	if verdict != isAcknowledged && o.node == m.env.ID() {
		w.deliveries = append(w.deliveries, d)
	}
}

// addBarrier answers a read through the log. It changes nothing, so a repeated one needs no ledger: it is answered again.
func (m *Machine) addBarrier(index uint64, entry raft.Entry) {
	d := delivery{commandID: commandID{entry.SessionID, entry.Sequence}, index: index, batchPosition: notInBatch}
	switch o := m.sessions.find(entry.SessionID); {
	case o == nil:
		d.index, d.outcome = 0, messages.Outcome_OUTCOME_UNKNOWN
	case o.node != m.env.ID():
		return
	}
	m.work.deliveries = append(m.work.deliveries, d)
}

// note remembers a change of the ledger for the journal.
func (m *Machine) addChange(c change) {
	if m.recorder != nil {
		m.work.changes = append(m.work.changes, c)
	}
}

// applyBatch has the application apply the batch. An application that fails would fail again, here and on every replica,
// so the node stops and says on which command.
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
		err = fmt.Errorf("the state machine did not store its ledger record: Apply must call Batch.Ledger")
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

// guard turns a panic of the application into an error that shows where it happened.
func recoverPanic(err *error) {
	if reason := recover(); reason != nil {
		*err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
	}
}

// applicationError names the command that failed, or the first of those among which it was.
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

// sessionUpdate is Batch.Ledger: the state machine calls it while it applies, to store the record with its own changes.
func (m *Machine) sessionUpdate(results [][]byte) statemachine.SessionUpdate {
	w := &m.work
	if w.updateCalled || len(results) != len(w.batch.Commands) {
		panic(fmt.Sprintf("Batch.Ledger called with %d results for %d commands, called before: %v", len(results), len(w.batch.Commands), w.updateCalled))
	}
	w.updateCalled = true
	m.cacheReplies(results)
	return m.recorder.update(m.sessions, w.batch.Last, w.changes, results)
}

// settle keeps the answers of the batch.
func (m *Machine) cacheReplies(results [][]byte) {
	for i, o := range m.work.commandIDs {
		m.sessions.cacheReply(o.session, o.sequence, results[i])
	}
}

// reset empties the slices without keeping alive what they pointed to.
func (w *batchWork) reset() {
	clear(w.batch.Commands)
	clear(w.changes)
	clear(w.deliveries)
	w.batch.Commands, w.commandIDs = reuse(w.batch.Commands), reuse(w.commandIDs)
	w.changes, w.deliveries = reuse(w.changes), reuse(w.deliveries)
}

// maxReusedCapacity is the capacity above which a slice is not kept for the next batch: a replay must not cost its memory for ever.
const maxReusedCapacity = 16 << 10

func reuse[T any](s []T) []T {
	if cap(s) > maxReusedCapacity {
		return nil
	}
	return s[:0]
}
