package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// work is one batch on its way through the machine. Its slices are used again for the next, so that a batch in the steady
// state allocates nothing but what is said to the handle.
type work struct {
	batch Batch
	// orders tells for each command of the batch whose it is.
	orders []order
	// changes are the entries that change the ledger, for the journal; empty for InMemory machines.
	changes []change
	// deliveries are what the handle is to hear, in the order of the log.
	deliveries []delivery
	// update is Machine.ledgerUpdate, and updated tells that the state machine called it.
	update  func(results [][]byte) LedgerUpdate
	updated bool
}

type order struct{ origin, sequence uint64 }

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
		m.take(index, e.Runs[run].Term, data)
	}
	w.batch.Last = raft.EntriesLast(e)
	results := m.applyBatch()
	if m.journal == nil {
		m.settle(results)
	}
	m.applied = w.batch.Last
	m.deliver(results, e.Runs[run].Term)
	m.serveOnceReplayed()
	m.show()
	w.reset()
}

// take puts an entry where it belongs.
func (m *Machine) take(index, term uint64, data []byte) {
	entry, err := raft.DecodeEntry(data)
	if err != nil {
		panic(&actors.Fatal{Err: fmt.Errorf("the committed entry %d cannot be read: %w; was it written by a newer version? "+
			"start this member with the version that the others run", index, err)})
	}
	switch entry.Kind {
	case raft.KindCommand:
		m.takeCommand(index, term, entry)
	case raft.KindOpenOrigin:
		if origin := m.ledger.open(index, entry.Node, entry.Payload); origin != 0 {
			m.ctx.Send(m.env.Handle(), &messages.OriginOpened{Incarnation: m.config.Incarnation, Nonce: entry.Payload, Origin: origin})
			m.note(change{kind: changeOpen, index: index, node: entry.Node, nonce: entry.Payload})
		}
	case raft.KindCloseOrigin:
		if m.ledger.close(entry.Origin) {
			m.note(change{kind: changeClose, index: index, origin: entry.Origin})
		}
	case raft.KindBarrier:
		m.takeBarrier(index, entry)
	case raft.KindNoop, raft.KindConfiguration:
		// The Node's own affair.
	}
}

// takeCommand asks the ledger whether a command is new.
func (m *Machine) takeCommand(index, term uint64, entry raft.Entry) {
	w := &m.work
	o := m.ledger.find(entry.Origin)
	if o == nil {
		// Whose it was is forgotten too, so it is told to our handle in any case; the handle knows its origins.
		w.deliveries = append(w.deliveries, delivery{order: order{entry.Origin, entry.Sequence}, command: none, outcome: messages.Outcome_OUTCOME_UNKNOWN})
		return
	}
	verdict, kept := m.ledger.admit(o, index, entry.Sequence, entry.LowestOutstanding)
	c := change{kind: changeRepeat, index: index, origin: entry.Origin, sequence: entry.Sequence, lowest: entry.LowestOutstanding}
	d := delivery{order: order{entry.Origin, entry.Sequence}, index: kept.index, command: none, value: kept.value}
	switch verdict {
	case isNew:
		c.kind, c.command = changeApply, len(w.batch.Commands)
		d.command, d.index = c.command, index
		w.batch.Commands = append(w.batch.Commands, Command{Index: index, Term: term, Data: entry.Payload})
		w.orders = append(w.orders, d.order)
		m.ledger.expect(o, entry.Sequence, c.command)
	case isPending:
		d.command = kept.command
	case isForgotten:
		d.index, d.outcome = 0, messages.Outcome_OUTCOME_UNKNOWN
	}
	m.note(c)
	if verdict != isUnwanted && o.node == m.env.ID() {
		w.deliveries = append(w.deliveries, d)
	}
}

// takeBarrier answers a read through the log. It changes nothing, so a repeated one needs no ledger: it is answered again.
func (m *Machine) takeBarrier(index uint64, entry raft.Entry) {
	d := delivery{order: order{entry.Origin, entry.Sequence}, index: index, command: none}
	switch o := m.ledger.find(entry.Origin); {
	case o == nil:
		d.index, d.outcome = 0, messages.Outcome_OUTCOME_UNKNOWN
	case o.node != m.env.ID():
		return
	}
	m.work.deliveries = append(m.work.deliveries, d)
}

// note remembers a change of the ledger for the journal.
func (m *Machine) note(c change) {
	if m.journal != nil {
		m.work.changes = append(m.work.changes, c)
	}
}

// applyBatch has the application apply the batch. An application that fails would fail again, here and on every replica,
// so the node stops and says on which command.
func (m *Machine) applyBatch() [][]byte {
	w := &m.work
	w.batch.Ledger, w.updated = nil, false
	if m.journal != nil {
		w.batch.Ledger = w.update
	}
	results, err := callApply(m.state, &w.batch)
	switch {
	case err != nil:
	case len(results) != len(w.batch.Commands):
		err = fmt.Errorf("%d results for %d commands", len(results), len(w.batch.Commands))
	case m.journal != nil && !w.updated:
		err = fmt.Errorf("the state machine did not store its ledger record: Apply must call Batch.Ledger")
	}
	if err != nil {
		panic(applicationFault(&w.batch, err))
	}
	return results
}

func callApply(state StateMachine, b *Batch) (results [][]byte, err error) {
	defer guard(&err)
	return state.Apply(b)
}

// guard turns a panic of the application into an error that shows where it happened.
func guard(err *error) {
	if reason := recover(); reason != nil {
		*err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
	}
}

// applicationFault names the command that failed, or the first of those among which it was.
func applicationFault(b *Batch, err error) *actors.ApplicationFault {
	if len(b.Commands) == 0 {
		return &actors.ApplicationFault{Err: fmt.Errorf("in a batch without commands that ends at index %d: %w", b.Last, err)}
	}
	first, last := b.Commands[0], b.Commands[len(b.Commands)-1]
	if first.Index != last.Index {
		err = fmt.Errorf("in a batch of %d commands up to index %d: %w", len(b.Commands), last.Index, err)
	}
	hash := sha256.Sum256(first.Data)
	return &actors.ApplicationFault{Index: first.Index, CommandHash: hex.EncodeToString(hash[:8]), Err: err}
}

// ledgerUpdate is Batch.Ledger: the state machine calls it while it applies, to store the record with its own changes.
func (m *Machine) ledgerUpdate(results [][]byte) LedgerUpdate {
	w := &m.work
	if w.updated || len(results) != len(w.batch.Commands) {
		panic(fmt.Sprintf("Batch.Ledger called with %d results for %d commands, called before: %v", len(results), len(w.batch.Commands), w.updated))
	}
	w.updated = true
	m.settle(results)
	return m.journal.update(m.ledger, w.batch.Last, w.changes, results)
}

// settle keeps the answers of the batch.
func (m *Machine) settle(results [][]byte) {
	for i, o := range m.work.orders {
		m.ledger.settle(o.origin, o.sequence, results[i])
	}
}

// reset empties the slices without keeping alive what they pointed to.
func (w *work) reset() {
	clear(w.batch.Commands)
	clear(w.changes)
	clear(w.deliveries)
	w.batch.Commands, w.orders = reuse(w.batch.Commands), reuse(w.orders)
	w.changes, w.deliveries = reuse(w.changes), reuse(w.deliveries)
}

// maxSpare is the capacity above which a slice is not kept for the next batch: a replay must not cost its memory for ever.
const maxSpare = 16 << 10

func reuse[T any](s []T) []T {
	if cap(s) > maxSpare {
		return nil
	}
	return s[:0]
}
