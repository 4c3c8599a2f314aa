package world

import (
	"encoding/binary"
	"fmt"

	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
)

// InitialState is what the disk of a member holds before its first start, so that a script may
// begin in the middle, as the figures of the paper do.
type InitialState struct {
	// Term 0 means that of the last entry.
	Term, Vote, Commit uint64
	// Log is the term of each entry from index 1 on. Entry 1 is the first configuration of the
	// cluster, of term 1. Entry 2 registers the session of the commands after it. Entries of the same
	// index and term are the same at all members.
	Log []uint64
}

// SetInitialState writes an initial state to the disk of a member, by the production log. It is for
// Scenario.Setup.
func (w *World) SetInitialState(id uint64, p InitialState) {
	m := w.Members[id-1]
	if p.Term == 0 {
		p.Term = p.Log[len(p.Log)-1]
	}
	m.Embedder = &embedder{member: m}
	node, err := member.Open(m.config(), host{m})
	if err != nil {
		panic(fmt.Errorf("the data directory of member %d: %w", id, err))
	}
	w.Checker.InitialState(id, p.Log, p.Term, p.Commit, w.initialEntries(p.Log))
	log, _, err := persistence.Open(node.LogOptions())
	if err == nil {
		err = log.Add(0, w.initialEntries(p.Log), &messages.HardState{Term: p.Term, Vote: p.Vote, Commit: p.Commit})
	}
	if err == nil {
		err = log.Commit()
	}
	if err == nil {
		err = log.Close()
	}
	if err == nil {
		err = node.Close()
	}
	if err != nil {
		panic(fmt.Errorf("the initial state %+v of member %d: %w", p, id, err))
	}
}

func (w *World) initialEntries(terms []uint64) *messages.Entries {
	if len(terms) == 0 || terms[0] != 1 {
		panic(fmt.Errorf("a log of terms %v: it must begin with the configuration, in term 1", terms))
	}
	e := &messages.Entries{First: 1}
	for i, term := range terms {
		index := uint64(i + 1)
		if i == 0 || term != terms[i-1] {
			e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: index, Term: term})
		}
		data := w.initialEntry(index, term)
		e.Data = append(e.Data, data)
		e.Bytes += uint64(len(data))
	}
	return e
}

// SetInitialConfiguration makes the entry of an index and term a configuration, in every initial
// log that has it.
func (w *World) SetInitialConfiguration(index, term uint64, c *messages.Configuration) {
	if w.initialConfigurations == nil {
		w.initialConfigurations = map[entryID]*messages.Configuration{}
	}
	w.initialConfigurations[entryID{index, term}] = c
}

// InitialSession is the session of initial commands: the index of the entry that registers it.
const InitialSession = 2

func (w *World) initialEntry(index, term uint64) []byte {
	if c := w.initialConfigurations[entryID{index, term}]; c != nil {
		return raft.EncodeConfiguration(c)
	}
	switch index {
	case 1:
		return raft.EncodeConfiguration(w.Bootstrap)
	case InitialSession:
		return raft.EncodeRegisterSession(binary.LittleEndian.AppendUint64(nil, term), 1)
	}
	c := history.Command{Kind: history.Append, Number: InitialCommand(index, term), Key: history.InitialKey, Value: "past "}
	return raft.EncodeCommand(InitialSession, index, 1, c.Encode())
}

// InitialCommand is the number of the command in an initial entry.
func InitialCommand(index, term uint64) uint64 { return 1<<63 | term<<32 | index }

// entryID identifies an entry.
type entryID struct{ index, term uint64 }
