package sim

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// plain is an event as explain.Cluster follows it, without words.
func (n *rawEvent) withoutText() *trace.Event {
	e := &trace.Event{Step: n.step, At: n.at, Kind: n.kind, Member: n.member, Peer: n.peer, ID: n.id, Index: n.index, Until: n.until, Actor: n.actor, Name: n.name}
	switch n.kind {
	case trace.StateChanged:
		state := n.state
		e.State = &state
	case trace.LogChanged:
		e.Log = logChange(n.source)
	}
	return e
}

// event puts a note into words.
func (n *rawEvent) event() *trace.Event {
	e := n.withoutText()
	switch n.kind {
	case trace.StateChanged:
	case trace.LogChanged:
		e.Log.Texts = entryTexts(n.source)
	case trace.Sent, trace.Arrived, trace.Duplicated, trace.Handled:
		e.Name, e.Detail = describe(n.source)
	case trace.Lost, trace.Panicked:
		e.Name, e.Detail = describe(n.source)
		if n.kind == trace.Lost {
			e.Detail = n.name
		}
	case trace.Called:
		o := n.source.(*operation)
		e.Actor, e.Name, e.Detail = o.caller(), o.kind.String(), o.request()
	case trace.Returned:
		o := n.source.(*operation)
		e.Actor, e.Name, e.Detail = o.caller(), o.kind.String(), o.response()
	default:
		e.Detail, _ = n.source.(string)
	}
	if e.Actor == "" && (n.kind == trace.Handled || n.kind == trace.Panicked) {
		e.Actor = "node"
	}
	return e
}

func (o *operation) caller() string {
	if o.client == scriptClient {
		return "script"
	}
	return fmt.Sprintf("client %d", o.client)
}

// asks is what a command asks for; it does not change.
func (c *command) request() string {
	key := fmt.Sprintf("k%d", c.key)
	switch {
	case c.key == initialKey:
		key = "past"
	case c.key >= firstScriptKey:
		key = fmt.Sprintf("s%d", c.key-firstScriptKey)
	}
	switch c.kind {
	case Put:
		return fmt.Sprintf("%s = %q", key, c.value)
	case Append:
		return fmt.Sprintf("%s + %q", key, c.value)
	case CompareAndSwap:
		return fmt.Sprintf("%s: %q → %q", key, c.expect, c.value)
	}
	return key
}

// got is what became of an operation that is over.
func (o *operation) response() string {
	switch {
	case o.outcome != Answered:
		return o.outcome.String()
	case o.kind == CompareAndSwap && !o.result.swapped:
		return fmt.Sprintf("answered at %d, found %q", o.index, o.result.before)
	case o.kind.Writes():
		return fmt.Sprintf("answered at %d", o.index)
	}
	return fmt.Sprintf("answered at %d: %q", o.index, o.result.before)
}

// logChange is what an Append to the LogStore, or what it has recovered, makes of its Node's log.
func logChange(message any) *trace.Log {
	switch m := message.(type) {
	case *messages.Append:
		if len(m.GetEntries().GetData()) == 0 {
			return &trace.Log{From: m.TruncateFrom, Last: m.TruncateFrom - 1}
		}
		return &trace.Log{From: m.Entries.First, Last: raft.EntriesLast(m.Entries), Runs: traceRuns(m.Entries.Runs)}
	case *messages.Recovered:
		return &trace.Log{From: m.BaseIndex + 1, Last: m.LastIndex, Runs: traceRuns(m.Runs)}
	}
	return &trace.Log{From: 1}
}

// entryTexts say what the entries are that a Node appends.
func entryTexts(message any) (words []string) {
	a, ok := message.(*messages.Append)
	if !ok {
		return nil // what was recovered has been told of when it was appended
	}
	for _, data := range a.GetEntries().GetData() {
		words = append(words, entryText(data))
	}
	return words
}

func entryText(data []byte) string {
	e, err := raft.DecodeEntry(data)
	switch {
	case err != nil:
		return "unreadable"
	case e.Kind == raft.KindRegisterSession:
		return fmt.Sprintf("openOrigin of %d", e.NodeID)
	case e.Kind != raft.KindCommand || !isCommand(e.Payload):
		return e.Kind.String()
	}
	c := decodeCommand(e.Payload)
	return c.kind.String() + " " + c.request()
}

// isCommand tells whether a payload is a command of the store; what a script wrote onto a disk may be another.
func isCommand(payload []byte) bool {
	const fixed = 13 // kind, number, key
	if len(payload) < fixed+2 || payload[0] >= opKinds {
		return false
	}
	rest := payload[fixed:]
	for range 2 { // what is expected, and the value
		if len(rest) < 2 || len(rest) < 2+int(binary.LittleEndian.Uint16(rest)) {
			return false
		}
		rest = rest[2+int(binary.LittleEndian.Uint16(rest)):]
	}
	return true
}

func traceRuns(of []*messages.TermRun) []trace.Run {
	all := make([]trace.Run, len(of))
	for i, r := range of {
		all[i] = trace.Run{First: r.FirstIndex, Term: r.Term}
	}
	return all
}

// describe is the name of a message and its key fields in the field's words.
func describe(message any) (name, detail string) {
	_, message, _ = actor.UnwrapEnvelope(message)
	m, ok := message.(proto.Message)
	if !ok {
		return strings.TrimPrefix(fmt.Sprintf("%T", message), "*actor."), ""
	}
	if peer, ok := m.(messages.PeerMessage); ok {
		return peer.Trace()
	}
	return string(m.ProtoReflect().Descriptor().Name()), localDetail(m)
}

// localDetail is for messages within a node.
func localDetail(message proto.Message) string {
	switch m := message.(type) {
	case *messages.Append:
		if m.TruncateFrom != 0 {
			return fmt.Sprintf("truncate from %d, %s, %s", m.TruncateFrom, messages.EntriesText(m.Entries), hardState(m.HardState))
		}
		return fmt.Sprintf("%s, %s", messages.EntriesText(m.Entries), hardState(m.HardState))
	case *messages.Recovered:
		return fmt.Sprintf("last %d, %s", m.LastIndex, hardState(m.HardState))
	case *messages.Durable:
		return fmt.Sprintf("to %d in term %d", m.GetMark().GetIndex(), m.GetMark().GetTerm())
	case *messages.Committed:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Pull:
		return fmt.Sprintf("from %d", m.From)
	case *messages.Replicate:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Fetched:
		return fmt.Sprintf("%s, commit %d", messages.EntriesText(m.Entries), m.Commit)
	case *messages.Fetch:
		return fmt.Sprintf("from %d for %d", m.From, m.Peer)
	case *messages.ReadLog:
		return fmt.Sprintf("%d to %d", m.From, m.To)
	case *messages.ReadLogResponse:
		return messages.EntriesText(m.Entries)
	case *messages.Progress:
		return fmt.Sprintf("peer %d, match %d, %s", m.Peer, m.MatchIndex, m.State)
	case *messages.HigherTerm:
		return fmt.Sprintf("term %d of %d", m.Term, m.From)
	case *messages.LinkUp:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.LinkDown:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.EnvelopesDropped:
		return fmt.Sprintf("to %d", m.Peer)
	case *messages.TransferLeadership:
		return fmt.Sprintf("to %d", m.Target)
	case *messages.Tick:
		return fmt.Sprintf("timer %d", m.Timer)
	}
	return ""
}

func hardState(s *messages.HardState) string {
	if s.GetVote() == 0 {
		return fmt.Sprintf("term %d", s.GetTerm())
	}
	return fmt.Sprintf("term %d, vote %d", s.GetTerm(), s.GetVote())
}
