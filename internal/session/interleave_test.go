package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Callers, the member's actors and the ticker of retries as tasks that a random schedule interrupts
// at every lock and wait. The simulator calls a Session between two messages only.

// sessionTangle is a session with its callers and a cluster that loses, delays and repeats.
type sessionTangle struct {
	*Session
	t        *testing.T
	schedule *interleave.Scheduler
	random   *rand.Rand
	now      time.Duration
	timers   []tangleTimer
	callers  int // that have not ended

	sent     []proto.Message
	term     uint64
	applied  uint64
	commands map[uint64]string // by sequence
	indexes  map[string]uint64 // of applied commands
	copies   map[uint64]int    // that were sent, by sequence
	refused  map[uint64]bool
}

type tangleTimer struct {
	at   time.Duration
	fire func()
}

func newSessionTangle(t *testing.T, seed uint64) *sessionTangle {
	m := &sessionTangle{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), term: 1, applied: 5, commands: map[uint64]string{},
		indexes: map[string]uint64{}, copies: map[uint64]int{}, refused: map[uint64]bool{},
	}
	m.schedule = interleave.New(m.random.IntN, func(d time.Duration, f func()) {
		m.timers = append(m.timers, tangleTimer{m.now + d, f})
	})
	m.Session = New(Config{
		NodeID: 1, FirstReadID: 10, Schedule: m.schedule,
		Limits:   Limits{MaxRequestBytes: 100, MaxPendingRequests: 2 + m.random.IntN(5), MaxPendingBytes: 1 << 20},
		NewNonce: func() []byte { return []byte("nonce") },
		Now:      func() time.Duration { return m.now },
		Send:     m.send,
	})
	m.schedule.Go("cluster", m.runCluster)
	m.schedule.Go("ticker", func() {
		for m.callers > 0 {
			_ = m.schedule.Sleep(context.Background(), 100*time.Millisecond)
			m.Retry(time.Second)
		}
	})
	for id := range 2 + m.random.IntN(4) {
		m.callers++
		m.schedule.Go("caller", func() {
			for n := range 1 + m.random.IntN(5) {
				m.call(fmt.Sprintf("%d.%d", id, n))
			}
			m.callers--
		})
	}
	return m
}

// send is called with the session's lock held.
func (m *sessionTangle) send(message proto.Message) {
	if p, ok := message.(*messages.Propose); ok {
		e, err := raft.DecodeEntry(p.Data)
		if err != nil {
			m.t.Fatal(err)
		}
		m.copies[e.Sequence]++
	}
	m.sent = append(m.sent, message)
}

// runCluster answers what the session sends, in any order. Some requests are lost: reads at any
// time, commands with the term in which they were sent.
func (m *sessionTangle) runCluster() {
	m.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	m.Deliver(&messages.ReplayComplete{Incarnation: 1, Applied: m.applied})
	for {
		m.schedule.WaitFor(func() bool { return len(m.sent) > 0 })
		at := m.random.IntN(len(m.sent))
		message := m.sent[at]
		m.sent = slices.Delete(m.sent, at, at+1)
		switch m.random.IntN(12) {
		case 0:
			if _, isRead := message.(*messages.RequestRead); isRead {
				continue // lost
			}
			m.newTerm() // in which no copy of before counts
		case 1:
			m.sent = append(m.sent, message) // repeated
		case 2:
			m.newTerm()
		case 3:
			m.applyNothing()
		}
		switch r := message.(type) {
		case *messages.Propose:
			m.propose(r)
		case *messages.RequestRead:
			m.Deliver(&messages.ReadPoint{Incarnation: 1, Id: r.Id, Index: m.applied + uint64(m.random.IntN(2)), Term: m.term})
			m.applyNothing()
		}
	}
}

// newTerm elects a leader. Commands that were sent in the terms before are lost.
func (m *sessionTangle) newTerm() {
	m.term++
	m.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: m.term, Leader: 2})
}

// applyNothing applies an entry of another member.
func (m *sessionTangle) applyNothing() {
	m.applied++
	m.Deliver(&messages.CommandResults{Incarnation: 1, SessionId: 7, Applied: m.applied, Term: m.term})
}

func (m *sessionTangle) propose(p *messages.Propose) {
	if p.Term != m.term {
		return
	}
	e, err := raft.DecodeEntry(p.Data)
	if err != nil {
		m.t.Fatal(err)
	}
	if e.Kind == raft.KindRegisterSession {
		m.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
		return
	}
	command := string(e.Payload)
	was, known := m.commands[e.Sequence]
	switch {
	case m.refused[e.Sequence]:
		m.t.Fatalf("command %q is sent again after its final refusal", command)
	case known && was != command:
		m.t.Fatalf("sequence %d is that of %q and of %q", e.Sequence, was, command)
	case !known && m.copies[e.Sequence] == 1 && m.random.IntN(8) == 0:
		m.refuse(e.Sequence)
		return
	case !known:
		m.applied++
		m.commands[e.Sequence], m.indexes[command] = command, m.applied
	}
	m.Deliver(&messages.CommandResults{
		Incarnation: 1, SessionId: 7, Applied: m.applied, Term: m.term, Sequences: []uint64{e.Sequence},
		Indexes: []uint64{m.indexes[command]}, Values: [][]byte{[]byte("result of " + command)},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
}

// refuse refuses a command of which one copy was sent. It is final unless another one was sent
// before the session received the refusal.
func (m *sessionTangle) refuse(sequence uint64) {
	m.sent = slices.DeleteFunc(m.sent, func(other proto.Message) bool {
		p, ok := other.(*messages.Propose)
		if !ok {
			return false
		}
		e, err := raft.DecodeEntry(p.Data)
		return err == nil && e.Sequence == sequence
	})
	m.Deliver(&messages.ProposalsRefused{
		SessionIds: []uint64{7}, Sequences: []uint64{sequence}, Reason: messages.Refusal_REFUSAL_OVERLOADED, Limit: 9, Term: m.term,
	})
	m.refused[sequence] = m.copies[sequence] == 1
}

// call makes a call, whose context may end at any time.
func (m *sessionTangle) call(name string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if m.random.IntN(2) == 0 {
		m.timers = append(m.timers, tangleTimer{m.now + time.Duration(m.random.IntN(300))*time.Millisecond, cancel})
	}
	switch kind := m.random.IntN(5); kind {
	case 0, 1, 2:
		r, err := m.Propose(ctx, []byte(name))
		index, applied := m.indexes[name]
		switch {
		case err == nil && (string(r.Value) != "result of "+name || r.Index != index):
			m.t.Fatalf("the result of %q is %q at index %d; it was applied at %d", name, r.Value, r.Index, index)
		case applied && (errors.Is(err, ErrOverloaded) || errors.Is(err, ErrNotProposed)):
			m.t.Fatalf("%q was refused (%v), and applied at %d", name, err, index)
		case errors.Is(err, ErrOverloaded) || errors.Is(err, ErrNotProposed):
			m.indexes[name] = 0 // it must not be applied from now on
		}
	default:
		before := m.applied
		mode := []ReadMode{ReadIndex, ReadLocal}[kind-3]
		point, err := m.Read(ctx, mode)
		if err == nil && (point.Index > m.applied || mode == ReadIndex && point.Index < before) {
			m.t.Fatalf("read %v from index %d to %d gets point %d", mode, before, m.applied, point.Index)
		}
	}
}

// step runs a task or lets time pass.
func (m *sessionTangle) step() {
	first := -1
	for i := range m.timers {
		if first < 0 || m.timers[i].at < m.timers[first].at {
			first = i
		}
	}
	idle := !m.schedule.Runnable()
	if first >= 0 && (idle || m.random.IntN(20) == 0) {
		due := m.timers[first]
		m.timers = slices.Delete(m.timers, first, first+1)
		m.now = max(m.now, due.at)
		due.fire()
		return
	}
	m.schedule.Step()
}

func TestCallsEndRightInAnyInterleaving(t *testing.T) {
	const seeds, maxSteps = 3000, 50_000
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := newSessionTangle(t, seed)
			for steps := 0; m.callers > 0; steps++ {
				if steps == maxSteps {
					t.Fatalf("%d callers wait without end", m.callers)
				}
				m.step()
			}
			if n, bytes := m.Pending(); n != 0 || bytes != 0 {
				t.Errorf("no caller waits, and %d commands of %d bytes are pending", n, bytes)
			}
			m.schedule.Stop()
		})
		if !ok {
			return
		}
	}
}
